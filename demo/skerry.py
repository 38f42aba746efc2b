"""The command `skerry`, run as a person runs it, in a home of the demo's own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from skerry.client.home import Home
from skerry.client.session import Session
from skerry.errors import SkerryError

T = TypeVar("T")
COMMAND = Path(sys.executable).with_name("skerry")


class CommandFailed(RuntimeError):
    """It ended with an error; its own words are the message."""


class Skerry:
    """`home`: $SKERRY_HOME. `tell` gets each line of progress."""

    def __init__(self, home: Path, tell: Callable[[str], None]) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "SKERRY_HOME": str(home),
            "SKERRY_PASSPHRASE": "",
            "NO_COLOR": "1",
        }
        self._tell = tell

    def run(self, *args: str, ok: bool = True, quiet: bool = False) -> str:
        """Its standard output. Progress (standard error) is told line by line. Raises CommandFailed unless `ok` is False."""
        # Its answer goes to a file: a pipe that nobody reads meanwhile would hold it up at 64 KiB.
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
            subprocess.Popen(
                [COMMAND, *args],
                env=self.environment,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            ) as process,
        ):
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if not quiet:
                    self._tell(line.rstrip())
            process.wait()
            answer.seek(0)
            out = answer.read()
        if process.returncode and ok:
            raise CommandFailed(
                f"skerry {' '.join(args)} ended with {process.returncode}: {''.join(said[-8:])}{out[-500:]}"
            )
        return out

    def json(self, *args: str, quiet: bool = True) -> Any:
        return json.loads(self.run(*args, "--json", quiet=quiet))

    def refused(self, *args: str) -> tuple[int, dict[str, Any]]:
        """A command that must fail: its exit code and its error, as --json tells it."""
        done = subprocess.run(
            [COMMAND, *args, "--json"], env=self.environment, capture_output=True, text=True, encoding="utf-8"
        )
        self._tell(done.stderr.rstrip())
        if done.returncode == 0:
            raise CommandFailed(f"skerry {' '.join(args)} was to be refused and was not: {done.stdout[-500:]}")
        error: dict[str, Any] = json.loads(done.stdout)["error"]
        return done.returncode, error

    def ask(self, verb: str, args: Any = None, *, node: str = "") -> Any:
        """One answer of a host, of `node` if given; in this process: a command's own start would be the coarsest part of a figure."""

        async def once() -> Any:
            async with self.session() as session:
                return await session.request(verb, args, node=f"node/{node}" if node else None)

        return asyncio.run(once())

    def look(self, view: Callable[[Session], Awaitable[T]]) -> T:
        """What one of client.views gives, in this process: while something is waited for, commands would start one after the
        other and take the processor from what is waited for. Raises CommandFailed, as the command would."""

        async def once() -> T:
            async with self.session() as session:
                return await view(session)

        try:
            return asyncio.run(once())
        except SkerryError as error:
            raise CommandFailed(str(error)) from error

    def session(self) -> Session:
        return Session(
            Home.find(self.environment).choose("", self.environment), lambda what: self.environment["SKERRY_PASSPHRASE"]
        )

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Until `condition` gives something true; its value. Commands that fail meanwhile count as not yet."""
        deadline_s = time.monotonic() + timeout_s
        last = ""
        while time.monotonic() < deadline_s:
            try:
                if value := condition():
                    return value
            except (CommandFailed, OSError) as error:
                last = str(error)
            time.sleep(0.1)
        raise TimeoutError(f"waited {timeout_s:.0f} s for {what}. {last}")
