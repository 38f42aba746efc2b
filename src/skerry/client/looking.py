"""Asking a node what it sees of one of its containers: one stream `/look` for each question, to the node that holds the slot."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from skerry.client.session import Session, answered
from skerry.core.records import is_meant
from skerry.errors import BadFormat, BadInput, NoSuchSubject, Passing, SkerryError
from skerry.mesh.messages import Stream, recv_bytes, send_bytes
from skerry.observe.look.job import DATA, ERROR, FRAME_BYTES, ROWS, SUMMARY
from skerry.outside import UNREADABLE

SILENCE_S = 60.0  # the node itself gives up sooner
NAMED = 5
ROWS_MAX = 1_000_000


class NotHeld(Passing):
    """Nobody runs it now."""

    code = "not-held"


class Place(NamedTuple):
    """`node`: the path of who holds the slot."""

    slot: str
    node: str


async def find(session: Session, subject: str, *, crashed: bool = False) -> Place:
    """The one slot that a person means by `web/1`, `guestbook.web/1`, or `web` where it has one replica, or one that runs.

    Raises NoSuchSubject, BadInput where several are meant, NotHeld.
    """
    if crashed:
        return await find_crashed(session, subject)
    rows = [row for row in await session.request("ps", {"subject": ""}) if is_meant([subject], row["slot"])]
    if not rows:
        raise NoSuchSubject(f"there is no {subject}", "no slot or service is called so", "see skerry ps")
    running = [row for row in rows if row["node"]]
    rows = running if len(running) == 1 else rows
    if len(rows) > 1:
        slots = ", ".join(row["slot"] for row in rows[:NAMED]) + (", …" if len(rows) > NAMED else "")
        raise BadInput(f"{subject} means {len(rows)} slots", slots, "name one of them")
    slot, node = str(rows[0]["slot"]), str(rows[0]["node"])
    if not node:
        why = str(rows[0]["why"]) or str(rows[0]["state"])
        raise NotHeld(f"{slot} runs nowhere now", why, f"see skerry explain {slot}")
    return Place(slot, f"node/{node}")


async def crashes(session: Session, subject: str = "", nodes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What hosts (these; all) keep of containers that crashed, newest first, with their `node`. Raises what all of them refused."""
    answers = await session.everywhere("crashes", {"subject": subject}, nodes=nodes or None)
    failed = [answer for answer in answers.values() if isinstance(answer, SkerryError)]
    if failed and len(failed) == len(answers):
        raise failed[0]
    rows = [
        {**row, "node": node.removeprefix("node/")}
        for node, answer in answers.items()
        if not isinstance(answer, SkerryError)
        for row in answer
    ]
    return sorted(rows, key=lambda row: -float(row["time"]))


async def find_crashed(session: Session, subject: str) -> Place:
    """Where the last crash of a slot is kept. Raises NoSuchSubject, BadInput where several slots are meant."""
    rows = await crashes(session, subject)
    if not rows:
        raise NoSuchSubject(
            f"no crash of {subject} is kept", "of each slot the last one is, for a day", "see skerry crashes"
        )
    if len(slots := {str(row["slot"]) for row in rows}) > 1:
        raise BadInput(f"{subject} means {len(slots)} slots", ", ".join(sorted(slots)[:NAMED]), "name one of them")
    return Place(str(rows[0]["slot"]), f"node/{rows[0]['node']}")


class Answer:
    """Messages of one look. `summary` is there when all has come."""

    def __init__(self, stream: Stream, who: str) -> None:
        self.summary: dict[str, Any] = {}
        self._stream, self._who = stream, who

    async def rows(self) -> AsyncGenerator[dict[str, Any]]:
        async for channel, payload in self._messages():
            if channel == ROWS:
                for row in _read(payload, list[dict[str, Any]], self._who):
                    yield row

    async def data(self) -> AsyncGenerator[bytes]:
        async for channel, payload in self._messages():
            if channel == DATA:
                yield payload

    async def give(self, piece: bytes) -> None:
        """Into the container; an empty one is the end."""
        await send_bytes(self._stream, piece)

    async def done(self) -> dict[str, Any]:
        """The summary."""
        async for _ in self._messages():
            pass
        return self.summary

    async def mixed(self) -> AsyncGenerator[bytes | dict[str, Any]]:
        """Bytes and rows, as they come."""
        async for channel, payload in self._messages():
            if channel == DATA:
                yield payload
            elif channel == ROWS:
                for row in _read(payload, list[dict[str, Any]], self._who):
                    yield row

    async def _messages(self) -> AsyncIterator[tuple[bytes, bytes]]:
        while True:
            message = await recv_bytes(self._stream, timeout_s=SILENCE_S, most_bytes=FRAME_BYTES)
            channel, payload = message[:1], message[1:]
            if channel == SUMMARY:
                self.summary = _read(payload, dict[str, Any], self._who)
                return
            if channel == ERROR:
                raise answered(_read(payload, dict[str, Any], self._who))
            yield channel, payload


@asynccontextmanager
async def opened(session: Session, place: Place, what: str, **args: Any) -> AsyncIterator[Answer]:
    """Ask; the answer comes as it is read. Leaving the block ends the look on the node.

    Raises BadInput for a path that JSON can't carry.
    """
    try:
        str(args.get("path", "")).encode()
    except UnicodeEncodeError:
        raise BadInput(f"{args['path']!r} is no UTF-8", "", "copy the folder that it lies in") from None
    stream, who = await session.asked("/look", "look", {"slot": place.slot, "what": what, **args}, place.node)
    try:
        yield Answer(stream, who)
    finally:
        await stream.close()


async def rows(session: Session, place: Place, what: str, **args: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows and the summary."""
    async with opened(session, place, what, **args) as answer, aclosing(answer.rows()) as found:
        return [row async for row in found], answer.summary


def _read(payload: bytes, shape: Any, who: str) -> Any:
    try:
        return msgspec.json.decode(payload, type=shape)
    except UNREADABLE as error:
        name = who.removeprefix("node/")
        raise BadFormat(
            f"{name} was not understood", str(error), "it may be of another version; skerry host ls"
        ) from None
