"""What the lint misses of real shells and tools out of Debian's archive, and how long it takes: `measure()`.

Each program is put into an image of its own, as somebody else's docker-archive, imported, and judged as a host would. The
same packages are the tests' (tests/image/test_lint_tools.py).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skerry.image.archive import import_archive
from skerry.image.building.pile import File
from skerry.image.building.sources.debian import deb_path, fetch_debs, read_index
from skerry.image.building.sources.lock import Deb
from skerry.image.building.sources.mirrors import archives
from skerry.image.building.sources.resolve import Package, compare_versions
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.lint.findings import Finding
from skerry.image.lint.verdicts import Verdicts
from skerry.store.objects import ObjectStore

CACHE = Path(__file__).parents[2] / "build" / "cache"
# name -> (Debian package, path in it)
TOOLS = {
    "sh": ("dash", "usr/bin/dash"),
    "bash": ("bash", "usr/bin/bash"),
    "dash": ("dash", "usr/bin/dash"),
    "busybox": ("busybox-static", "usr/bin/busybox"),
    "toybox": ("toybox", "usr/bin/toybox"),
    "ksh": ("ksh93u+m", "usr/bin/ksh93"),
    "mksh": ("mksh", "usr/bin/mksh"),
    "yash": ("yash", "usr/bin/yash"),
    "fish": ("fish", "usr/bin/fish"),
    "rc": ("rc", "usr/bin/rc.byron"),
    "sshd": ("openssh-server", "usr/sbin/sshd"),
    "dropbear": ("dropbear-bin", "usr/sbin/dropbear"),
    "gcc": ("gcc-12", "usr/bin/x86_64-linux-gnu-gcc-12"),
    "tcc": ("tcc", "usr/bin/tcc"),
    "make": ("make", "usr/bin/make"),
    "dpkg": ("dpkg", "usr/bin/dpkg"),
    "apt-get": ("apt", "usr/bin/apt-get"),
    "pip": ("python3-pip", "usr/bin/pip"),
    "npm": ("npm", "usr/share/nodejs/npm/bin/npm-cli.js"),
    "gdb": ("gdb", "usr/bin/gdb"),
    "strace": ("strace", "usr/bin/strace"),
    "tcpdump": ("tcpdump", "usr/bin/tcpdump"),
    "nmap": ("nmap", "usr/bin/nmap"),
    "nc": ("netcat-openbsd", "usr/bin/nc.openbsd"),
    "socat": ("socat", "usr/bin/socat"),
    "curl": ("curl", "usr/bin/curl"),
    "wget": ("wget", "usr/bin/wget"),
    "perl": ("perl-base", "usr/bin/perl"),
    "vim": ("vim", "usr/bin/vim.basic"),
}
RENAMED = ("dash", "bash", "ksh", "mksh", "yash", "fish", "rc", "toybox")
SCRIPTS = ("pip", "npm")  # say nothing but what they import, once they are called otherwise
BIG = ("caddy", "gdb", "postgresql-15", "vim-runtime")  # for the time: 140 MB of programs, texts and data


@functools.cache
def _index(cache: Path) -> list[Package]:
    return read_index(archives(), cache, print)


def fetch(names: Iterable[str], cache: Path = CACHE) -> dict[str, list[File]]:
    """Debian packages by name, alone, without what they depend on: their files."""
    index = _index(cache)
    newest = functools.cmp_to_key(compare_versions)
    debs = {}
    for name in dict.fromkeys(names):
        found: Package = max((p for p in index if p.name == name), key=lambda package: newest(package.version))
        archive: Any = "debian-security" if found.archive == "debian-security" else "debian"
        debs[name] = Deb(found.name, found.version, found.sha256, found.size, archive, found.path)
    fetch_debs(debs.values(), archives(), cache, print)
    return {name: unpack_deb(deb_path(deb, cache), cache, name) for name, deb in debs.items()}


def tools() -> dict[str, bytes]:
    """name -> the program."""
    packages = fetch(package for package, _ in TOOLS.values())
    found = {}
    for name, (package, path) in TOOLS.items():
        found[name] = next(file for file in packages[package] if file.path == path and file.kind == "f").load()
    return found


class Store:
    """An operator's or a host's store for a while: archives are imported into it and judged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = ObjectStore(folder, durable=False)

    def verdict(self, files: dict[str, tuple[bytes, int]], entrypoint: tuple[str, ...] = ("/app",)) -> list[Finding]:
        """What is found in a foreign image of these files: path -> (content, mode)."""
        return Verdicts(self.folder / "lint", self.objects).of(self.bring(files, entrypoint))

    def bring(self, files: dict[str, tuple[bytes, int]], entrypoint: tuple[str, ...] = ("/app",)) -> str:
        path = self.folder / "image.tar"
        path.write_bytes(_docker_archive(files, entrypoint))
        return import_archive(path, self.objects).digest


@contextmanager
def store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield Store(Path(folder))


def missed(programs: dict[str, bytes], *, renamed: bool) -> list[str]:
    """Those that pass, each alone in an image, under its own name or as the program `app-7`."""
    found = []
    with store() as here:
        for name, data in programs.items():
            path = "usr/bin/app-7" if renamed else f"usr/bin/{name}"
            if not any(finding.refuses for finding in here.verdict({path: (data, 0o755)})):
                found.append(name)
    return found


def seconds_per_100_mb() -> dict[str, float]:
    """Of packages that nobody has seen, each as an image: package -> seconds for 100 MB; "" is all of them together."""
    found, all_s, all_bytes = {}, 0.0, 0
    for name, files in fetch(BIG).items():
        contents = {
            file.path: (file.load(), 0o755 if "/bin/" in file.path else 0o644) for file in files if file.kind == "f"
        }
        size = sum(len(data) for data, _ in contents.values())
        with store() as here:
            digest = here.bring(contents)
            began_s = time.process_time()  # who else is at work here doesn't count
            Verdicts(here.folder / "lint", here.objects).of(digest)
            took_s = time.process_time() - began_s
        found[name] = round(took_s / (size / 1e8), 3)
        all_s, all_bytes = all_s + took_s, all_bytes + size
    return found | {"": round(all_s / (all_bytes / 1e8), 3)}


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    """`lint_missed`: how many of the tools under their own names and of the shells under another passed."""
    programs = tools()
    tell(f"judging {len(programs)} tools, under their own names and others")
    own = missed(programs, renamed=False)
    shells = missed({name: programs[name] for name in RENAMED}, renamed=True)
    others = {name: data for name, data in programs.items() if name not in (*RENAMED, *SCRIPTS)}
    seconds = seconds_per_100_mb()
    return {
        "lint_missed": len(own) + len(shells),
        "lint_missed_names": [*own, *(f"{name} renamed" for name in shells)],
        "lint_tried": len(programs) + len(RENAMED),
        "lint_others_renamed": len(others),
        "lint_others_renamed_missed": missed(others, renamed=True),
        "lint_s_per_100mb": seconds.pop(""),
        "lint_s_per_100mb_of": seconds,
    }


def _docker_archive(files: dict[str, tuple[bytes, int]], entrypoint: tuple[str, ...]) -> bytes:
    layer = _tar(files)
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": ["layer.tar"]}]
    parts = {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
    }
    return _tar({name: (data, 0o644) for name, data in parts.items()})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


if __name__ == "__main__":
    print(json.dumps(measure(print), indent=1))
