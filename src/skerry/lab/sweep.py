"""What of a lab is on this machine, found by asking the kernel and not the lab's own notes; and how all of it goes."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skerry.lab import cgroups, kernel, machine
from skerry.lab.errors import LabFailed
from skerry.lab.programs import run
from skerry.lab.wires import MARK

KNOWN = ("hosts", "ssh", "layers", "wires", "ocean", "state.json", "state.json.new", "recovery.age")
GONE_LIMIT_S = 10.0


def leftovers(name: str, directory: Path) -> list[str]:
    """Processes, cgroups, mounts (the lab's network namespace is one), interfaces and files, each in words."""
    found = [f"process {pid} {_command(pid)}" for pid in sorted(cgroups.processes(name))]
    found += [f"cgroup {place}" for place in cgroups.places(name)]
    found += [f"mount {place}" for place in mounts(directory)]
    found += [f"interface {interface}" for interface in interfaces(name)]
    found += [f"file {directory / entry}" for entry in KNOWN if (directory / entry).exists()]
    return found


def sweep(name: str, directory: Path) -> list[str]:
    """Remove all of it, in an order that never leaves a half-dead host behind. Returns what was removed, in words.

    Raises LabFailed if something stays; may be repeated.
    """
    found = leftovers(name, directory)
    for interface in interfaces(name):  # first the network: what dies from here on dies unheard
        with contextlib.suppress(LabFailed):
            run(["ip", "link", "del", interface])
    machine.power_off(name)
    for place in mounts(directory):
        kernel.unmount(str(place))
    end = time.monotonic() + GONE_LIMIT_S
    while cgroups.remove(name) and time.monotonic() < end:  # the kernel lets go of them a moment after the last process
        time.sleep(0.01)
    _remove_files(directory)
    left = leftovers(name, directory)
    if left:
        raise LabFailed(f"lab {name} is not gone", "still here: " + ", ".join(left), "skerry lab down once more")
    return found


def mounts(directory: Path) -> list[Path]:
    """Mount points in and below the directory, the deepest first. (Hosts' own mounts are in their namespaces.)"""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = Path(line.split()[4].encode().decode("unicode_escape"))
        if place.is_relative_to(directory):
            found.append(place)
    return sorted(found, key=lambda place: len(place.parts), reverse=True)


def interfaces(name: str) -> list[str]:
    links = json.loads(run(["ip", "-j", "link", "show"]))
    return [link["ifname"] for link in links if link.get("ifalias") == MARK + name]


def _remove_files(directory: Path) -> None:
    """Only what a lab makes: a directory that was given by mistake keeps all that is not ours."""
    if mounts(directory):
        raise LabFailed(f"{directory} is not removed", "something is still mounted there", "skerry lab down once more")
    # First what is large, side by side: on a disk that others write to, each file waits for its turn.
    # None that is reached through a link: what that leads to is not ours.
    large = [place for place in directory.resolve().glob("hosts/*/*/*") if place.is_dir() and place.resolve() == place]
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(shutil.rmtree, large))
    for entry in KNOWN:
        path = directory / entry
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (directory / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
    except OSError:
        return ""
