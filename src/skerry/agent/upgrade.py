"""A new agent on its way in: which bundle is taken, where it is put, and what is said of how it went.

The bundle comes like any object, by its hash, and only the hash that this host's signed enrolment names is taken. The
swap itself outlives this process and is guard.py's, in a unit of its own: it needs neither the operator nor the network.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from skerry.agent.files import HostFiles
from skerry.errors import BadFormat, Passing, Refusal

if TYPE_CHECKING:
    import tarfile

HOME = Path("/opt/skerry")
GUARD = "skerry-guard"
TRIAL = "trial.json"  # in /run/skerry: there from the decision to try until it is decided
REJOINED = "rejoined"  # the new agent's word that it is back
TURNED_BACK = "turned-back"  # the guard's word that it was not, until the next try
VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,63}")
LOOK_S = 0.1


class UpgradeUnderWay(Passing):
    """Another upgrade of this host is not decided yet."""

    code = "upgrade-under-way"


class NoBundleHere(Refusal):
    """The bundle that the host's enrolment names has not been handed over, or the agent here is not of a bundle."""

    code = "no-bundle-here"


class Trial(msgspec.Struct, frozen=True):
    """`before`, `after`: versions. `linked`: the agent before had links, so the one after must have, too."""

    before: str
    after: str
    limit_s: float
    linked: bool


def version_here(executable: str = sys.executable) -> str:
    """The version of the bundle that this very process runs from, "" if it is from none."""
    place = Path(executable).parent.parent
    return place.name if place.parent == HOME else ""


def read_trial(run: Path) -> Trial | None:
    try:
        return msgspec.json.decode((run / TRIAL).read_bytes(), type=Trial)
    except FileNotFoundError:
        return None


def begin(files: HostFiles, archive: Path, digest: str, *, linked: bool, limit_s: float) -> str:
    """Unpack the bundle beside ours and have the guard try it; gives its version, "" if it is what runs already.

    `digest`: the hash that the enrolment names; `archive`: where such an object lies. Raises UpgradeUnderWay,
    NoBundleHere, BadFormat. Takes seconds: not for the event loop.
    """
    before = version_here()
    if not before:
        raise NoBundleHere(
            "the agent was not replaced", "it does not run from a bundle", "join the host: skerry host add"
        )
    if read_trial(files.run) is not None:
        raise UpgradeUnderWay(
            "the agent was not replaced", "another one is being tried", "wait a minute: skerry host ls"
        )
    if (HOME / before / ".bundle").is_file() and (HOME / before / ".bundle").read_text().strip() == digest:
        return ""
    if not archive.is_file():
        raise NoBundleHere(
            "the agent was not replaced", f"bundle {digest[:12]}, which its enrolment names, is not here",
            "skerry host upgrade hands it over",
        )  # fmt: skip
    after = unpack(archive, digest)
    (files.run / TURNED_BACK).unlink(missing_ok=True)
    _write(files.run / TRIAL, msgspec.json.encode(Trial(before, after, limit_s, linked)))
    argv = ["systemd-run", f"--unit={GUARD}", "--collect", "--quiet", "--property=Restart=on-failure"]
    argv += [f"{HOME}/{before}/bin/skerry-agent", "guard", "--state", str(files.state), "--run", str(files.run)]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        (files.run / TRIAL).unlink()
        raise UpgradeUnderWay("the agent was not replaced", done.stderr.decode(errors="replace").strip(), "try again")
    return after


def unpack(archive: Path, digest: str, home: Path = HOME) -> str:
    """Put a bundle to `home`/<version>, as machines/install.py does from outside: made beside it and renamed. Gives its version.

    The hash is signed for; that nothing leaves the folder is looked at all the same. Raises BadFormat.
    """
    import tarfile  # with its decompressors 0.4 MB, for something that happens a few times a year

    fresh = home / ".fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                _check(member)
                tar.extract(member, fresh)
        (top,) = fresh.iterdir()
        version = top.name
        if not VERSION.fullmatch(version) or not (top / "bin/skerry-agent").is_file():
            raise ValueError("it holds no agent")
    except (tarfile.TarError, ValueError, OSError, EOFError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise BadFormat("the bundle was not taken", str(error), "make bundle") from None
    place = home / version
    write_sums(top, place)
    (top / ".bundle").write_text(f"{digest}\n")
    os.sync()
    shutil.rmtree(place, ignore_errors=True)  # a damaged one; never the one that runs, whose digest is another
    top.rename(place)
    fresh.rmdir()
    return version


def write_sums(top: Path, place: Path | None = None) -> None:
    """Of every file in `top`, by which `host add` sees whether it is whole. `place`: where it will be."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {(place or top) / path.relative_to(top)}\n"
        for path in sorted(top.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in (".sums", ".bundle")
    ]
    (top / ".sums").write_text("".join(sums))


def _check(member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isdir() or member.isreg() or member.issym()):
        raise ValueError(f"{member.name[:80]!r} can't be in a bundle")
    if member.issym() and "/" in member.linkname:
        raise ValueError(f"{member.name[:80]!r} leads elsewhere")


async def say_rejoined(files: HostFiles, linked: Callable[[], bool]) -> None:
    """A new agent that is tried says so once it is linked again, if the one before was. The guard waits for it."""
    trial = read_trial(files.run)
    if trial is None or trial.after != version_here():
        return
    while trial.linked and not linked():  # noqa: ASYNC110 - once in an upgrade; nobody has to tell us of links for it
        await asyncio.sleep(LOOK_S)
    _write(files.run / REJOINED, trial.after.encode())


def turned_back(run: Path) -> str:
    """Why the last upgrade was undone, "" if it wasn't."""
    with contextlib.suppress(FileNotFoundError):
        return (run / TURNED_BACK).read_text()
    return ""


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    temporary.replace(path)
