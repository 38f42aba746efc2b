"""What all parts of the SDK stand on: one session with a cloud, and who may change what at the same time. No verbs here.

One session serves all that a program does at once. Two changes of one thing (an app, a host, the policy) wait for each
other; changes of different things don't. Other programs of this home, commands among them, are held off meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from skerry.client.home import CloudHome, Home
from skerry.client.images import LocalImages
from skerry.client.keys import Passphrase, passphrase_from
from skerry.client.session import Session
from skerry.errors import Refusal

Progress = Callable[[str], None]


class ChangedMeanwhile(Refusal):
    """It is no longer what the caller had seen (`prev`, If-Match): nothing was changed."""

    code = "changed-meanwhile"


class NotOpen(Refusal):
    """A client is used as `with Client() as cloud:`, or between its `open` and `close`."""

    code = "client-not-open"
    exit_code = 2


class Connection:
    """`cloud`: its name, else $SKERRY_CLOUD, else the selected one. `home`: else $SKERRY_HOME, else ~/.config/skerry.

    `passphrase`: of the key; else $SKERRY_PASSPHRASE.
    """

    def __init__(self, cloud: str, home: str | Path | None, passphrase: str | Passphrase | None) -> None:
        self._cloud, self._passphrase = cloud, passphrase
        self.home = Home(Path(home)) if home is not None else Home.find(os.environ)
        self._session: Session | None = None
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self._changing = 0
        self._held = contextlib.ExitStack()

    async def open(self) -> None:
        """Raises NoCloud, KeyMissing, WrongPassphrase; asks no host yet."""
        if self._session is None:
            chosen = self.home.choose(self._cloud, os.environ)
            self._session = await asyncio.to_thread(_opened, chosen, self._secret())

    def _secret(self) -> Passphrase:
        given = self._passphrase
        if isinstance(given, str):
            return lambda what: given
        return given or passphrase_from(os.environ, None, None)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.__aexit__(None, None, None)

    @property
    def session(self) -> Session:
        if self._session is None:
            raise NotOpen("the client is not open", "", "use it as `with Client() as cloud:`")
        return self._session

    @property
    def images(self) -> LocalImages:
        """The local image store."""
        return LocalImages(self.home.images)

    @contextlib.asynccontextmanager
    async def changing(
        self, what: str, prev: str | None = None, now: Callable[[], str] = str
    ) -> AsyncIterator[Session]:
        """While one thing is changed. `prev`: go on only if `now` (its etag, once the newest is known) is still that.

        Raises ChangedMeanwhile, and HomeBusy while a command changes this cloud.
        """
        async with self.changing_first(what, prev, now) as (session, _):
            yield session

    @contextlib.asynccontextmanager
    async def changing_first(
        self, what: str, prev: str | None = None, now: Callable[[], str] = str
    ) -> AsyncIterator[tuple[Session, Callable[[], None]]]:
        """As `changing`, with what lets the next one in: to be called once all is signed and only waiting is left."""
        session = self.session
        async with self._turn(what) as next_one:
            with self._hold(session.home) as let_go:
                if prev is not None:
                    await session.sync()
                    if (etag := now()) != prev:
                        raise ChangedMeanwhile(
                            f"{what} was not changed",
                            f"it is at {etag or 'nothing'} now, not at {prev}",
                            "look at it again, then decide again",
                        )

                def signed() -> None:
                    session.save()
                    let_go()
                    next_one()

                yield session, signed

    @contextlib.asynccontextmanager
    async def _turn(self, what: str) -> AsyncIterator[Callable[[], None]]:
        lock, users = self._turns.get(what, (asyncio.Lock(), 0))
        self._turns[what] = (lock, users + 1)
        try:
            await lock.acquire()
            release = _once(lock.release)
            try:
                yield release
            finally:
                release()
        finally:
            lock, users = self._turns.pop(what)
            if users > 1:
                self._turns[what] = (lock, users - 1)

    @contextlib.contextmanager
    def _hold(self, home: CloudHome) -> Any:
        """The home's lock, taken by the first change and given back by the last."""
        if not self._changing:
            self._held.enter_context(home.lock())
        self._changing += 1

        def give_back() -> None:
            self._changing -= 1
            if not self._changing:
                self._held.close()

        let_go = _once(give_back)
        try:
            yield let_go
        finally:
            let_go()


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """The same, doing it at the first call only."""
    acts = [act]
    return lambda: acts.pop()() if acts else None


def _opened(home: CloudHome, secret: Passphrase) -> Session:
    """Reading verifies every signature that is known here, and opening a key under a passphrase takes a second."""
    session = Session(home, secret)
    _ = session.own
    return session
