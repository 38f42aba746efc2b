"""Whole terminal sessions as text files: what is typed, what comes out, how it ends. `REWRITE=1 pytest tests/cli` writes
them anew; read the difference as prose before you commit it.

    -- compose.yaml --          a file beside the session; up to the next line of this kind, or a command
    $ skerry deploy --dry-run   a command
    out: …                      a line of stdout
    err: …                      a line of stderr
    exit 2                      how it ended
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from skerry.cli.main import run

SESSIONS = sorted((Path(__file__).parent / "sessions").glob("*.txt"))
FILE = re.compile(r"-- (\S+) --")
PASSPHRASE = re.compile(r"\b[a-z2-9]{5}(-[a-z2-9]{5}){4}\b")


def play(text: str, work: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The session as it really goes."""
    out: list[str] = []
    file: list[str] | None = None
    writing: Path | None = None

    def keep() -> None:
        if writing is not None and file is not None:
            writing.parent.mkdir(parents=True, exist_ok=True)
            writing.write_text("\n".join(file) + "\n")

    for line in text.splitlines():
        if line.startswith("$ "):
            keep()
            file = writing = None
            code = run(shlex.split(line[2:])[1:])
            captured = capsys.readouterr()
            out.append(line)
            out += [f"out: {shown(each, work)}".rstrip() for each in captured.out.splitlines()]
            out += [f"err: {shown(each, work)}".rstrip() for each in captured.err.splitlines()]
            out += [f"exit {code}", ""]
        elif match := FILE.fullmatch(line):
            keep()
            out.append(line)
            file, writing = [], work / match[1]
        elif file is not None:
            out.append(line)
            file.append(line)
        elif line.startswith("#"):
            out.append(line)
    return "\n".join(out).rstrip() + "\n"


def shown(line: str, work: Path) -> str:
    line = line.replace(str(work), "WORK").replace("\\", "/")
    return PASSPHRASE.sub("PASSPHRASE", re.sub(r"\b[0-9a-f]{64}\b", "ID", line))


@pytest.mark.usefixtures("quick_age")
@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_session(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SKERRY_CLOUD", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKERRY_PASSPHRASE", "")
    monkeypatch.setenv("NO_COLOR", "1")
    wanted = path.read_text()
    found = play(wanted, tmp_path, capsys)
    if os.environ.get("REWRITE"):
        path.write_text(found)
    assert found == wanted
