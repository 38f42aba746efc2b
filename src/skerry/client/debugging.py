"""Looking into a container, or a whole host, with a tool that runs beside it: one stream, from the request to the tool's end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from skerry.client import delivery, kits, looking
from skerry.client.session import Session
from skerry.mesh import terminals as t
from skerry.mesh.messages import Stream

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

FROM_NODE = t.STDOUT + t.STDERR + t.NOTICE + t.END


class Debug:
    """A tool at work. Iterate over (channel, payload): t.STDOUT, t.STDERR and t.NOTICE (its text); `end` is known after that.

    `visibility`, `notices`: what the target may notice, told before the first output. `core`: name of the one that the host keeps.
    """

    def __init__(self, stream: Stream, session: str, visibility: str, notices: Sequence[str], core: str = "") -> None:
        self.session, self.visibility, self.notices, self.core = session, visibility, tuple(notices), core
        self.end: t.End | None = None
        self._stream = stream

    async def send(self, data: bytes) -> None:
        """To its standard input. Raises Unreachable."""
        await t.send(self._stream, t.STDIN, data)

    async def end_input(self) -> None:
        await t.send(self._stream, t.STDIN_END)

    async def resize(self, rows: int, cols: int) -> None:
        await t.send_size(self._stream, rows, cols)

    async def interrupt(self) -> None:
        """As Ctrl-C would, where there is no terminal."""
        await t.send(self._stream, t.INTERRUPT)

    async def __aiter__(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """Raises Unreachable when the host is gone, BadFormat for what no host sends."""
        while self.end is None:
            piece = await t.recv(self._stream, FROM_NODE)
            if piece.channel == t.END:
                self.end = piece.end()
            else:
                yield piece.channel, piece.text().encode() if piece.channel == t.NOTICE else piece.payload


@asynccontextmanager
async def opened(
    session: Session,
    slot: str,
    argv: Sequence[str],
    *,
    tools: str = "base",
    digest: str = "",
    tty: bool = False,
    rows: int = 24,
    cols: int = 80,
    term: str = "xterm-256color",
    write: bool = False,
    limit_s: float = 0.0,
    process: int = 0,
    join: str = "",
    keep: bool = False,
    host: str = "",
    images: LocalImages | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[Debug]:
    """Start a tool beside `slot` ("web/0"), or on the whole `host`. Leaving the block ends it.

    `tools`, `digest`: which signed image, and which version of it ("": the one that is signed now). `images`: the store of this
    machine, from which the host gets them where it lacks them. `limit_s`: 0: what its class allows. `join`: "net": in the network of
    the container. `keep`: what it writes is a core, and stays on the host.
    Raises NoSuchSubject, NoSuchTools, what the host refuses, Unreachable.
    """
    node = f"node/{host}"
    if not host:
        slot, node = await looking.find(session, slot)
    if images is not None and not digest:
        digest = await delivery.ready(session, images, tools, node, progress)
    args = {
        "slot": "" if host else slot,
        "host": bool(host),
        "tools": tools,
        "digest": digest or kits.find(session, tools).image,
        "argv": list(argv),
        "tty": tty,
        "rows": rows,
        "cols": cols,
        "term": term,
        "write": write,
        "limit_s": limit_s,
        "process": process,
        **({"join": join} if join else {}),  # earlier agents don't know these
        **({"keep": True} if keep else {}),
    }
    stream, item = await session.begin("/debug", "debug", args, node)
    try:
        notices = [str(line) for line in item["notices"]]
        yield Debug(stream, str(item["session"]), str(item["visibility"]), notices, str(item.get("core", "")))
    finally:
        await stream.close()
