"""An agent that is told to stop, and hangs: it ends all the same, and says where it hung."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import asyncio, time
from skerry.agent import running

async def main():
    running.STOPS_WITHIN_S = 0.5
    running._finish(asyncio.get_running_loop().create_future())
    time.sleep(600)

asyncio.run(main())
"""


def test_one_that_hangs_at_its_end_is_ended_and_tells_where() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Timeout (0:00:00.500000)!" in done.stderr and "in main" in done.stderr
