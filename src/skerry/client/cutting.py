"""Handing over what all hosts must know at once: that one of them is out.

It goes to every host that can be reached, at the same time. So neither hosts that do not answer hold it up, nor a captured one
that takes it and tells nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from skerry.client.session import ANSWER_S, EAGER_S, Answered, Session
from skerry.errors import BadFormat, SkerryError, Unreachable
from skerry.trust import envelope
from skerry.trust.drafts import rehearse
from skerry.trust.refusals import ThresholdNotMet

SAID_S = 5.0  # for a host that is to say who knows it, or what it knows; it needs less
ROUNDS = 3  # of signing, where a host knows something newer than what it was signed over


class Spread(msgspec.Struct, frozen=True):
    """`kept_by`: hosts that have it on their disk. `missing`: hosts that are up, as one of those says, and have not said so yet."""

    kept_by: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


async def hand_to_all(session: Session, sign: Callable[[], list[bytes]], *, without: Collection[str]) -> Spread:
    """`sign`: the documents, over what is known at the time; called again when a host knows newer ones. `without`: who gets none.

    With no other host they are only kept here. Raises Unreachable, ThresholdNotMet (a draft is left), what all hosts answered.
    """
    for _ in range(ROUNDS):
        raws = sign()
        others = [node for node in session.candidates() if node not in without]
        if not raws or not others:
            session.adopt_own(raws)
            return Spread()
        try:
            rehearse(session.trusted, raws, now_s=time.time())
        except ThresholdNotMet as waits:
            await session.leave(raws, waits)
            raise
        answers = await _put(session, raws, others)
        took = [node for node, answer in answers.items() if not isinstance(answer, SkerryError)]
        heads = session.trusted.heads()
        refused = [node for node, answer in answers.items() if isinstance(answer, Answered)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*map(session.learn_from, refused)), SAID_S)
        if heads != session.trusted.heads():
            continue  # who took it was behind, or said so
        if not took:
            raise _worst(list(answers.values()))
        session.preferred = took[0]
        session.learned(raws)
        return await _spread(session, raws, took)
    raise Unreachable("not all hosts have taken it", "each time one of them knew something newer", "do it again")


async def _put(session: Session, raws: Sequence[bytes], nodes: Sequence[str]) -> dict[str, Any]:
    """What each host answered, or the SkerryError. Who is silent is not waited for once another has taken it."""
    tasks = {asyncio.create_task(_one(session, raws, node)): node for node in nodes}
    answers: dict[str, Any] = {}
    waiting = set(tasks)
    until_s: float | None = None
    try:
        while waiting:
            within_s = None if until_s is None else until_s - time.monotonic()
            if within_s is not None and within_s <= 0:
                break
            done, waiting = await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                answers[tasks[task]] = task.result()
                if until_s is None and not isinstance(task.result(), SkerryError):
                    until_s = time.monotonic() + EAGER_S
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return answers


async def _one(session: Session, raws: Sequence[bytes], node: str) -> Any:
    try:
        return await session.request("put", node=node, silence_s=ANSWER_S, attached=raws)
    except SkerryError as error:
        return error


async def _spread(session: Session, raws: Sequence[bytes], took: Sequence[str]) -> Spread:
    """As the first of them sees it that can say; one of an earlier version can't."""
    hashes = [envelope.parse(raw).hash for raw in raws]
    for node in took:
        with contextlib.suppress(Unreachable, Answered, BadFormat, msgspec.ValidationError):
            said = msgspec.convert(
                await session.request("spread", {"hashes": hashes}, node=node, silence_s=SAID_S), Spread
            )
            kept = {*said.kept_by, *took}
            return Spread(tuple(sorted(kept)), tuple(sorted(set(said.missing) - kept)))
    return Spread(tuple(took))


def _worst(errors: Sequence[SkerryError]) -> SkerryError:
    """What a host refused says more than that another was not reached."""
    return next((error for error in errors if isinstance(error, Answered)), errors[0])
