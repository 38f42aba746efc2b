"""A small cloud whose containers write, and the screen over it, driven by keys as a person would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from textual.events import Key
from textual.pilot import Pilot

from agent.small import SmallCloud
from agent.unsynced import unsynced
from client.conftest import cloud, session
from skerry.cli.top.detail import Detail
from skerry.cli.top.screen import Top
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.runtime.memory import MemoryRuntime

__all__ = ["Screen", "cloud", "screen", "session", "unsynced"]
WITHIN_S = 60.0  # beside all other tests this one gives way
LEVELS = 6  # from the innermost widget up to the screen's end: a message goes up one in each wait


class Screen:
    """`top` at work."""

    def __init__(self, top: Top, pilot: Pilot[SkerryError]) -> None:
        self.top, self.pilot = top, pilot

    def text(self) -> str:
        """What a person reads now, line by line."""
        lines = self.top.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)

    async def until(self, what: str, holds: Callable[[str], bool] | None = None) -> str:
        """The text, once these words are in it (or `holds`)."""
        seen = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                while True:
                    await self.pilot.pause(0)
                    seen = self.text()
                    if holds(seen) if holds is not None else what in seen:
                        return seen
                    await asyncio.sleep(0.05)
        raise AssertionError(f"waited {WITHIN_S:g} s for {what}; the screen shows:\n{seen}")

    async def press(self, *keys: str) -> None:
        """One after the other, each once all that the one before led to is done."""
        for key in keys:
            await self.pilot.press(key)
            for _ in range(LEVELS):
                await self.pilot._wait_for_screen()

    async def all_at_once(self, *keys: str) -> None:
        """As a fast person, a slow line or a paste brings them: all are there before the first is taken."""
        for key in keys:
            character = {"slash": "/", "enter": "\r", "escape": "\x1b"}.get(key, key)
            self.top.post_message(Key(key, character))
        await self.pilot._wait_for_screen()

    @property
    def detail(self) -> Detail:
        assert isinstance(self.top.screen, Detail)
        return self.top.screen


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[SmallCloud, str, str], None]:
    """Containers in memory get real log files; gives how to write a line as a slot."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr(MemoryRuntime, "logs", lambda self, id: [folder / id])

    def write(cloud: SmallCloud, slot: str, text: str) -> None:
        agents = cloud.agents.values()
        ids = [id for agent in agents for id, named in agent.containers.running().items() if named == slot]
        assert ids, f"nobody runs {slot}"
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        for id in ids:  # on a busy machine two have claimed it at first, and the one that lost still runs
            with (folder / id).open("a") as file:
                file.write(f"{now} stdout F {text}\n")

    return write


async def _at_once(min_sleep: float = 0.0, max_sleep: float = 0.0) -> None:
    """Instead of Textual's wait until this process is idle, which with three agents in it is never: a second for each key."""
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def screen(session: Session, size: tuple[int, int] = (80, 24), every_s: float = 0.2) -> AsyncIterator[Screen]:
    top = Top(session, every_s)
    with patch("textual.app.wait_for_idle", _at_once), patch("textual.pilot.wait_for_idle", _at_once):
        async with top.run_test(size=size) as pilot:
            yield Screen(top, pilot)
