"""A trial from beginning to end: ports, container, signals, exit code. One event loop; everything is taken away on every way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from skerry.client.trial.container import Trial, find_program, sweep
from skerry.client.trial.network import OwnNetwork, forwarding, listen
from skerry.client.trial.wish import Wish
from skerry.image.oci import ImageConfig

GRACE_S = 10.0


def run_image(
    root: Path,
    config: ImageConfig,
    wish: Wish,
    place: Path,
    *,
    out: int | IO[bytes] | None = None,
    started: Callable[[], None] = lambda: None,
    before: Callable[[int], None] = lambda pid: None,
    for_s: float | None = None,
) -> int:
    """Run it until it ends, or SIGTERM or SIGINT says so (a second one doesn't wait); gives its exit code.

    `root`: the image's tree; `place`: where trials keep their folders; `out`: where it writes, None: as this process.
    `before` gets the pid of its first process before that is started; `for_s`: end it after that time.
    Raises NoTrial, TrialFailed, RuntimeRefused, BadInput for a port that is taken.
    """
    find_program()
    sweep(place)
    with _Signals() as signals, ExitStack() as stack:
        sockets = listen(wish.ports)
        for each in sockets:
            stack.callback(each.close)
        network = None if wish.host_network else OwnNetwork()
        if network:
            stack.callback(network.close)
        trial = Trial(place, root, config, wish, netns=network.path if network else "", out=out)
        stack.callback(trial.close)
        before(trial.pid)
        inside = network.socket if network else _socket_of_host
        return asyncio.run(_live(trial, config, wish, sockets, inside, started, signals, for_s))


async def _live(
    trial: Trial,
    config: ImageConfig,
    wish: Wish,
    sockets: list[socket.socket],
    inside: Callable[[], socket.socket],
    started: Callable[[], None],
    signals: _Signals,
    for_s: float | None,
) -> int:
    from skerry.runtime.processes import wait_readable
    from skerry.runtime.signals import signal_number

    loop = asyncio.get_running_loop()
    number = signal_number(config.stop_signal or "SIGTERM")
    asked: list[bool] = []

    def end() -> None:
        trial.send(signal.SIGKILL if asked else number)
        asked.append(True)
        loop.call_later(GRACE_S, trial.send, signal.SIGKILL)

    file = os.pidfd_open(trial.pid)
    try:
        async with forwarding(wish.ports, sockets, inside):
            trial.start()
            started()
            signals.call(lambda: loop.call_soon_threadsafe(end))
            if for_s is not None:
                loop.call_later(for_s, lambda: None if asked else end())
            await wait_readable(file)
            signals.call(lambda: None)
        return trial.wait()
    finally:
        os.close(file)


class _Signals:
    """SIGTERM and SIGINT are noted from beginning to end: half a container could not be taken away. `call`: what they do now."""

    def __init__(self) -> None:
        self._came = 0
        self._then: Callable[[], object] | None = None
        self._before: dict[int, Any] = {}

    def call(self, then: Callable[[], object]) -> None:
        self._then = then
        for _ in range(self._came):
            then()
        self._came = 0

    def __enter__(self) -> _Signals:
        with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's matter
            for each in (signal.SIGTERM, signal.SIGINT):
                self._before[each] = signal.signal(each, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: object) -> None:
        if self._then is None:
            self._came += 1
        else:
            self._then()


def _socket_of_host() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
