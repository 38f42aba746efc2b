"""Which containers are guarded, and whose time is over. Pure: the time comes in; killing and cutting is `cutting`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from skerry.guarding.words import LATELY_MAX, Held, Kept


class State(msgspec.Struct, frozen=True):
    """What a guard that is begun anew has to know."""

    held: tuple[Held, ...] = ()
    lately: tuple[Held, ...] = ()


class Table:
    """By container id. Once ended is ended: no later word brings a container back, whoever says it.

    `lately`: the last that ended, also those that are not held any more.
    """

    def __init__(self, state: State = State()) -> None:  # noqa: B008 - frozen
        self._held = {each.kept.id: each for each in state.held}
        self.lately = state.lately

    @property
    def held(self) -> tuple[Held, ...]:
        return tuple(self._held.values())

    def want(self, wanted: Iterable[Kept], runs: Callable[[Kept], bool]) -> None:
        """Guard these. Of the others only those are forgotten that do not run: the agent may know less than we do.

        Of one container the newer word counts, also a shorter time: 0 is how a lease is given back.
        """
        new = {}
        for kept in wanted:
            before = self._held.get(kept.id)
            new[kept.id] = Held(kept=kept, ended_s=before.ended_s if before is not None else 0.0)
        for id, each in self._held.items():
            if id not in new and runs(each.kept):
                new[id] = each
        self._held = new

    def end_due(self, now_s: float) -> list[Kept]:
        """Those whose time is over since the last call; they count as ended from here on."""
        due = [each.kept for each in self._held.values() if not each.ended_s and each.kept.until_s <= now_s]
        for kept in due:
            self._held[kept.id] = over = Held(kept=kept, ended_s=now_s)
            self.lately = (*self.lately, over)[-LATELY_MAX:]
        return due

    def ended(self) -> list[Kept]:
        return [each.kept for each in self._held.values() if each.ended_s]

    def alive(self, now_s: float) -> dict[str, float]:
        """Address -> how long it may still be spoken with, in seconds."""
        lives = (each.kept for each in self._held.values() if not each.ended_s and each.kept.until_s > now_s)
        return {kept.address: kept.until_s - now_s for kept in lives}

    def next_s(self) -> float | None:
        """When the next one's time is over."""
        return min((each.kept.until_s for each in self._held.values() if not each.ended_s), default=None)

    def encode(self) -> bytes:
        return msgspec.json.encode(State(self.held, self.lately))

    @classmethod
    def decode(cls, state: bytes) -> Table:
        """Raises msgspec.DecodeError."""
        return cls(msgspec.json.decode(state, type=State))
