"""Containers under runc as the image room's tests want them: uid 10001, no capabilities, read-only root, this machine's loopback."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from skerry.image.trees import Images


def spec(name: str, root: Path, arguments: list[str], environment: list[str], binds: dict[str, Path]) -> dict:
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "nosuid"]},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "nosuid"]},
        *(
            {"destination": to, "type": "bind", "source": str(path), "options": ["bind", "rw"]}
            for to, path in binds.items()
        ),
    ]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": arguments,
            "cwd": "/app" if "uvicorn" in arguments else "/",
            "env": ["PATH=/usr/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", *environment],
            "user": {"uid": 10001, "gid": 10001},
            "noNewPrivileges": True,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": mounts,
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")],
        },
    }


@contextmanager
def container(
    root: Path, arguments: list[str], folder: Path, environment: list[str], binds: dict[str, Path] | None = None
):
    """Run under runc: user 10001, no capabilities, read-only root, this machine's loopback."""
    folder.mkdir(exist_ok=True)
    name = f"ski{time.monotonic_ns()}"
    (folder / "config.json").write_text(json.dumps(spec(name, root, arguments, environment, binds or {})))
    command = ["runc", "--root", str(folder / "state"), "run", "-b", str(folder), name]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        stop = ["runc", "--root", str(folder / "state"), "kill", name, "TERM"]
        subprocess.run(stop, check=False, capture_output=True)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        subprocess.run(
            ["runc", "--root", str(folder / "state"), "delete", "-f", name], check=False, capture_output=True
        )


def in_container(root: Path, arguments: list[str], folder: Path) -> str:
    with container(root, arguments, folder, []) as process:
        out = process.communicate(timeout=20)[0]
        assert process.returncode == 0, out
        return out.strip().splitlines()[-1]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def post(url: str, body: dict) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def wait_for(condition, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


class Inside:
    """A container that runs as its image says, in a network of its own. `pid`: its first process, as this machine counts."""

    def __init__(self, process: subprocess.Popen, pid: int, log: Path) -> None:
        self.process = process
        self.pid = pid
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def call(self, function):
        """What `function` gives when it runs in the container's network."""
        answers: list = []

        def run() -> None:
            with open(f"/proc/{self.pid}/ns/net") as network:
                if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0):
                    raise OSError(ctypes.get_errno(), "setns")
            answers.append(function())

        assert self.process.poll() is None, f"it has ended: {self.said}"
        thread = threading.Thread(target=run)  # setns moves this thread alone
        thread.start()
        thread.join(30)
        return answers[0]

    def get(self, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body; status 0 while nobody answers."""

        def ask() -> tuple[int, dict[str, str], bytes]:
            request = urllib.request.Request(
                url, headers={key.replace("_", "-"): text for key, text in headers.items()}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, {key.lower(): text for key, text in answer.headers.items()}, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, {key.lower(): text for key, text in error.headers.items()}, error.read()
            except OSError as error:
                return 0, {}, str(error).encode()

        return self.call(ask)

    def talk(self, port: int, said: bytes) -> bytes:
        """What comes back over TCP for these bytes, b"" while nobody answers."""

        def ask() -> bytes:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
                    wire.sendall(said)
                    return wire.recv(4096)
            except OSError:
                return b""

        return self.call(ask)

    def check_rights(self) -> None:
        """User 10001, no capabilities, nothing of the root can be written, no shell."""
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        assert status["Uid"].split() == ["10001"] * 4 and status["Gid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        mounts = [line.split() for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()]
        root = next(mount for mount in mounts if mount[4] == "/")
        assert "ro" in root[5].split(",")
        assert not Path(f"/proc/{self.pid}/root/bin/sh").exists()


@contextmanager
def image_running(
    images: Images,
    digest: str,
    folder: Path,
    *,
    more: list[str] | None = None,
    binds: dict[str, Path] | None = None,
    environment: dict[str, str] | None = None,
):
    """Run an image as it wants to be run. `more`: instead of its command, as a compose file's `command:` is."""
    folder.mkdir(exist_ok=True)
    config = images.config(digest)
    name = f"kinds{time.monotonic_ns()}"
    command = [*config.entrypoint, *(config.cmd if more is None else more)]
    wanted = spec(name, images.make(digest), command, [], binds or {})
    wanted["process"]["cwd"] = config.working_dir
    wanted["process"]["env"] = [f"{key}={value}" for key, value in (dict(config.env) | (environment or {})).items()]
    wanted["process"]["capabilities"] = {kind: [] for kind in ("bounding", "effective", "permitted")}
    wanted["mounts"].append(
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "nosuid"]}
    )
    wanted["linux"]["namespaces"].append({"type": "network"})
    (folder / "config.json").write_text(json.dumps(wanted))
    runc = ["runc", "--root", str(folder / "state")]
    pid_file, log = folder / "pid", folder / "log"
    pid_file.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*runc, "run", "--pid-file", str(pid_file), "-b", str(folder), name],
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        started = wait_for(
            lambda: process.poll() is not None or (pid_file.is_file() and pid_file.read_text().isdigit()), 15
        )
        assert started and process.poll() is None, log.read_text("utf-8", "replace")
        yield Inside(process, int(pid_file.read_text()), log)
    finally:
        subprocess.run([*runc, "kill", name, config.stop_signal or "TERM"], check=False, capture_output=True)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run([*runc, "delete", "-f", name], check=False, capture_output=True)
