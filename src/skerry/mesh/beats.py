"""Heartbeats: one timer says on all links that we live, and ends those on which nobody has said so for too long.

A beat needs no answer (an unasked pong, RFC 6455, 5.5.3), and any byte counts as one: a question and its answer would
cost as much, and call a neighbour dead whose answer waits behind a megabyte of records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from websockets.protocol import State

from skerry.mesh.connections import Link

BEAT_S = 0.5  # a link says this often that we live, if it has nothing else to say
TALKS_S = 1.1  # who sent a frame within this needs no beat: an agent's `up`, each second, is one
SILENT_S = 3.0  # heard nothing for so long: the neighbour is gone. A pause of 2.4 s is forgiven, beside frames of 1.9 s


class Beats:
    """`links` is the caller's and changes; `cut(link, why)` must not wait. A timer, not a task that sleeps: that would cost
    a further turn of the loop for each of an idle host's few.
    """

    def __init__(self, links: Mapping[str, Link], cut: Callable[[Link, str], None]) -> None:
        self._links, self._cut = links, cut
        self._loop = asyncio.get_running_loop()
        self._excused = False
        self._rest(BEAT_S)

    def cancel(self) -> None:
        self._timer.cancel()

    def _rest(self, rest_s: float) -> None:
        self._due_s = self._loop.time() + rest_s
        self._timer = self._loop.call_later(rest_s, self._beat)

    def _beat(self) -> None:
        now = self._loop.time()
        # If we stood still ourselves, what came meanwhile may not be read yet: nobody is called silent before the next look.
        self._excused = now - self._due_s > BEAT_S and not self._excused
        for link in list(self._links.values()):
            if now - link.connection.heard_s >= SILENT_S and not self._excused:
                self._cut(link, f"silent for {SILENT_S:.0f} s")
            elif now >= _due_s(link):
                link.beat_s = now
                _beat(link)
        self._rest(_rest_s(self._links, self._loop.time()))


def _due_s(link: Link) -> float:
    return max(link.beat_s + BEAT_S, link.sent_s + TALKS_S)


def _rest_s(links: Mapping[str, Link], now: float) -> float:
    due = (min(_due_s(link), link.connection.heard_s + SILENT_S) - now for link in links.values())
    return max(0.01, min([TALKS_S, *due]))


def _beat(link: Link) -> None:
    connection = link.connection
    # With bytes in its queue it hears from us anyway.
    if connection.state is State.OPEN and not connection.transport.get_write_buffer_size():
        # Not `connection.pong()`: it waits for the queue, makes a context for it, and costs twice as much.
        connection.protocol.send_pong(b"")
        connection.send_data()
