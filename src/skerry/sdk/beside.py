"""An event loop in a thread, for programs that have none: what `skerry.Client` runs its calls on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Beside:
    """A loop that runs beside the program until `stop`. Calls from several threads are good."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="skerry", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result; whoever interrupts the program meanwhile ends the work, too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, stream: AsyncGenerator[T]) -> Iterator[T]:
        """What comes, one by one. The stream is closed when the iterator is, also by the end of a `for` that is left."""
        try:
            while True:
                try:
                    yield self.run(_next(stream))
                except StopAsyncIteration:
                    return
        finally:
            if self._loop.is_running():
                self.run(_close(stream))

    def stop(self) -> None:
        self.run(end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def end_all() -> None:
    """As asyncio.run ends: nothing of this loop is left in the middle of something."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


async def _next(stream: AsyncGenerator[T]) -> T:
    return await anext(stream)


async def _close(stream: AsyncGenerator[Any]) -> None:
    await stream.aclose()
