"""The agent bundle: the same bytes each time, and all it needs is a kernel."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from skerry.client.bundle import PACKAGE, Bundle, NoBundle, find_bundle, read_bundle
from skerry.client.bundling import build_bundle
from skerry.errors import BadFormat
from skerry.image.building.elf import read_elf

CACHE = Path(__file__).parents[2] / "build" / "cache"
REAL = pytest.mark.real

# A root with the bundle, /proc and /dev, and nothing else: no libc, no shell, no /etc.
ENTER = """
import ctypes, os, sys
bundle, root, *command = sys.argv[1:]
mount = ctypes.CDLL(None, use_errno=True).mount
def do(source, target, kind, flags):
    if mount(source.encode(), target.encode(), kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")
do("none", "/", "", 0x44000)  # private, and all below
do("tmpfs", root, "tmpfs", 0)
for name in ("proc", "dev", "tmp", "opt/skerry"):
    os.makedirs(f"{root}/{name}")
do("proc", f"{root}/proc", "proc", 0)
do("/dev", f"{root}/dev", "", 0x5000)
os.system(f"tar -xzf {bundle} -C {root}/opt/skerry")
os.chroot(root)
os.chdir("/")
os.execve(command[0], command, {"PATH": "/nowhere"})
"""

IMPORTS = """
import ctypes, json, os, pwd, ssl, sqlite3, sys
import cryptography.x509, dnslib, msgspec, nacl.signing, websockets.asyncio.server, zstandard
import skerry.agent.main, skerry.image.trees
ctypes.CDLL("libnftables.so.1")
sqlite3.connect(":memory:").execute("create table t (x)")
ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).minimum_version = ssl.TLSVersion.TLSv1_3
home = os.path.dirname(os.path.dirname(sys.executable))
print(json.dumps({
    "version": sys.version_info[:2],
    "cached": skerry.image.trees.__cached__.startswith(home) and os.path.exists(skerry.image.trees.__cached__),
    "docstrings": [f.__name__ for f in (json.dumps, skerry.image.trees.Images) if f.__doc__],
    "outside": sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None) and not m.__file__.startswith(home)}),
    "utf8": sys.flags.utf8_mode or sys.getfilesystemencoding(),
    "maps": sorted({l.split()[-1] for l in open("/proc/self/maps") if ".so" in l and home not in l}),
}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the package's source, in another folder, that nobody edits meanwhile."""
    copy = tmp_path_factory.mktemp("source") / "skerry"
    return Path(shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, source) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skerry.client.bundling.PACKAGE", source)
        return build_bundle(tmp_path_factory.mktemp("one"), cache=CACHE)


def run(bundle: Bundle, folder: Path, *command: str) -> str:
    folder.mkdir(exist_ok=True)
    home = f"/opt/skerry/{bundle.version}"
    arguments = [
        "unshare",
        "-m",
        "python3",
        "-c",
        ENTER,
        str(bundle.path),
        str(folder),
        f"{home}/bin/{command[0]}",
        *command[1:],
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@REAL
def test_built_twice_it_has_the_same_bytes_and_a_version_of_its_content(bundle, source, tmp_path, monkeypatch):
    monkeypatch.setattr("skerry.client.bundling.PACKAGE", Path(shutil.copytree(source, tmp_path / "other" / "skerry")))
    before = os.umask(0o077)
    try:
        again = build_bundle(tmp_path, cache=CACHE)
    finally:
        os.umask(before)
    assert (again.sha256, again.version) == (bundle.sha256, bundle.version)
    assert re.fullmatch(r"[0-9.]+-[0-9a-f]{8}", bundle.version)
    assert bundle.path.name == f"skerry-agent-{bundle.version}.tar.gz"
    assert bundle.size_bytes < 33e6


@REAL
def test_its_programs_take_loader_and_libraries_from_its_own_folder(bundle):
    home = f"{bundle.version}/bin/"
    with tarfile.open(bundle.path) as tar:
        programs = {info.name.removeprefix(home): info for info in tar if info.name.startswith(home) and info.isfile()}
        assert sorted(programs) == [
            "conmon",
            "crun",
            "ip",
            "nft",
            "python3.11",
            "runc",
            "skerry-agent",
            "skerry-core",
            "wg",
            "wireguard-go",
        ]
        for name, info in programs.items():
            assert info.mode == 0o755
            elf = read_elf(tar.extractfile(info).read())
            if elf and elf.interpreter:
                assert elf.interpreter == f"/opt/skerry/{bundle.version}/lib/ld-linux-x86-64.so.2", name
                assert (elf.rpath, elf.runpath) == ((f"/opt/skerry/{bundle.version}/lib",), ()), name
        names = tar.getnames()
    assert not [name for name in names if re.search(r"/skerry/(cli|client|lab|sim)/|\.pyi$|/tests?/", name)]


@REAL
def test_on_a_machine_with_nothing_but_a_kernel_its_python_has_all_that_the_agent_imports(bundle, tmp_path):
    answer = json.loads(run(bundle, tmp_path / "root", "python3", "-I", "-c", IMPORTS).splitlines()[-1])
    assert answer == {"version": [3, 11], "cached": True, "docstrings": [], "outside": [], "utf8": 1, "maps": []}


@REAL
@pytest.mark.parametrize(
    "command, said",
    [
        (("crun", "--version"), "crun version 1.8"),
        (("runc", "--version"), "runc version 1.1"),
        (("conmon", "--version"), "conmon version 2.1"),
        (("nft", "--version"), "nftables v1.0"),
        (("wg", "--version"), "wireguard-tools"),
        (("wireguard-go", "--version"), "wireguard-go"),
        (("ip", "-V"), "iproute2"),
        (("skerry-agent", "--help"), "skerry-agent"),
    ],
)
def test_on_such_a_machine_each_program_runs(bundle, tmp_path, command, said):
    assert said in run(bundle, tmp_path / "root", *command)


@REAL
def test_the_published_package_has_the_agent_in_it_and_finds_it(tmp_path):
    """As `pipx install skerry` leaves it: no project around it, no build folder."""
    subprocess.run(["make", "-s", "-C", str(CACHE.parents[1]), "wheel"], check=True)
    (wheel,) = (CACHE.parent / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    say = "from skerry.client.bundle import find_bundle as f; b = f(); print(b.path, b.sha256)"
    environment = {key: value for key, value in os.environ.items() if key != "SKERRY_BUNDLE"}
    environment["PYTHONPATH"] = str(tmp_path)
    out = subprocess.run([sys.executable, "-c", say], cwd=tmp_path, env=environment, capture_output=True, check=True)
    path, sha256 = out.stdout.decode().split()
    (built,) = (CACHE.parent / "bundle").glob("skerry-agent-*.tar.gz")
    assert Path(path) == tmp_path / "skerry" / "data" / built.name
    assert sha256 == read_bundle(built).sha256


def test_what_is_no_bundle_is_refused(tmp_path):
    for name, content in (("a.tar.gz", b"no archive"), ("b.tar.gz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadFormat):
            read_bundle(tmp_path / name)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    with pytest.raises(BadFormat):
        read_bundle(tmp_path / "c.tar.gz")


def test_without_a_bundle_it_is_said_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("SKERRY_BUNDLE", raising=False)
    monkeypatch.setattr("skerry.client.bundle.PACKAGE", tmp_path / "src" / "skerry")
    with pytest.raises(NoBundle) as refused:
        find_bundle()
    assert "make bundle" in refused.value.fix
