"""libvirt's own test driver, which keeps its machines for as long as one connection lasts: one virsh, spoken to as its shell."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from skerry.machines.contract import NoSuchServer
from skerry.machines.virsh import Virsh, meaning

POOL = "default-pool"


class OneVirsh(Virsh):
    """The same commands, answers and errors; the test driver lacks uploads and disks that grow, which are noted in `left_out`."""

    def __init__(self) -> None:
        super().__init__("test:///default")
        self.left_out: list[str] = []
        self.said: list[str] = []
        self._process = subprocess.Popen(
            ["virsh", "--connect", self.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate("quit\n", timeout=10)

    def _run(self, argv: Sequence[str], limit_s: float, *, may_be_gone: bool = False) -> str:
        self.said.append(" ".join(argv))
        if argv[0] in ("vol-upload", "vol-resize"):
            assert argv[0] == "vol-resize" or Path(argv[-1]).stat().st_size
            self.left_out.append(argv[0])
            return ""
        text = argv[0] if len(argv) == 1 else shlex.join(argv)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"echo begin-of-answer\n{text}\necho end-of-answer\n")
        self._process.stdin.flush()
        lines: list[str] = []
        errors: list[str] = []
        begun = False
        for line in map(str.strip, self._process.stdout):
            if line == "end-of-answer":
                break
            if line.startswith("error: "):
                errors.append(line.removeprefix("error: "))
            elif begun and not line.startswith("virsh # "):
                lines.append(line)
            begun = begun or line == "begin-of-answer"
        if errors:
            error = meaning(text[:60], " ".join(errors))
            if not (may_be_gone and isinstance(error, NoSuchServer)):
                raise error
        return "\n".join(lines) + "\n"
