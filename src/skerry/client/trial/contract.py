"""What every image promises to its program, tried in a real container: user, /tmp, names, locale, time zones, authorities.

Nothing is added to the image: a program of a few bytes, shown at a path of the container's own /dev, holds the container open, and
all is looked at from outside. Where the image has a Python, that is asked too, from inside: a file that is there can still be of
no use. At last the program itself is started for a moment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from skerry.client.trial.container import Trial, scratch_folder, sweep
from skerry.client.trial.run import run_image
from skerry.client.trial.wish import Bound, Wish
from skerry.core.words import last_words
from skerry.image.building.rules.certificates import BUNDLE
from skerry.image.manifest import Tree
from skerry.image.oci import ImageConfig
from skerry.outside import UNREADABLE

HOLDER = "/dev/skerry-holder"
# mov eax, 34 (pause); syscall; jmp back. Source: System V ABI; Linux, syscall_64.tbl.
PAUSE = b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"
X86_64 = 62
AUTHORITIES_MIN = 50
LIVES_S = 1.0
ASKED_WITHIN_S = 20.0
FILE_MAX_BYTES = 4 << 20
PYTHON = "usr/bin/python3"
ASK = """
import json, locale, ssl, tempfile, zoneinfo
with tempfile.TemporaryFile() as file: file.write(b"x")
print(json.dumps({"locale": locale.setlocale(locale.LC_ALL, ""), "zone": zoneinfo.ZoneInfo("Europe/Berlin").key,
    "authorities": ssl.create_default_context().cert_store_stats()["x509_ca"]}))
