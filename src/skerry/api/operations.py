"""Long operations: begun by a request, answered with 202, followed and, where that is good, cancelled by others."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Literal

import msgspec

from skerry.api.ledger import Ledger
from skerry.api.problems import Problem, problem_of
from skerry.errors import BadInput, Passing, Refusal, SkerryError

LINES_MAX = 1000
RUNNING_MAX = 64
Work = Callable[[Callable[[str], None]], Awaitable[Any]]


class NoSuchOperation(BadInput):
    """The API knows no operation of that id: it is too old, or never was."""

    code = "no-such-operation"


class NotCancellable(Refusal):
    """It is over, or can't be stopped halfway."""

    code = "not-cancellable"


class TooManyOperations(Passing):
    """As many long operations run as this server takes on."""

    code = "too-many-operations"


class Operation(msgspec.Struct, kw_only=True):
    """`state` lost: the server ended meanwhile; what hosts had accepted goes on. Times are unix seconds, `ended_s` 0 while it runs.

    `progress`: lines for people. `result`: what the verb gives, once it is done. `error`: why it failed. `cancellable`: DELETE
    stops it; what hosts have accepted goes on all the same.
    """

    id: str
    kind: str
    subject: str
    token: str
    state: Literal["running", "done", "failed", "cancelled", "lost"] = "running"
    cancellable: bool = False
    begun_s: float
    ended_s: float = 0.0
    progress: list[str] = []
    result: Any = None
    error: Problem | None = None


class Operations:
    """Those that run, in memory; those that are over, in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._running: dict[str, tuple[Operation, asyncio.Task[None]]] = {}
        self._news: dict[str, asyncio.Event] = {}
        for content in ledger.operations():
            operation = msgspec.json.decode(content, type=Operation)
            if operation.state == "running":
                operation.state, operation.ended_s, operation.cancellable = "lost", time.time(), False
                self._keep(operation)

    def start(self, kind: str, subject: str, token: str, work: Work, *, cancellable: bool) -> Operation:
        """Raises TooManyOperations."""
        if len(self._running) >= RUNNING_MAX:
            raise TooManyOperations(
                f"{kind} was not begun", f"{RUNNING_MAX} operations run", "wait until some are done"
            )
        operation = Operation(
            id=secrets.token_hex(12), kind=kind, subject=subject, token=token, cancellable=cancellable, begun_s=time.time()
        )  # fmt: skip
        self._keep(operation)
        task = asyncio.create_task(self._run(operation, work), name=f"{kind} {subject}")
        self._running[operation.id] = (operation, task)
        self._news[operation.id] = asyncio.Event()
        return operation

    async def _run(self, operation: Operation, work: Work) -> None:
        def progress(line: str) -> None:
            if len(operation.progress) < LINES_MAX:
                operation.progress = [*operation.progress, line]
                self._tell(operation.id)

        try:
            result = await work(progress)
            operation.result, operation.state = msgspec.to_builtins(result), "done"
        except SkerryError as error:
            operation.error, operation.state = problem_of(error), "failed"
        except asyncio.CancelledError:
            operation.state = "cancelled"
        except BaseException:
            operation.error = Problem(
                type="urn:skerry:error:bug", title=f"{operation.kind} failed", status=500, code="bug",
                detail="this is a bug of Skerry; its log has the traceback",
            )  # fmt: skip
            operation.state = "failed"
            raise
        finally:
            operation.ended_s, operation.cancellable = time.time(), False
            self._keep(operation)
            del self._running[operation.id]
            self._tell(operation.id)
            del self._news[operation.id]

    def get(self, id: str) -> Operation:
        """Raises NoSuchOperation."""
        if id in self._running:
            return self._running[id][0]
        content = self._ledger.operation(id)
        if content is None:
            raise NoSuchOperation(f"there is no operation {id[:80]}", "the last 1,000 are kept", "see /v1/operations")
        return msgspec.json.decode(content, type=Operation)

    def all(self) -> list[Operation]:
        """Newest first."""
        kept = [msgspec.json.decode(content, type=Operation) for content in self._ledger.operations()]
        return [self._running[each.id][0] if each.id in self._running else each for each in kept]

    async def cancel(self, id: str) -> Operation:
        """Stop it and wait until it has stopped. Raises NoSuchOperation, NotCancellable."""
        operation = self.get(id)
        if operation.state != "running" or not operation.cancellable:
            why = "it can't be stopped halfway" if operation.state == "running" else f"it is {operation.state}"
            raise NotCancellable(
                f"operation {id} was not cancelled", why, "what it did is undone by a change of its own"
            )
        task = self._running[id][1]
        task.cancel()
        await asyncio.wait([task])
        return operation

    async def watch(self, id: str, after: int = 0) -> AsyncGenerator[tuple[int, Operation]]:
        """(how many lines of progress it has, the operation) now, if there are more than `after`, and whenever more come.

        Ends when it is over. Raises NoSuchOperation.
        """
        while True:
            operation, news = self.get(id), self._news.get(id)
            if len(operation.progress) > after or operation.state != "running":
                after = len(operation.progress)
                yield after, operation
            if operation.state != "running" or news is None:
                return
            if len(operation.progress) == after and operation.state == "running":
                await news.wait()

    async def close(self) -> None:
        """Stop what runs; what hosts have accepted goes on."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, operation: Operation) -> None:
        self._ledger.keep(operation.id, msgspec.json.encode(operation), operation.begun_s)

    def _tell(self, id: str) -> None:
        self._news[id].set()
        self._news[id] = asyncio.Event()
