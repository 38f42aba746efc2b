"""`skerry image run`: real containers, published ports, signals, and nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.ports import free_port

from agent.sql import MariaDb
from library.conftest import ROOT, SKERRY, Home
from skerry.client.trial.container import sweep

pytestmark = pytest.mark.real
WITHIN_S = 120.0


@contextmanager
def running(home: Home, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a user's process, ended if the test didn't."""
    process = subprocess.Popen(
        [SKERRY, "image", "run", *words],
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=WITHIN_S)


def answer(port: int, address: str = "127.0.0.1") -> bytes:
    """The end of GET /version, b"" while nobody answers."""
    try:
        with socket.create_connection((address, port), 2) as line:
            line.settimeout(5)
            line.sendall(b"GET /version HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: line.recv(4096), b"")).rpartition(b"\r\n")[2]
    except OSError:
        return b""


def wait_for(condition: object, what: str) -> None:
    until_s = time.monotonic() + WITHIN_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until_s, f"{what}: not within {WITHIN_S} s"
        time.sleep(0.02)


def left_by_trials(home: Home) -> list[str]:
    """Folders, cgroups and mounts."""
    trials = home.images_dir / "trials"
    left = [str(path) for path in trials.iterdir()] if trials.exists() else []
    left += [str(path) for path in Path("/sys/fs/cgroup").glob("*/skerry-try-*") if _is_of(home, path.name)]
    return left + [line for line in Path("/proc/mounts").read_text().splitlines() if str(home.directory) in line]


def _is_of(home: Home, name: str) -> bool:
    """Other tests of this machine have their own trials."""
    return name in _seen.setdefault(home.directory, set())


_seen: dict[Path, set[str]] = {}


def note_trials(home: Home) -> None:
    names = {path.name for path in (home.images_dir / "trials").glob("skerry-try-*")}
    _seen.setdefault(home.directory, set()).update(names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_published_port_leads_in_and_a_signal_ends_all(home: Home, number: int) -> None:
    port = free_port()
    with running(home, "guestbook.web", "-p", f"{port}:8000") as process:
        wait_for(lambda: answer(port), "an answer")
        assert answer(port).startswith(b"guestbook")
        note_trials(home)
        assert left_by_trials(home)
        process.send_signal(number)
        out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, err  # uvicorn's own, after a tidy end
    assert f"127.0.0.1:{port} leads to its port 8000" in err
    assert "Shutting down" in out + err
    assert left_by_trials(home) == []
    assert answer(port) == b""


def test_two_of_the_same_run_side_by_side(home: Home) -> None:
    """Each has a network of its own, so both may listen on 8000."""
    one, other = free_port(), free_port()
    with running(home, "guestbook.web", "-p", f"{one}:8000"), running(home, "guestbook.web", "-p", f"{other}:8000"):
        wait_for(lambda: answer(one) and answer(other), "both answers")
        note_trials(home)
    assert left_by_trials(home) == []


def test_arguments_environment_and_folders_reach_it_and_its_exit_code_comes_back(home: Home, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    code = "import os,sys; open('/data/x','w').write(os.environ['WORD']); print(os.getuid()); sys.exit(7)"
    project = tmp_path / "args"
    project.mkdir()
    (project / "image.toml").write_text('[image]\nrecipe = "python"\nentrypoint = ["python3"]\n')
    done = home("run", str(project), "-e", "WORD=given", "-v", f"{data}:/data", "--json", "--", "-c", code, code=7)
    assert done.json["exit_code"] == 7
    assert (data / "x").read_text() == "given"
    assert (data / "x").stat().st_uid == 10001
    read_only = home("run", "args", "-e", "WORD=b", "-v", f"{data}:/data:ro", "--json", "--", "-c", code, code=1)
    assert read_only.json["exit_code"] == 1
    assert (data / "x").read_text() == "given"
    home("rm", "args")


def test_its_own_network_has_no_way_out_and_the_hosts_has(home: Home, tmp_path: Path) -> None:
    port = free_port()
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    with socket.create_server(("127.0.0.1", port)):
        words = ["--json", "--", "-c", code]
        store = home.images
        project = tmp_path / "way"
        project.mkdir()
        (project / "image.toml").write_text('[image]\nrecipe = "python"\nentrypoint = ["python3"]\n')
        assert home("run", str(project), *words, code=1).json["exit_code"] == 1
        assert home("run", "way", "--network", "host", *words).json["exit_code"] == 0
    assert "way" in store.names
    home("rm", "way")


def test_what_a_killed_trial_left_is_taken_away_by_the_next(home: Home) -> None:
    port = free_port()
    with running(home, "guestbook.web", "-p", f"{port}:8000") as process:
        wait_for(lambda: answer(port), "an answer")
        note_trials(home)
        process.kill()
        process.wait(WITHIN_S)
        assert left_by_trials(home)
        sweep(home.images_dir / "trials")
        assert left_by_trials(home) == []


def test_an_archive_of_others_runs_from_its_path(home: Home, other: Home, tmp_path: Path) -> None:
    home("export", "--format", "docker", "guestbook.store", str(tmp_path / "store.tar"))
    assert other("run", str(tmp_path / "store.tar"), "--json", "--", "--version").json["exit_code"] == 0


NOBODY = 54321  # a user of no machine, made for one mount namespace
AS_USER = """
for name in passwd subuid subgid; do mount --bind "$1/$name" /etc/$name || exit 99; done
shift; exec setpriv --reuid {uid} --regid {uid} --clear-groups "$@"
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can reach: pytest closes its own to them, anew with each session that anybody begins."""
    with tempfile.TemporaryDirectory(prefix="skerry-public-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_user(public: Path) -> list[str]:
    """The beginning of a command that somebody without root types: with numbers set aside in /etc/subuid."""
    (public / "passwd").write_text(Path("/etc/passwd").read_text() + f"trier:x:{NOBODY}:{NOBODY}::/:/bin/sh\n")
    for name in ("subuid", "subgid"):
        Path(f"/etc/{name}").touch()  # something to mount over
        (public / name).write_text("trier:200000:65536\n")
    paths = [str(ROOT / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
    words = ["unshare", "--mount", "sh", "-c", AS_USER.format(uid=NOBODY), "sh", str(public), "env"]
    words += [f"PYTHONPATH={':'.join(paths)}", "PYTHONDONTWRITEBYTECODE=1"]
    for python in (sys.executable, "/usr/bin/python3"):
        if (
            subprocess.run([*words, python, "-c", "import skerry.cli.main, msgspec"], capture_output=True).returncode
            == 0
        ):
            return [*words, python, "-c", "from skerry.cli.main import main; main()", "image", "run"]
    pytest.skip("this checkout can't be read by other users")


def test_without_root_it_runs_as_its_own_user_with_ports_and_leaves_nothing(
    home: Home, public: Path, as_user: list[str]
) -> None:
    mine = public / "mine"
    mine.mkdir()
    home("export", "guestbook.web", str(mine / "web.tar"))
    for path in (mine, mine / "web.tar"):
        os.chown(path, NOBODY, NOBODY)
    port = free_port()
    environment = {**os.environ, "SKERRY_HOME": str(mine / "home"), "HOME": str(mine)}
    command = [*as_user, str(mine / "web.tar"), "-p", f"{port}:8000"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: answer(port).startswith(b"guestbook") or process.poll() is not None, "an answer")
        assert process.poll() is None, "".join(process.communicate()).encode()[-900:]
        inside = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"uvicorn" in _read(path)]
        users = {_uid(path.parent) for path in inside}
        assert 200000 + 10000 in users  # the image's 10001, counted from where this user's numbers begin
    finally:
        process.terminate()
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, err
    assert os.listdir(mine / "home" / "images" / "trials") == []  # noqa: PTH208


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _uid(process: Path) -> int:
    try:
        return process.stat().st_uid
    except OSError:
        return -1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["guestbook.web", "-p", "x"], "HOST:CONTAINER"),
        (["guestbook.web", "-p", "0:80"], "1 to 65535"),
        (["guestbook.web", "-p", "53:53/udp"], "tcp, not udp"),
        (["guestbook.web", "-v", "nowhere:/data"], "no folder"),
        (["guestbook.web", "-v", "."], "DIR:/path"),
        (["nobody"], "no digest or name"),
        (["guestbook.web", "-e", "NAME"], "NAME=VALUE"),
    ],
)
def test_bad_input_starts_nothing(home: Home, words: list[str], said: str) -> None:
    refused = home("run", *words, "--json", code=2).json["error"]
    assert said in f"{refused['what']} {refused['why']}"


def test_a_port_that_is_taken_is_named(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = home("run", "guestbook.web", "-p", f"{port}:8000", "--json", code=2).json["error"]
    assert f"port {port}" in refused["what"]
    assert "another program" in refused["why"]
    assert left_by_trials(home) == []


def test_a_database_is_made_before_it_runs_and_a_folder_of_ones_own_keeps_it(home: Home, tmp_path: Path) -> None:
    project, data = tmp_path / "maria", tmp_path / "data"
    project.mkdir()
    data.mkdir()
    (project / "image.toml").write_text('[image]\nrecipe = "mariadb"\n')
    done = home("run", str(project), "-v", f"{data}:/var/lib/mysql", code=1)
    assert "its init ended with exit code 1" in done.err and not list(data.iterdir())

    port = free_port()
    words = ("maria", "-p", f"{port}:3306", "-e", "MARIADB_ROOT_PASSWORD=s3cret", "-e", "MARIADB_INITDB_SKIP_TZINFO=1")

    def ask(statements: str) -> list[tuple[str | None, ...]]:
        try:
            with MariaDb(socket.create_connection(("127.0.0.1", port), 2), "root", "s3cret", "mysql") as sql:
                return sql.run(statements)
        except OSError:
            return []

    with running(home, *words, "-v", f"{data}:/var/lib/mysql"):
        wait_for(lambda: ask("SELECT 1"), "an answer")
        ask("CREATE DATABASE kept")
    with running(home, *words, "-v", f"{data}:/var/lib/mysql") as process:
        wait_for(lambda: ask("SHOW DATABASES LIKE 'kept'"), "what was kept")
        process.terminate()
        assert "makes its data" not in process.communicate(timeout=WITHIN_S)[1]
    with running(home, *words):
        wait_for(lambda: ask("SELECT 1"), "an answer without a folder")
        assert not ask("SHOW DATABASES LIKE 'kept'")
        note_trials(home)
    assert left_by_trials(home) == []
    home("rm", "maria")
    home("rm", "maria.init")