"""


class Seen(msgspec.Struct, frozen=True):
    """One promise: whether it is kept, and what was seen."""

    what: str
    kept: bool
    seen: str


def probe(
    root: Path, tree: Tree, config: ImageConfig, place: Path, *, folders: tuple[str, ...] = (), alone: bool = True
) -> list[Seen]:
    """Try it all. `folders`: what the image expects volumes at; `alone`: its program can start without anything done before.
    Raises NoTrial where no container can be made here."""
    sweep(place)
    kept = {entry.path for entry in tree.entries}
    with scratch_folder(place) as scratch:
        seen = [*_from_outside(root, kept, config, place, scratch)]
        if PYTHON in kept:
            seen += _from_inside(root, config, place, scratch, AUTHORITIES_MIN if BUNDLE in kept else 0)
        return [*seen, _program(root, config, place, scratch, folders)] if alone else seen


def _from_outside(root: Path, kept: set[str], config: ImageConfig, place: Path, scratch: Path) -> Iterator[Seen]:
    from skerry.runtime.probe import elf

    holder = scratch / "holder"
    holder.write_bytes(elf(X86_64, PAUSE))
    holder.chmod(0o755)
    held = msgspec.structs.replace(config, entrypoint=(HOLDER,), cmd=())
    trial = Trial(place, root, held, Wish(), extra=[(holder, HOLDER)])
    try:
        trial.start()
        yield from _looked_at(Path(f"/proc/{trial.pid}"), kept, config)
    finally:
        trial.close()


def _looked_at(process: Path, kept: set[str], config: ImageConfig) -> Iterator[Seen]:
    from skerry.runtime.rootfs import find

    inside = process / "root"

    def read(path: str) -> str:
        found = find(inside, path)
        if found.kind != "file":
            return ""
        with open(f"{inside}{found.path}", "rb") as file:
            return file.read(FILE_MAX_BYTES).decode("utf-8", "replace")

    uid = next(line for line in (process / "status").read_text().splitlines() if line.startswith("Uid:")).split()[1]
    yield Seen("user", uid != "0", f"runs as user {uid}")
    options = {line.split()[4]: line.split()[5].split(",") for line in (process / "mountinfo").read_text().splitlines()}
    yield Seen("root", "ro" in options.get("/", ()), "its root is read-only" if "ro" in options["/"] else "writable")
    mode = (inside / "tmp").stat().st_mode & 0o7777
    yield Seen("tmp", "rw" in options.get("/tmp", ()) and mode == 0o1777, f"/tmp has mode {mode:o}")
    names = find(inside, "/etc/resolv.conf").kind == "file" and "localhost" in read("/etc/hosts")
    with_libc = any(path.endswith("/libc.so.6") for path in kept)
    order = "dns" in read("/etc/nsswitch.conf") if with_libc else True
    yield Seen("names", names and order, "hosts, resolv.conf" + (", nsswitch.conf" if with_libc else ""))
    # Which images need a locale or authorities is the recipe's and the closure's to say: what is in them has to be of use.
    if any(path.startswith("usr/lib/locale/C.utf8/") for path in kept):
        there = find(inside, "/usr/lib/locale/C.utf8/LC_CTYPE").kind == "file"
        yield Seen("locale", there, "C.utf8 is there" if there else "C.utf8 is not whole")
    if any(path.startswith("usr/share/zoneinfo/") for path in kept):
        zone = read("/usr/share/zoneinfo/Europe/Berlin")[:4] == "TZif"
        yield Seen("zones", zone, "time zones are there" if zone else "no Europe/Berlin")
    if BUNDLE in kept and any(path.rpartition("/")[2].startswith("libcrypto.so") for path in kept):
        count = read("/usr/lib/ssl/cert.pem").count("BEGIN CERTIFICATE")
        yield Seen("authorities", count >= AUTHORITIES_MIN, f"OpenSSL finds {count} certificate authorities")


class _Said(msgspec.Struct):
    """What ASK prints in the image, which may print anything."""

    authorities: int
    locale: str
    zone: str


def _from_inside(root: Path, config: ImageConfig, place: Path, scratch: Path, authorities: int) -> list[Seen]:
    with (scratch / "said").open("w+b") as out:
        asking = msgspec.structs.replace(
            config, entrypoint=(f"/{PYTHON}", "-I", "-c", ASK), cmd=(), stop_signal="SIGKILL"
        )
        code = run_image(root, asking, Wish(), place, out=out, for_s=ASKED_WITHIN_S)
        said = _end_of(out)
    try:
        answer = msgspec.json.decode(said.splitlines()[-1], type=_Said) if code == 0 and said else None
    except UNREADABLE:
        answer = None
    if answer is None:
        return [Seen("python", False, f"its Python ended with {code}: {said[-300:]}")]
    good = answer.authorities >= authorities and answer.locale == "C.UTF-8"
    words = f"its Python has {answer.authorities} authorities, locale {answer.locale}, zone {answer.zone}"
    return [Seen("python", good, words)]


def _program(root: Path, config: ImageConfig, place: Path, scratch: Path, folders: tuple[str, ...]) -> Seen:
    """It may want an environment or a neighbour that isn't here: what it does is told, and fails nothing."""
    bound = []
    for number, target in enumerate(folders):
        (scratch / f"volume-{number}").mkdir()
        bound.append(Bound(scratch / f"volume-{number}", target))
    quick = msgspec.structs.replace(config, stop_signal="SIGKILL")
    began_s = time.monotonic()
    with (scratch / "output").open("w+b") as out:
        code = run_image(root, quick, Wish(folders=tuple(bound)), place, out=out, for_s=LIVES_S)
        said = _end_of(out)
    if time.monotonic() - began_s >= LIVES_S and code == 128 + signal.SIGKILL:
        return Seen("program", True, f"the program runs after {LIVES_S:g} s")
    last = last_words(said, 160) or "it said nothing"
    return Seen("program", code == 0, f"the program ended at once with exit code {code}: {last}")


def _end_of(out: IO[bytes]) -> str:
    size = out.seek(0, os.SEEK_END)
    out.seek(max(0, size - 4096))
    return out.read().decode("utf-8", "replace")
