"""The Debian that machines under libvirt begin with: made once here by mmdebstrap, as a disk, a kernel and an initrd.

There is no boot loader, no SSH server and no password in it: it boots from outside, and what it does first it is told by
cloud-init (NoCloud). Its file system is the whole disk, and grows to the machine's at the first boot.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from skerry.errors import Passing, Refusal

PARTS = ("qcow2", "vmlinuz", "initrd")
PROGRAMS = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "qemu-img": "qemu-utils", "unshare": "util-linux"}
INCLUDE = (
    *("systemd-sysv", "systemd-resolved", "systemd-timesyncd", "udev", "dbus", "kmod", "iproute2", "ca-certificates"),
    *("cloud-init", "linux-image-cloud-amd64"),
)
DISK_BYTES = 2 << 30
LABEL = "skerry"
FETCH_LIMIT_S = 1200.0
LIMIT_S = 300.0

# Only what makes a machine join: each module less is a second less where KVM is not to be had.
CLOUD_INIT = """\
datasource_list: [NoCloud, None]
ssh_pwauth: false
cloud_init_modules: [seed_random, bootcmd, write_files, resizefs, set_hostname, update_etc_hosts]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts_user, final_message]
"""
FILES = {
    "etc/cloud/cloud.cfg.d/90_skerry.cfg": CLOUD_INIT,
    "etc/fstab": f"LABEL={LABEL} / ext4 defaults 0 1\n",
    "etc/hostname": "localhost\n",
    "etc/machine-id": "",
}
LINKS = {
    "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf",
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    "etc/systemd/system/apt-daily.timer": "/dev/null",
    "etc/systemd/system/apt-daily-upgrade.timer": "/dev/null",
}

Progress = Callable[[str], None]


class ImageNeeds(Refusal):
    """The image can't be made on this machine."""

    code = "machine-image-needs"


class ImageFailed(Passing):
    """A program that makes the image ended with an error: its words are told."""

    code = "machine-image-failed"


def build(
    folder: Path, name: str, *, suite: str = "bookworm", progress: Progress = lambda line: None
) -> dict[str, Path]:
    """The image's files, by part; made only where they aren't there, or of something else. Raises ImageNeeds and ImageFailed."""
    files = {part: folder / f"{name}.{part}" for part in PARTS}
    recipe = folder / f"{name}.recipe"
    made_by = hashlib.sha256(repr((suite, INCLUDE, FILES, LINKS)).encode()).hexdigest()
    if all(file.is_file() for file in files.values()) and recipe.is_file() and recipe.read_text() == made_by:
        progress(f"{name} is there already: {folder}")
        return files
    _check()
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / f".{name}.new"
    shutil.rmtree(work, ignore_errors=True)  # of an interrupted build
    work.mkdir()
    try:
        tree = work / "tree"
        progress(f"fetching Debian {suite}: a minute or two")
        debian = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(INCLUDE)}", "--mode=root", suite)
        _run("unshare", "--mount", *debian, str(tree), limit_s=FETCH_LIMIT_S)
        _prepare(tree)
        progress("making the disk")
        _run("mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-d", str(tree), str(work / "raw"), f"{DISK_BYTES >> 20}M")
        _run("qemu-img", "convert", "-O", "qcow2", str(work / "raw"), str(work / "qcow2"))
        for part, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            shutil.copyfile(sorted((tree / "boot").glob(pattern))[-1], work / part)
        for part, file in files.items():
            (work / part).replace(file)
        recipe.write_text(made_by)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return files


def _prepare(tree: Path) -> None:
    for place, text in FILES.items():
        (tree / place).unlink(missing_ok=True)
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text)
    for place, target in LINKS.items():
        (tree / place).unlink(missing_ok=True)
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).symlink_to(target)


def _check() -> None:
    what = "the image for machines was not made"
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise ImageNeeds(what, "Debian's files have many owners, which only root on Linux can give", "run it as root")
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program, path=_PATH) is None})
    if missing:
        raise ImageNeeds(what, f"this machine lacks {', '.join(missing)}", f"apt install {' '.join(missing)}")


_PATH = os.pathsep.join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))


def _run(*argv: str, limit_s: float = LIMIT_S) -> None:
    what = "the image for machines was not made"
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, env={**os.environ, "PATH": _PATH}, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ImageFailed(what, f"{_name(argv)} had not ended after {limit_s:.0f} s", "try again") from None
    if done.returncode:
        raise ImageFailed(what, f"{_name(argv)}: {done.stderr.decode(errors='replace').strip()[-1500:]}", "try again")


def _name(argv: Sequence[str]) -> str:
    return next(word for word in argv if word in PROGRAMS and word != "unshare")
