"""A keeper as a process of its own, to be killed: a whole agent over one host's files, with short times and no containers.

`python -m agent.keeping STATE RUN PORT ENROL_PORT` runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.small import NoNetwork
from skerry.agent.daemon import Agent
from skerry.agent.files import HostFiles
from skerry.agent.host import Parts
from skerry.agent.renting.asking import Answer, Question, ask
from skerry.core.node import NodeCore
from skerry.core.timing import Timing
from skerry.runtime.memory import MemoryRuntime

CALL_LIMIT_S = 8.0
TIMING = Timing(
    takeover_after_s=0.5, rent_look_s=0.2, wish_step_s=1.0, provider_limit_s=CALL_LIMIT_S, settle_s=5.0, list_again_s=0.3,
    sweep_s=2.0, provider_retry_first_s=0.2, provider_retry_most_s=10.0, return_slack_s=60.0,
)  # fmt: skip


async def ask_soon(asked: Question) -> Answer:
    return await ask(asked, limit_s=CALL_LIMIT_S)


async def main(state: Path, run: Path, port: int, enrol_port: int) -> None:
    async def runtime(files: HostFiles) -> MemoryRuntime:
        return MemoryRuntime()

    parts = Parts(
        runtime=runtime, network=lambda files, node: NoNetwork(node.subnet), address="127.0.0.1", port=port,
        memory_bytes=1 << 30, enrol_port=enrol_port, ask=ask_soon,
    )  # fmt: skip
    agent = Agent(HostFiles(state, run), parts)
    agent.loop.core = NodeCore(TIMING)
    await agent.start()
    await agent.loop.broken


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
