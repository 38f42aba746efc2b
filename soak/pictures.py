"""`python -m soak.pictures`: `skerry top` over a lab cloud with some of the situations on it, as docs/pictures/top*.svg.

The cloud is the one that `python -m soak.debugging --keep` left.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from demo.skerry import Skerry

from skerry.cli.top.screen import Top
from skerry.client.session import Session
from soak.debugging import ROOT

APPS = ("slow", "traffic", "throttled", "leak", "lost", "probe")
PICTURES = ROOT / "docs" / "pictures"
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # fetched from elsewhere; the reader's own will do
SEEN_S = 45.0
KEYS = {  # what is pressed one after the other, and the picture after that
    "top": ((), "2"),
    "top-hosts": ((), "3"),
    "top-slot": (("2", "slash", *"throttled", "enter", "enter"), "x"),
}


async def take(session: Session, folder: Path) -> None:
    for name, (before, last) in KEYS.items():
        top = Top(session)
        async with top.run_test(size=(100, 28)) as pilot:
            await asyncio.sleep(4.0)
            for key in before:
                await pilot.press(key)
                await pilot.pause()
            await asyncio.sleep(3.0)
            await pilot.press(last)
            await asyncio.sleep(2.0)
            (folder / f"{name}.svg").write_text(FONT.sub("", top.export_screenshot(title="skerry top")))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="debugging", help="of the lab")
    PICTURES.mkdir(exist_ok=True)
    work = ROOT / "build" / parser.parse_args().name
    skerry = Skerry(work / "home", print)
    del skerry.environment["NO_COLOR"]
    for app in APPS:
        skerry.run("deploy", "--detach", str(work / "stage" / f"{app}.yaml"), quiet=True)
    await asyncio.sleep(SEEN_S)
    async with skerry.session() as session:
        await take(session, PICTURES)
    for app in APPS:
        skerry.run("rm", app, ok=False, quiet=True)


if __name__ == "__main__":
    asyncio.run(main())
