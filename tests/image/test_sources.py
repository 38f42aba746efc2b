"""Where packages, wheels and code come from: mirrors, locks, markers, project folders, downloads."""

import functools
import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.building.project import project_files
from skerry.image.building.sources.debian import verify_release
from skerry.image.building.sources.fetch import Gone, Wanted, fetch_all
from skerry.image.building.sources.lock import BadLock, Deb, Lock, Wheel, read_lock, write_lock
from skerry.image.building.sources.markers import unmet
from skerry.image.building.sources.mirrors import DEFAULT_MIRROR, archives
from skerry.image.building.sources.needs import Asked, requirements_of
from skerry.image.building.sources.wheels import refused_by_pip, unpack_wheel, wheel_path
from skerry.image.contract import BuildRefused, DownloadFailed, DownloadRefused

LOCK = Lock(
    "0123456789abcdef",
    (Deb("libc6", "2.36-9", "a" * 64, 7, "debian", "pool/libc6.deb"),),
    (Wheel("redis", "5.0", "b" * 64, 8, "redis-5.0-py3-none-any.whl"),),
)


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    monkeypatch.delenv("SKERRY_DEBIAN_MIRROR", raising=False)


def urls(**options) -> dict[str, str]:
    return {archive.name: archive.url for archive in archives(**options)}


def test_a_mirror_that_is_named_serves_both_archives(tmp_path, monkeypatch):
    both = {"debian": "http://near/debian", "debian-security": "http://near/debian-security"}
    assert urls(mirror="http://near/debian/", apt=tmp_path) == both
    monkeypatch.setenv("SKERRY_DEBIAN_MIRROR", "http://near/debian")
    assert urls(apt=tmp_path) == both


def test_the_sources_of_this_machine_are_used_in_both_their_styles(tmp_path):
    (tmp_path / "sources.list").write_text(
        "# deb http://no bookworm main\ndeb [arch=amd64] https://one/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "s.sources").write_text(
        "Types: deb\nURIs: http://two/security/\nSuites: bookworm-security\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off\nSuites: bookworm\n"
    )
    assert urls(apt=tmp_path) == {"debian": "https://one/debian", "debian-security": "http://two/security"}


def test_sources_for_another_release_are_not_for_us(tmp_path):
    (tmp_path / "sources.list").write_text("deb http://x/debian trixie main\ndeb file:/cdrom bookworm main\n")
    assert urls(apt=tmp_path) == {"debian": DEFAULT_MIRROR, "debian-security": DEFAULT_MIRROR + "-security"}


def test_a_lock_is_read_as_it_was_written_and_sections_do_not_touch(tmp_path):
    path = tmp_path / "skerry.lock"
    assert read_lock(path, "web") is None
    write_lock(path, "web", LOCK)
    first = path.read_bytes()
    write_lock(path, "store", Lock("f"))
    assert (read_lock(path, "web"), read_lock(path, "store")) == (LOCK, Lock("f"))
    write_lock(path, "web", LOCK)
    assert len(path.read_text().splitlines()) > 20 and path.read_bytes() != first
    assert list(tmp_path.iterdir()) == [path]


@given(st.binary(max_size=100))
def test_any_bytes_are_a_lock_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "noise.lock"
    path.write_bytes(data)
    try:
        read_lock(path, "web")
    except BadLock as refused:
        assert refused.fix


def wheel(folder, name, *requires, files=(("m.py", b"x = 1"),)):
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        metadata = "\n".join([f"Name: {name}", "Version: 1", *(f"Requires-Dist: {text}" for text in requires)])
        archive.writestr(f"{name}-1.dist-info/METADATA", metadata)
        for member, data in files:
            archive.writestr(member, data)
    return path


def test_what_only_the_image_s_older_python_needs_is_found(tmp_path):
    wheels = [
        wheel(
            tmp_path,
            "redis",
            'async-timeout>=4; python_full_version < "3.11.3"',
            'hiredis; extra == "hiredis"',
            "PyJWT",
        ),
        wheel(tmp_path, "pyjwt", 'win; sys_platform == "win32"'),
    ]
    assert unmet(wheels, "redis>=5\n--index-url x\n# a comment\n", "3.11.2") == ["async-timeout>=4"]
    assert unmet(wheels, "redis", "3.11.9") == []
    assert unmet(wheels, "redis[hiredis]", "3.11.9") == ["hiredis"]


def test_a_wheel_is_read_without_its_scripts(tmp_path):
    made = wheel(
        tmp_path, "a", files=[("a/x.py", b"1"), ("a-1.data/scripts/run", b"#!"), ("a-1.data/purelib/b.py", b"2")]
    )
    locked = locked_wheel(made, tmp_path)
    found = {file.path: file.load() for _ in range(2) for file in unpack_wheel(locked, tmp_path, "site")}
    del found["site/a-1.dist-info/METADATA"]
    assert found == {"site/a/x.py": b"1", "site/b.py": b"2"}


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/../../x.py", "a\\..\\x.py"])
def test_a_wheel_that_leaves_its_folder_is_refused(tmp_path, name):
    with pytest.raises(DownloadRefused):
        unpack_wheel(locked_wheel(wheel(tmp_path, "a", files=[(name, b"1")]), tmp_path), tmp_path, "site")


