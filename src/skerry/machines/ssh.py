"""One host over the system's own `ssh`: its configuration, agent and jump hosts work as in the operator's terminal.

A host's key is never taken in silence, whatever the configuration says: ssh asks at the terminal and shows the fingerprint, or
the right one was named. Who comes in as another user than root works through sudo, where that asks nothing.

Runs argument lists, quoted once for the remote shell. What the commands mean is not known here. On POSIX one connection
is opened at the first command and all others go through it (one login, one question for a passphrase); on Windows, whose
ssh can't share a connection, each command makes its own.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from skerry.errors import SkerryError
from skerry.machines import hostkeys
from skerry.machines.errors import (
    BadTarget,
    RemoteFailed,
    SshFailed,
    SshHostKeyChanged,
    SshHostKeyOther,
    SshHostKeyUnknown,
    SshMissing,
    SshNotInTime,
    SshUnreachable,
    SshWrongKey,
)

LOGIN_LIMIT_S = 120.0  # a person may have to type a passphrase
CONNECT_LIMIT_S = 10
OUTPUT_LIMIT_BYTES = 8 << 20
FAILED = 255  # ssh's own exit code, and possibly a remote command's: not ssh's while the shared connection stands
_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_UNREACHABLE = (
    "Connection timed out",
    "Operation timed out",
    "Connection refused",
    "No route to host",
    "Network is unreachable",
    "Could not resolve hostname",
    "Connection reset",
    "Connection closed",
    "Broken pipe",
    "Timeout, server",
    "kex_exchange_identification",
    "Connection to",
    "banner exchange",
)


class Ssh:
    """A target such as `root@198.51.100.7`, `root@host:2222` or `root@[2001:db8::1]:22`. Use as a context manager."""

    def __init__(
        self,
        target: str,
        config: Path | None = None,
        identity: Path | None = None,
        jump: str = "",
        host_keys: Sequence[str] = (),
    ) -> None:
        """`config`, `identity`, `jump`: as ssh's -F, -i and -J (one host). `host_keys`: fingerprints, of which its key must have one.

        Raises BadTarget, BadInput or SshMissing; connects only when needed.
        """
        self.target = target
        self.no_root = ""  # why its commands don't run as root
        self._destination, port = parse_target(target)
        self._wanted_keys = hostkeys.checked(host_keys)
        program = shutil.which("ssh")
        if program is None:
            raise SshMissing("there is no ssh program here", "hosts are joined over SSH", "install an OpenSSH client")
        chosen: list[str] = []
        if config:
            chosen += ["-F", str(config)]
        if identity:
            chosen += ["-i", str(identity), "-o", "IdentitiesOnly=yes"]
        if jump:
            chosen += _through(jump, chosen)
        if port:
            chosen += ["-p", str(port)]
        self._by_hand = shlex.join(["ssh", *chosen, self._destination])
        self._argv = [program, *chosen]
        self._argv += ["-o", f"ConnectTimeout={CONNECT_LIMIT_S}", "-o", "ServerAliveInterval=5"]
        self._argv += ["-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR"]
        self._settled: list[str] | None = None  # options that say which key the host may have
        self._prefix: list[str] | None = None  # None: who we are there was not asked yet
        self._shares = sys.platform != "win32"
        self._master: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def run(
        self, argv: Sequence[str], input: bytes | IO[bytes] | None = None, timeout_s: float = 60.0, what: str = ""
    ) -> bytes:
        """Run `argv` there and return its standard output. `what`: what was wanted by it, for an error's first line.

        Raises RemoteFailed (it ran and ended with an error), or why ssh could not: SshWrongKey, SshHostKeyChanged,
        SshHostKeyUnknown, SshUnreachable, SshNotInTime, SshFailed.
        """
        self._connect()
        if self._prefix is None:
            self._prefix = []
            self._become_root()
        return self._remote([*self._prefix, *argv], input, timeout_s, what)

    def _remote(
        self, argv: Sequence[str], input: bytes | IO[bytes] | None = None, timeout_s: float = 60.0, what: str = ""
    ) -> bytes:
        self._connect()
        share = ["-S", str(self._control), "-o", "ControlMaster=no"] if self._shares else []
        given = input if isinstance(input, bytes | None) else None
        stdin = subprocess.PIPE if given is not None else (input if given is not input else subprocess.DEVNULL)
        process = subprocess.Popen(
            [*self._argv, *(self._settled or []), *share, "-T", "--", self._destination, shlex.join(argv)],
            stdin=stdin,  # type: ignore[arg-type]
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=hostkeys.english(),
        )
        try:
            out, err = process.communicate(given, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            self.close()  # it holds our pipes and the command there: both end with it; the next command connects anew
            raise SshNotInTime(
                what or f"{self.target} did not finish in time",
                f"{argv[0]} had not ended after {timeout_s:.0f} s",
                "the host may be busy: try again",
            ) from None
        except BaseException:
            _end(process)
            raise
        words = err.decode(errors="replace").strip()[-4000:]
        connected = self._master is not None and self._master.poll() is None
        if process.returncode == FAILED and not connected and (known := self._problem(words)):
            raise known
        if process.returncode:
            raise RemoteFailed(
                what or f"{argv[0]} failed on {self.target}",
                words or f"exit code {process.returncode}",
                f"try it there: {self._by_hand} {shlex.join(argv)[:200]}",
                exit_status=process.returncode,
                stderr=words,
            )
        if len(out) > OUTPUT_LIMIT_BYTES:
            raise SshFailed(f"{self.target} said too much", f"{argv[0]} printed {len(out)} bytes")
        return out

    def address(self) -> str:
        """Where ssh's configuration says that it is: a name or an address."""
        return hostkeys.configured([*self._argv, "--", self._destination], "hostname")

    def close(self) -> None:
        """End the connection. May be called twice."""
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
            self._master = None
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = self._settled = None

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _control(self) -> Path:
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="skerry-", ignore_cleanup_errors=True)
        return Path(self._directory.name) / "c"

    def _connect(self) -> None:
        """Open the shared connection, as a child of ours: not ssh's own background process, which would hold our pipes."""
        if self._shares and self._master is not None and self._master.poll() is None:
            return
        self._settle_host_key()
        if not self._shares:
            return
        control = self._control
        control.unlink(missing_ok=True)
        with open(control.with_name("words"), "w+b") as words:
            argv = [*self._argv, *(self._settled or []), "-M", "-N", "-T", "-S", str(control), "--", self._destination]
            self._master = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words, env=hostkeys.english()
            )
            end = time.monotonic() + LOGIN_LIMIT_S
            while not control.exists():
                if self._master.poll() is not None:
                    words.seek(0)
                    text = words.read().decode(errors="replace").strip()
                    raise self._problem(text) or SshFailed(
                        f"no SSH session with {self.target}", text or "ssh ended without a word", self._by_hand
                    )
                if time.monotonic() > end:
                    self.close()
                    raise SshUnreachable(
                        f"no SSH session with {self.target}", f"not within {LOGIN_LIMIT_S:.0f} s", self._by_hand
                    )
                time.sleep(0.005)

    def _settle_host_key(self) -> None:
        """Which key the host may have: one that was named; else one that is known, or that a person agrees to at the terminal."""
        if self._settled is None and self._wanted_keys:
            self._settled = self._pinned()
        elif self._settled is None:
            lax = hostkeys.configured([*self._argv, "--", self._destination], "stricthostkeychecking")
            self._settled = ["-o", "StrictHostKeyChecking=ask"] if lax in hostkeys.LAX else []

    def _pinned(self) -> list[str]:
        """Options by which the host's key has to be the named one, which is remembered, too. Raises SshHostKeyOther."""
        seen: dict[str, str] = {}
        for algorithm in hostkeys.ALGORITHMS:
            for key in self._shown(algorithm):
                seen[key.kind] = key.fingerprint
                if key.fingerprint in self._wanted_keys:
                    hostkeys.remember([*self._argv, "--", self._destination], key)
                    return hostkeys.pin(key, self._control.with_name("known"))
        raise SshHostKeyOther(
            f"no SSH session with {self.target}",
            f"its key is {', '.join(seen.values())}, and not the one that was named",
            "compare with what its provider, or its console, says; a machine that was installed anew has another key",
        )

    def _shown(self, algorithm: str = "") -> list[hostkeys.HostKey]:
        """The key that the host shows to anybody; [] if it has none of that kind. Raises why it can't be reached."""
        place = self._control.with_name("shown")
        try:
            found, words = hostkeys.shown(
                [*self._argv, "-T", "--", self._destination, "true"], place, algorithm, LOGIN_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            raise SshUnreachable(f"no SSH session with {self.target}", "its key was not shown", self._by_hand) from None
        if not found and "no matching host key type" not in words and (known := self._problem(words, ask=False)):
            raise known
        return found

    def _become_root(self) -> None:
        """Who is not root there, and may be by sudo without a password, is from now on. Why not stands in `no_root`."""
        told = self._remote(["sh", "-c", 'id -u; echo "$SSH_CONNECTION"']).decode(errors="replace").splitlines()
        uid, connection = told[-2:] if len(told) > 1 else ("", "")
        if uid == "0":
            return
        try:
            self._remote(["sudo", "-n", "true"])
        except RemoteFailed as failed:
            self.no_root = failed.stderr.splitlines()[-1] if failed.stderr else "sudo failed"
            return
        self._prefix = ["sudo", "-n", "--", "env", f"SSH_CONNECTION={connection}"]

    def _problem(self, words: str, *, ask: bool = True) -> SkerryError | None:
        """What ssh's own words mean, if they are words of ssh. `ask`: a host whose key isn't known is asked for it."""
        what, last = f"no SSH session with {self.target}", words.splitlines()[-1].strip() if words else ""
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in words or ("host key for" in words and "has changed" in words):
            return SshHostKeyChanged(
                what,
                "the host shows another key than the one that is known: it was installed anew, or it is not the host",
                f"ask whoever runs it; if its key really is a new one: ssh-keygen -R {self._name()}",
            )
        if "Host key verification failed" in words:
            return self._unknown(what, last, ask)
        if "Permission denied" in words or "Too many authentication failures" in words:
            return SshWrongKey(
                what,
                f"the host takes none of the keys that were offered: {last}",
                f"name the right one (--identity FILE), or put yours there: ssh-copy-id {self.target}",
            )
        if any(sign in words for sign in _UNREACHABLE):
            return SshUnreachable(what, last, f"check address, port and firewall; by hand: {self._by_hand}")
        return None

    def _unknown(self, what: str, last: str, ask: bool) -> SkerryError:
        try:
            shown = self._shown() if ask else []
        except SkerryError:
            shown = []
        if not shown:  # whoever stands before it
            return SshHostKeyUnknown(
                what,
                f"the key of a host on the way, or its own, is not known here yet: {last}",
                f"log in once by hand and compare: {self._by_hand}",
            )
        return SshHostKeyUnknown(
            what,
            f"its key is not known here yet, and nobody agreed to it: {shown[0].fingerprint} ({shown[0].kind})",
            f"compare it with what its provider, or its console, says, and name it: --host-key {shown[0].fingerprint}",
        )

    def _name(self) -> str:
        """As known_hosts calls it."""
        match = _TARGET.fullmatch(self.target)
        host = self._destination.rpartition("@")[2]
        return f"'[{host}]:{match['port']}'" if match and match["port"] else host


def parse_target(target: str) -> tuple[str, int]:
    """(what ssh gets as destination, port; 0: as its configuration says). Raises BadTarget.

    Strict, as it becomes an argument of a program: nothing that begins with a dash ever gets there.
    """
    match = _TARGET.fullmatch(target)
    if match is None or (match["port"] and int(match["port"]) > 65535):
        raise BadTarget(target)
    user = f"{match['user']}@" if match["user"] else ""
    return user + (match["v6"] or match["host"]), int(match["port"] or 0)


def _through(jump: str, chosen: Sequence[str]) -> list[str]:
    """As -J, but our own configuration and key count on the way, too. Raises BadTarget."""
    destination, port = parse_target(jump)
    if not chosen:
        return ["-J", jump]
    argv = ["ssh", *chosen, *(["-p", str(port)] if port else []), "-W", "[%h]:%p", "--", destination]
    return ["-o", f"ProxyCommand={shlex.join(argv)}"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Without waiting for what it may still say: the shared connection has its pipes, too."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):  # what was not yet sent
                pipe.close()
    process.wait()
