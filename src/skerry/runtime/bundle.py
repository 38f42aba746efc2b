"""All of a container that is on disk before its first process: folder, record, files, root, config.json."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import msgspec

from skerry.outside import UNREADABLE
from skerry.runtime import conmon, overlay, record, rootfs
from skerry.runtime.contract import ContainerSpec, RuntimeRefused
from skerry.runtime.seccomp import default_profile, seccomp_for
from skerry.runtime.spec import BoundFile, Limits, mount_points, oci_config


class _Mount(msgspec.Struct):
    destination: str
    type: str
    source: str
    options: list[str] = []


class _Config(msgspec.Struct):
    mounts: list[_Mount]


def prepare(spec: ContainerSpec, places: conmon.Places, held: record.Record, cgroup: str, limits: Limits) -> None:
    """Make it all; the record first. Blocks. Raises RuntimeRefused or RuntimeBusy; what was made then stays.

    A volume that is empty and root's is given to the container's user.
    """
    try:
        _check_sources(spec)
        for folder in (places.exits, places.state):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        places.bundle.mkdir(parents=True, mode=0o700)
        record.write(places.bundle, held)
        files = _write_files(places.bundle / "files", spec)
        user = rootfs.find_user(spec.root, spec.user)
        for mount in spec.mounts:
            if mount.source and not mount.read_only:
                own_if_new(Path(mount.source), user.uid, user.gid)
        config = oci_config(
            spec,
            root=_make_root(spec, places.bundle, [file.target for file in files]),
            user=user,
            cgroup=cgroup,
            files=files,
            seccomp=seccomp_for(default_profile(), platform.machine(), spec.capabilities),
            limits=limits,
        )
        (places.bundle / "config.json").write_bytes(msgspec.json.encode(config))
    except OSError as error:
        raise conmon.failed(spec.id, f"{error.strerror}: {error.filename or error.filename2}") from error


def writable(folder: Path) -> dict[str, str]:
    """Where the container of this folder can write: path in it -> the host's, "" for memory. Empty when the folder is gone."""
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Config)
    except (FileNotFoundError, NotADirectoryError, *UNREADABLE):
        return {}
    return {
        mount.destination: mount.source if mount.type == "bind" else ""
        for mount in config.mounts
        if mount.type in ("bind", "tmpfs") and "ro" not in mount.options and mount.destination != "/dev"
    }


def host_limits(*, swap: bool) -> Limits:
    """What this process may give to others; `swap`: the kernel can limit it."""

    def most(of: int, wanted: int) -> int:
        _, hard = resource.getrlimit(of)
        return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)

    return Limits(
        swap, most(resource.RLIMIT_NOFILE, Limits().open_files), most(resource.RLIMIT_CORE, Limits().core_bytes)
    )


def _make_root(spec: ContainerSpec, bundle: Path, files: list[str]) -> Path:
    """The image's tree itself where it has all mount points: no mount of ours is cheaper than any."""
    lacks = rootfs.lacking(spec.root, mount_points(spec, files))
    if not lacks:
        return spec.root
    rootfs.make_skeleton(spec.root, bundle / "skeleton", lacks)
    root = bundle / "root"
    root.mkdir()
    overlay.mount_over(bundle / "skeleton", spec.root, root)
    return root


def _check_sources(spec: ContainerSpec) -> None:
    for path in (spec.root, *(Path(mount.source) for mount in spec.mounts if mount.source)):
        if not path.is_dir():
            why = f"{path} is no directory on this host"
            raise RuntimeRefused(f"container {spec.id} was not made", why, "fetch the image, or make the volume, first")


def _write_files(folder: Path, spec: ContainerSpec) -> list[BoundFile]:
    folder.mkdir()
    bound = []
    for number, (target, content) in enumerate(spec.files):
        source = folder / str(number)
        source.write_bytes(content)
        source.chmod(0o644)
        bound.append(BoundFile(target, source))
    return bound


def own_if_new(volume: Path, uid: int, gid: int) -> None:
    """Give an empty volume that is still root's to the container's user, who could not write it otherwise."""
    status = volume.stat()
    if (uid or gid) and status.st_uid == 0 and status.st_gid == 0 and not any(volume.iterdir()):
        os.chown(volume, uid, gid)