def locked_wheel(made, cache) -> Wheel:
    data = made.read_bytes()
    locked = Wheel("a", "1", hashlib.sha256(data).hexdigest(), len(data), made.name)
    wheel_path(locked, cache).parent.mkdir(parents=True)
    wheel_path(locked, cache).write_bytes(data)
    return locked


def test_a_project_s_needs_come_from_the_file_it_has(tmp_path):
    assert requirements_of(tmp_path, Asked()) == ""
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["a", "b>1"]\n')
    assert requirements_of(tmp_path, Asked()) == "a\nb>1\n"
    (tmp_path / "requirements.txt").write_text("c\n")
    assert requirements_of(tmp_path, Asked()) == "c\n"
    with pytest.raises(BuildRefused):
        requirements_of(tmp_path, Asked("other.txt"))


def test_code_goes_into_the_image_and_litter_and_secrets_stay(tmp_path):
    for path in (
        "app.py",
        "pages/a.html",
        ".env",
        ".git/config",
        "__pycache__/app.pyc",
        "venv/x",
        "notes/b.md",
        "big.bin",
        "sub/big.bin",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    (tmp_path / "pages" / "link").symlink_to("../app.py")
    (tmp_path / ".dockerignore").write_text("# comment\n/notes/\n**/big.bin\n")
    assert [file.path for file in project_files(tmp_path, "app")] == [
        "app/app.py",
        "app/pages/a.html",
        "app/pages/link",
    ]
    assert [file.path for file in project_files(tmp_path, "app", ["pages/*"])] == ["app/app.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside"])
def test_a_link_out_of_the_project_is_refused(tmp_path, target):
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(BuildRefused, match="out of the project"):
        project_files(tmp_path, "app")


def test_an_exception_in_dockerignore_is_refused_not_ignored(tmp_path):
    (tmp_path / ".dockerignore").write_text("*\n!app.py\n")
    with pytest.raises(BuildRefused, match="exceptions"):
        project_files(tmp_path, "app")


@pytest.fixture
def server():
    """A loopback server: /good answers b"good", /short less, /gone 404, /ill 500."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"/good": b"good", "/short": b"goo", "/long": b"good and more"}.get(self.path, b"")
            self.send_response(200 if body else 500 if self.path == "/ill" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *ignored):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    "path, error", [("short", DownloadRefused), ("long", DownloadRefused), ("gone", Gone), ("ill", DownloadFailed)]
)
def test_only_the_bytes_that_were_promised_are_kept(server, tmp_path, monkeypatch, path, error):
    monkeypatch.setattr("skerry.image.building.sources.fetch.time.sleep", lambda delay_s: None)
    want = functools.partial(Wanted, sha256=hashlib.sha256(b"good").hexdigest(), size=4)
    assert fetch_all([want(f"{server}/good", tmp_path / "good")]) == 1
    assert fetch_all([want(f"{server}/gone", tmp_path / "good")]) == 0  # it is there already
    with pytest.raises(error):
        fetch_all([want(f"{server}/{path}", tmp_path / "bad")])
    assert [file.name for file in tmp_path.iterdir()] == ["good"]


def test_an_index_that_nobody_signed_is_refused(tmp_path):
    from skerry.image.building.sources.mirrors import KEYRING

    with pytest.raises(DownloadRefused, match="no keys"):
        verify_release(b"x", tmp_path / "none.gpg")
    if KEYRING.is_file():
        with pytest.raises(DownloadRefused, match="signature"):
            verify_release(b"-----BEGIN PGP SIGNED MESSAGE-----\n\nSuite: bookworm\n", KEYRING)


def test_what_pip_refuses_is_told_in_its_words_with_what_to_do():
    wrong = refused_by_pip("ERROR: Invalid requirement: 'x >>> 3' (from line 1 of /t/requirements.txt)\n", "/t")
    assert "line 1 of requirements.txt" in wrong.why and wrong.fix == "mend that line of the requirements"
    many = ", ".join(f"1.{n}" for n in range(200))
    said = f"ERROR: Could not find a version that satisfies the requirement x==9 (from versions: {many})\n"
    assert refused_by_pip(said, "/t").why.endswith("(from versions: …, 1.195, 1.196, 1.197, 1.198, 1.199)")
    assert "check the name" in refused_by_pip("ERROR: x==9 (from versions: none)\n", "/t").fix
    assert "ensurepip" in refused_by_pip("/venv/bin/python: No module named pip\n", "/t").fix
