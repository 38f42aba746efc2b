"""Images to other tools and from them: skopeo, a real docker daemon, a real registry."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from image import engines
from library.conftest import Home

pytestmark = pytest.mark.real
WITHIN_S = 120.0
WRITTEN = [("oci", "layout"), ("oci", "a.tar"), ("oci", "a.tar.gz"), ("docker", "d.tar"), ("docker", "d.tgz")]


@pytest.fixture(scope="module")
def exported(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """guestbook.store in every form."""
    folder = tmp_path_factory.mktemp("exported")
    for format, name in WRITTEN:
        home("export", "--format", format, "guestbook.store", str(folder / name))
    return folder


@pytest.mark.parametrize("name", [name for _, name in WRITTEN])
def test_each_form_comes_back_with_the_same_digest(home: Home, other: Home, exported: Path, name: str) -> None:
    done = other("import", str(exported / name), "--name", "back", "--json").json
    assert done["digest"] == home.images.names["guestbook.store"]
    assert other.images.names == {"back": done["digest"]}
    assert done["findings"] == []


def test_equal_images_give_equal_archives(home: Home, exported: Path, tmp_path: Path) -> None:
    for format, name in WRITTEN[1:]:
        home("export", "--format", format, "guestbook.store", str(tmp_path / name))
        assert (tmp_path / name).read_bytes() == (exported / name).read_bytes()


@pytest.mark.parametrize(
    ("transport", "name", "same"),
    [("oci", "layout:latest", True), ("oci-archive", "a.tar", True), ("oci-archive", "a.tar.gz", True),
     ("docker-archive", "d.tar", False)],
)  # fmt: skip
def test_skopeo_reads_it(home: Home, exported: Path, transport: str, name: str, same: bool) -> None:
    command = ["skopeo", "inspect", "--no-tags", f"{transport}:{exported}/{name}"]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (shown["Architecture"], shown["Os"], len(shown["Layers"])) == ("amd64", "linux", 1)
    if same:  # a docker-archive has no manifest of OCI's: skopeo makes one of its own
        assert shown["Digest"] == home.images.names["guestbook.store"]


@pytest.mark.parametrize("name", ["d.tar", "d.tgz"])
def test_docker_loads_it_under_its_name(docker: Path, home: Home, exported: Path, name: str) -> None:
    said = ask(docker, "POST", "/images/load?quiet=1", (exported / name).read_bytes())
    assert "guestbook.store:latest" in said
    found = json.loads(ask(docker, "GET", "/images/guestbook.store:latest/json"))
    assert found["Config"]["Entrypoint"] == ["/usr/bin/redis-server"]
    assert found["Config"]["User"] == "10001:10001"
    ask(docker, "DELETE", "/images/guestbook.store:latest")


def test_what_docker_saves_is_taken_in_with_what_the_lint_finds(
    docker: Path, other: Home, exported: Path, tmp_path: Path
) -> None:
    """An image with a shell: of busybox, as another tool makes it."""
    rootfs = tmp_path / "rootfs.tar"
    with tarfile.open(rootfs, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(link)
    ask(docker, "POST", "/images/create?fromSrc=-&repo=box&tag=1", rootfs.read_bytes(), "application/x-tar")
    saved = tmp_path / "box.tar"
    saved.write_bytes(ask_bytes(docker, "GET", "/images/box:1/get"))
    done = other("import", str(saved), "--name", "box", "--json").json
    assert any("bin/sh is" in finding for finding in done["findings"])
    looked = other("inspect", "box", "--json").json
    assert "bin/sh" in looked["shells"]
    assert looked["origin"]["complete"] is False


def test_a_registry_gives_by_digest_and_a_tag_is_told_as_one(
    registry: int, home: Home, other: Home, exported: Path
) -> None:
    where = f"127.0.0.1:{registry}/shop/store"
    push = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{exported}/layout:latest"]
    subprocess.run([*push, f"docker://{where}:1"], check=True, capture_output=True)
    done = other("pull", f"{where}:1", "--plain-http", "--name", "pulled", "--json")
    digest = home.images.names["guestbook.store"]
    assert (
        done.json["digest"] == digest
    )  # though the registry has it by another: skopeo packed the layer on its way there
    pinned = done.json["pulled"]
    assert pinned.startswith(f"{where}@sha256:")
    assert pinned in done.err
    assert other("pull", pinned, "--plain-http", "--json").json["digest"] == digest
    assert other("inspect", "pulled", "--json").json["origin"]["how"] == "pulled"
    gone = other("pull", f"{where}@sha256:{'0' * 64}", "--plain-http", "--json", code=1).json["error"]
    assert gone["code"] == "pull-failed"
    assert "manifest unknown" in gone["why"]
    untold = other("pull", f"{where}:1", "--json", code=1).json["error"]  # TLS is asked for where nobody said otherwise
    assert "--plain-http" in untold["fix"]


@pytest.mark.parametrize("reference", ["", "UPPER/x:1", "a b", "x@sha256:12", "-v", "docker://"])
def test_what_is_no_reference_is_not_even_asked_for(other: Home, reference: str) -> None:
    assert other("pull", "--json", "--", reference, code=2).json["error"]["code"] == "bad-input"


def test_without_skopeo_it_says_so(other: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert other("pull", "host/x:1", "--json", code=1).json["error"]["code"] == "no-skopeo"


def test_nobody_answers_there(other: Home) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        refused = other("pull", f"127.0.0.1:{port}/x:1", "--plain-http", "--json", code=1).json["error"]
    assert refused["type"] == "passing"
    assert "refused" in refused["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "guestbook.store", "HERE"], "is there already"),
        (["export", "guestbook.store", "HERE/x.tar.zst"], "zstd"),
        (["export", "--format", "docker", "guestbook.store", "HERE/x"], "is one file"),
        (["export", "guestbook.store", "HERE/no/such/x.tar"], "No such file"),
        (["export", "nobody", "HERE/x.tar"], "no digest or name"),
        (["import", "HERE/nothing.tar"], "no such file"),
        (["import", "HERE/junk.tar"], "could not be opened successfully"),
        (["import", "HERE/junk.tar", "--name", "Not A Name"], "names are of"),
        (["rm", "nobody"], "no image has that name"),
    ],
)
def test_bad_input_writes_nothing(home: Home, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "junk.tar").write_bytes(b"\0junk" * 1000)
    before = sorted(tmp_path.iterdir()), home.images.names
    refused = home(*(word.replace("HERE", str(tmp_path)) for word in words), "--json", code=2).json["error"]
    assert said in f"{refused['what']} {refused['why']}"
    assert (sorted(tmp_path.iterdir()), home.images.names) == before


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Debian's docker-registry on loopback; gives its port."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*engines.WITH_US, "docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
        try:
            _wait(lambda: _connects(port), process, folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(WITHIN_S)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A docker daemon with a network, a /run and a store of its own; gives its socket."""
    with engines.docker(tmp_path_factory.mktemp("docker") / "home") as environment:
        yield Path(environment["DOCKER_HOST"].removeprefix("unix://"))


def _wait(condition: object, process: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + WITHIN_S
    while not condition():  # type: ignore[operator]
        assert process.poll() is None and time.monotonic() < until_s, log.read_text(errors="replace")[-2000:]
        time.sleep(0.05)


def _connects(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(WITHIN_S)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str, body: bytes = b"", kind: str = "application/x-tar") -> str:
    return ask_bytes(path, method, target, body, kind).decode()


def ask_bytes(path: Path, method: str, target: str, body: bytes = b"", kind: str = "application/x-tar") -> bytes:
    connection = _Connection(path)
    try:
        connection.request(method, target, body or None, {"Content-Type": kind} if body else {})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status < 300, data
        return data
    finally:
        connection.close()
