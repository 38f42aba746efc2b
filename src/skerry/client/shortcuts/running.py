"""Running one tool to its end: its output goes to a taker, its complaints are kept for people. Joined by all shortcuts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from skerry.client import debugging, looking
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.mesh import terminals as t

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

COMPLAINTS_BYTES = 16 << 10

Say = Callable[[str], None]


class ToolFailed(SkerryError):
    """The tool ran and could not do what it was asked for; in its own words."""

    code = "tool-failed"


class Look:
    """What a shortcut needs to know of where it looks. `say`: a line for people, as it happens; what the target may notice is
    the first. `slot`, `node`, `visibility`, `core`: known once a tool runs. `process`:
    looked at alone, by its pid as tools number it."""

    def __init__(self, session: Session, images: LocalImages, subject: str, say: Say, process: int = 0) -> None:
        self.session, self.images, self.subject, self.say, self.process = session, images, subject, say, process
        self.slot = subject
        self.visibility = ""
        self.notices: tuple[str, ...] = ()
        self.node = self.core = ""

    def tell(self, visibility: str, notices: Sequence[str]) -> None:
        """What the target may notice, unless it was said already."""
        if notices and visibility != self.visibility:
            for line in (f"{visibility}: {notices[0]}", *notices[1:]):
                self.say(line)
        self.visibility, self.notices = visibility, tuple(notices)

    async def run(
        self,
        tools: str,
        argv: Sequence[str],
        take: Callable[[bytes, bytes], None],
        *,
        limit_s: float,
        keep: bool = False,
        give: bytes = b"",
    ) -> t.End:
        """`take(channel, bytes)`: of t.STDOUT and t.STDERR, as they come. `keep`: the first is a core that stays there.
        `give`: its standard input.
        """
        self.slot, self.node = await looking.find(self.session, self.subject)
        async with debugging.opened(
            self.session,
            self.slot,
            argv,
            tools=tools,
            limit_s=limit_s,
            process=self.process,
            keep=keep,
            images=self.images,
            progress=self.say,
        ) as tool:
            self.core = tool.core
            self.tell(tool.visibility, tool.notices)
            giving = asyncio.ensure_future(_given(tool, give))
            try:
                async for channel, payload in tool:
                    if channel == t.NOTICE:
                        self.say(payload.decode("utf-8", "replace"))
                    else:
                        take(channel, payload)
            finally:
                giving.cancel()
                await asyncio.gather(giving, return_exceptions=True)  # that its host is gone is heard above, too
        return tool.end or t.End(1, "it ended without a word")


async def _given(tool: debugging.Debug, data: bytes) -> None:
    if data:
        await tool.send(data)
    await tool.end_input()


class Complaints:
    """The end of what a tool wrote to standard error."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def take(self, payload: bytes) -> None:
        self._kept += payload
        del self._kept[:-COMPLAINTS_BYTES]

    def lines(self) -> list[str]:
        return [line.strip() for line in self._kept.decode("utf-8", "replace").splitlines() if line.strip()]


def failed(what: str, end: t.End, complaints: Complaints, fix: str = "") -> ToolFailed:
    """Why it could not, in its own last words."""
    why = end.why or "; ".join(complaints.lines()[-3:]) or f"it ended with {end.code}"
    return ToolFailed(what, why, fix)
