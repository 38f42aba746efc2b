"""Tools images on this host: which may run beside a container, how they come, and that they stay meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from skerry.agent.loop import Loop
from skerry.core.events import ToolsUsed
from skerry.core.intent import Tools
from skerry.errors import TrustRefusal
from skerry.trust.accept import Trusted

TELL_S = 1.0  # so often whoever waits for tools hears that they are on their way


class ToolsNotNamed(TrustRefusal):
    """No operator has signed this image as tools: a host runs no other beside a container."""

    code = "tools-not-named"


def permitted(trusted: Trusted, tools: str, digest: str) -> None:
    """Whether this image may run beside a container as these tools. Raises ToolsNotNamed."""
    path = f"tools/{tools}"
    held = trusted.document(path)
    if held is None or not isinstance(held.body, Tools) or held.body.deleted or trusted.lapsed(path):
        raise ToolsNotNamed(
            f"tools {tools[:80]} were refused",
            "no operator has signed such tools",
            "see which there are: skerry tools ls",
        )
    if held.body.image != digest:
        raise ToolsNotNamed(
            f"tools {tools[:80]} were refused",
            f"as operators have signed them they are image {held.body.image[7:19]}, not {digest[7:19]}",
            "ask again: another version was signed meanwhile",
        )


class Kits:
    """Of one agent, whose core decides how long images stay."""

    def __init__(self, trusted: Trusted, loop: Loop) -> None:
        self._trusted = trusted
        self._loop = loop
        self._running: Counter[str] = Counter()

    def permitted(self, tools: str, digest: str) -> None:
        permitted(self._trusted, tools, digest)

    @contextlib.contextmanager
    def running(self, image: str) -> Iterator[None]:
        """Within it nobody removes this image here, whatever else needs room."""
        self._running[image] += 1
        self._used(image)
        try:
            yield
        finally:
            self._running[image] -= 1
            self._used(image)

    async def bring(self, tools: str, digest: str) -> AsyncIterator[dict[str, Any]]:
        """Have an image here, from hosts that have it. Items {"state": "coming"…} until one with "here", or "nowhere" and "why":
        then a client has to hand it over. Raises ToolsNotNamed."""
        self.permitted(tools, digest)
        self._used(digest)
        while True:
            here, coming, why = self._loop.core.image_here(digest)
            if here or not coming:
                yield {"state": "here"} if here else {"state": "nowhere", "why": why}
                return
            yield {"state": "coming"}
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed(digest), TELL_S)

    async def _changed(self, image: str) -> None:
        before = self._loop.core.image_here(image)
        while self._loop.core.image_here(image) == before:
            await self._loop.stepped()

    def _used(self, image: str) -> None:
        self._loop.post(ToolsUsed(image, self._running[image]))
