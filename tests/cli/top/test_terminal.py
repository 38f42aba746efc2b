"""The command `skerry top` itself, at a real (pseudo) terminal and at none."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from agent.small import SmallCloud
from client.conftest import commands_beside
from skerry.cli.main import run
from skerry.core.intent import Service

WITHIN_S = 30.0
WATCHED_S = 3.0
MOST_BYTES_S = 6_000  # an idle screen of 24 lines that is looked at once a second
PROGRAM = "import sys; from skerry.cli.main import run; sys.exit(run(['top']))"


class Terminal:
    """A pseudo terminal of 80 by 24 and the command at its other end."""

    def __init__(self, **environ: str) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(other)
        self.other = other
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environ,
            start_new_session=True,
        )
        self.sent = b""

    def read(self, for_s: float) -> bytes:
        """What comes within this time."""
        end_s, got = time.monotonic() + for_s, b""
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([self._own], [], [], left_s)[0]:
                got += os.read(self._own, 1 << 16)
        self.sent += got
        return got

    def until(self, words: bytes) -> None:
        deadline_s = time.monotonic() + WITHIN_S
        while words not in self.sent:
            assert self.process.poll() is None, self.sent[-3000:].decode(errors="replace")
            assert time.monotonic() < deadline_s, self.sent[-3000:].decode(errors="replace")
            self.read(0.1)

    def type(self, keys: bytes) -> None:
        os.write(self._own, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._own)
        os.close(self.other)


@pytest.fixture
def cloud(tmp_path: Path) -> SmallCloud:
    return SmallCloud(tmp_path / "hosts", 2)


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}], ids=["colours", "no colours"])
def test_at_a_terminal_it_sends_little_and_leaves_all_as_it_was(
    cloud: SmallCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        image = aside.look(lambda: cloud.give_image(b"program"))
        aside.look(lambda: cloud.deploy("shop", Service(replicas=6), image))
        aside.wait("six replicas", lambda: sum(r.healthy for r in cloud.agents["vps-1"].loop.core.rows()) == 6)
        terminal = Terminal(**environ)
        try:
            terminal.until(b"shop.shop")
            terminal.type(b"2")
            terminal.until(b"shop.shop/5")
            terminal.read(1.0)
            idle = terminal.read(WATCHED_S)
            assert 0 < len(idle) < MOST_BYTES_S * WATCHED_S
            if environ:
                assert b"38;2;" not in terminal.sent and b"48;2;" not in terminal.sent
            terminal.type(b"q")
            deadline_s = time.monotonic() + WITHIN_S
            while terminal.process.poll() is None and time.monotonic() < deadline_s:
                terminal.read(0.1)
            assert terminal.process.returncode == 0
            terminal.read(0.2)
            assert terminal.sent.rstrip().endswith(b"l") or b"\x1b[?1049l" in terminal.sent, "the old screen is back"
            assert termios.tcgetattr(terminal.other) == terminal.before
        finally:
            terminal.close()


def test_as_json_it_is_one_look_and_without_a_terminal_it_says_so(
    cloud: SmallCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "ann"))
    with commands_beside(cloud, tmp_path, monkeypatch):
        assert run(["top", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {host["name"] for host in told["hosts"]} == {"vps-1", "vps-2"} and told["lost"] == ""
        assert run(["top"]) == 2
        assert "skerry top --json" in capsys.readouterr().err
        assert run(["top", "--every", "0"]) == 2
