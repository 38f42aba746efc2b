"""One host over the system's own `ssh`: its configuration, agent and jump hosts work as in the operator's terminal.

Runs argument lists, quoted once for the remote shell. What the commands mean is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO


class Ssh:
    """A target such as `root@198.51.100.7`, `root@host:2222` or `root@[2001:db8::1]:22`. Use as a context manager."""

    def __init__(self, target: str, config: Path | None = None, identity: Path | None = None) -> None:
        raise NotImplementedError

    def run(self, argv: Sequence[str], input: bytes | IO[bytes] | None = None, timeout_s: float = 60.0) -> bytes:
        """Run `argv` there and return its standard output.

        Raises RemoteFailed (it ran and ended with an error), or an SshError: wrong key, changed host key,
        unreachable, not in time.
        """
        raise NotImplementedError

    def close(self) -> None: ...

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
