"""One container by runc or crun, made by the same rules as on a host: read-only root, no capability, the same mounts.

In the foreground and without a monitor: its output is this process's, its end is waited for as a child's. Its folder is its life
line, as on a host: what a killed trial left is found by it and taken away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from skerry.client.trial.wish import Wish
from skerry.errors import Passing, Refusal, SkerryError
from skerry.image.oci import ImageConfig
from skerry.outside import UNREADABLE

NAMES = ("runc", "crun")  # runc first: it also works where both cgroup versions are mounted
COMMAND_WITHIN_S = 20.0
IN_USER_NAMESPACE = "SKERRY_IN_USER_NAMESPACE"  # set by rootless.py


class NoTrial(Refusal):
    """Images can't be run on this machine: no Linux, no runc or crun, or no right to make a container."""

    code = "no-trial"


class TrialFailed(Passing):
    """The container could not be made, in the words of runc or crun."""

    code = "trial-failed"


class Trial:
    """A container that is made but not started: `pid` is its first process, which waits for `start`. End it with `close`."""

    def __init__(
        self,
        place: Path,
        root: Path,
        config: ImageConfig,
        wish: Wish,
        *,
        netns: str = "",
        out: int | IO[bytes] | None = None,
        extra: Sequence[tuple[Path, str]] = (),
    ) -> None:
        """`place`: where trials keep their folders. `out`: where its output goes, None for this process's own.
        `extra`: single files of this machine to show at paths below /dev. Raises NoTrial, TrialFailed, RuntimeRefused.
        """
        self._program = find_program()
        self.id = f"skerry-try-{secrets.token_hex(4)}"
        self.folder = place / self.id
        self._ended: int | None = None
        self.pid = 0
        from skerry.runtime import syscalls

        syscalls.become_subreaper()  # the first process becomes our child when the tool that made it has ended
        try:
            self.folder.mkdir(parents=True, mode=0o700)
            (self.folder / "owner").write_text(_process_name(os.getpid()))
            self._write_bundle(root, config, wish, netns, extra)
            self._create(out)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.close()
            raise _failed(str(error)) from error
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        try:
            done = self._command("start", self.id)
        except subprocess.TimeoutExpired as error:
            raise _failed(str(error)) from error
        if done.returncode:
            raise _failed(done.stderr)

    def wait(self) -> int:
        """Blocks until it ended: its exit code, 128 + n for signal n."""
        if self._ended is None:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self._ended = 128 - code if code < 0 else code
        return self._ended

    def send(self, number: int) -> None:
        """A signal to its first process; SIGKILL instead if that would not notice."""
        from skerry.runtime.signals import would_notice

        if self._ended is None:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                noticed = would_notice(number, Path(f"/proc/{self.pid}/status").read_text())
                os.kill(self.pid, number if noticed else signal.SIGKILL)

    def close(self) -> None:
        """End it if it runs, and leave nothing of it."""
        if self.pid and self._ended is None:
            self.send(signal.SIGKILL)
            self.wait()
        if self.folder.exists():
            remove(self._program, self.folder)

    def _write_bundle(
        self, root: Path, config: ImageConfig, wish: Wish, netns: str, extra: Sequence[tuple[Path, str]]
    ) -> None:
        from skerry.runtime import overlay, rootfs
        from skerry.runtime.bundle import host_limits, own_if_new
        from skerry.runtime.cgroups import Cgroups
        from skerry.runtime.contract import ContainerSpec, Mount
        from skerry.runtime.seccomp import default_profile, seccomp_for
        from skerry.runtime.spec import BoundFile, mount_points, oci_config

        arguments = wish.arguments or config.cmd
        spec = ContainerSpec(
            id=self.id,
            root=root,
            args=(*config.entrypoint, *arguments),
            environment=tuple((dict(config.env) | dict(wish.environment)).items()),
            user=config.user or "0:0",
            working_dir=config.working_dir,
            hostname="skerry-try",
            netns=netns,
            mounts=tuple(Mount(bound.target, str(bound.source), bound.read_only) for bound in wish.folders),
        )
        files = [BoundFile(target, self._write(target, data)) for target, data in _files(wish.host_network)]
        user = rootfs.find_user(root, spec.user)
        for bound in wish.folders:
            if not bound.read_only:
                own_if_new(bound.source, user.uid, user.gid)
        inside = root
        if lacks := rootfs.lacking(root, mount_points(spec, [file.target for file in files])):
            rootfs.make_skeleton(root, self.folder / "skeleton", lacks)
            inside = self.folder / "root"
            inside.mkdir()
            overlay.mount_over(self.folder / "skeleton", root, inside)
        content = oci_config(
            spec,
            root=inside,
            user=user,
            cgroup=f"/{self.id}",
            files=[*files, *(BoundFile(target, source) for source, target in extra)],
            seccomp=seccomp_for(default_profile(), platform.machine(), ()),
            limits=host_limits(swap=Cgroups().can_limit_swap()),
        )
        if not netns and not wish.host_network:
            content["linux"]["namespaces"].append({"type": "network"})
        if os.environ.get(IN_USER_NAMESPACE):
            _without_cgroups(content, wish.host_network)
        for mount in content["mounts"][-len(extra) :] if extra else ():
            mount["options"].remove("noexec")
        (self.folder / "config.json").write_bytes(msgspec.json.encode(content))

    def _write(self, target: str, data: bytes) -> Path:
        path = self.folder / target.rpartition("/")[2]
        path.write_bytes(data)
        path.chmod(0o644)
        return path

    def _create(self, out: int | IO[bytes] | None) -> None:
        arguments = self._arguments(
            "create", "--bundle", str(self.folder), "--pid-file", str(self.folder / "pid"), self.id
        )
        # A session of its own: Ctrl-C is for us, who pass it on as the signal that the image asks for.
        # Its errors are in its log, but it also repeats them where the container writes: that can't be told apart.
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise _failed(_logged(self.folder / "log"))
        self.pid = int((self.folder / "pid").read_text())

    def _arguments(self, *words: str) -> list[str]:
        log = ["--log", str(self.folder / "log"), "--log-format", "json"]
        return [self._program, "--root", str(self.folder / "state"), *log, *words]

    def _command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._arguments(*words), capture_output=True, text=True, timeout=COMMAND_WITHIN_S, check=False
        )


def find_program() -> str:
    """The path of runc or crun. Raises NoTrial."""
    if platform.system() != "Linux":
        why, fix = (
            f"containers need Linux, and this is {platform.system()}",
            "export it: skerry image export IMAGE web.tar",
        )
        raise NoTrial("the image was not started", why, fix)
    if os.geteuid() != 0:
        raise NoTrial(
            "the image was not started",
            "a container needs root, or `skerry image run`, which finds a way without",
            "use sudo",
        )
    for name in NAMES:
        if found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return found
    raise NoTrial("the image was not started", "neither runc nor crun is installed", "apt-get install runc")


def remove(program: str, folder: Path) -> None:
    """Take away a trial's container, cgroup, mounts and folder, in any state they may be in. Safe to repeat."""
    from skerry.runtime import overlay
    from skerry.runtime.cgroups import Cgroups

    command = [program, "--root", str(folder / "state"), "delete", "--force", folder.name]
    subprocess.run(command, capture_output=True, timeout=COMMAND_WITHIN_S, check=False)
    Cgroups().remove(f"/{folder.name}")
    overlay.unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A folder among those of trials, gone afterwards; one of a process that was killed is swept up, too."""
    folder = place / f"skerry-try-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, mode=0o700)
    try:
        (folder / "owner").write_text(_process_name(os.getpid()))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(place: Path) -> None:
    """Remove what trials left whose process was killed."""
    for folder in place.glob("skerry-try-*"):
        owner = folder / "owner"
        pid, _, _ = owner.read_text().partition(" ") if owner.is_file() else ("0", "", "")
        if not (pid.isdigit() and owner.is_file() and _process_name(int(pid)) == owner.read_text()):
            with contextlib.suppress(SkerryError):
                remove(find_program(), folder)


def _process_name(pid: int) -> str:
    """A process, told apart from a later one of the same number by when it began; "" if there is none."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (OSError, IndexError):
        return ""


def _without_cgroups(content: dict[str, Any], host_network: bool) -> None:
    """What root of a user namespace alone can't have: limits, and (in this machine's network) a sysfs of its own."""
    linux = content["linux"]
    del linux["cgroupsPath"], linux["resources"]
    linux["namespaces"] = [space for space in linux["namespaces"] if space["type"] != "cgroup"]
    content["mounts"] = [mount for mount in content["mounts"] if mount["type"] != "cgroup"]
    for mount in content["mounts"]:
        if mount["type"] == "sysfs" and host_network:
            mount |= {"type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}


def _files(host_network: bool) -> list[tuple[str, bytes]]:
    resolv = Path("/etc/resolv.conf")
    return [
        ("/etc/hosts", b"127.0.0.1 localhost skerry-try\n"),
        ("/etc/hostname", b"skerry-try\n"),
        ("/etc/resolv.conf", resolv.read_bytes() if host_network and resolv.is_file() else b""),
    ]


def _logged(log: Path) -> str:
    """The last error in the runtime's log."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.is_file() else []
    for line in reversed(lines):
        with contextlib.suppress(KeyError, TypeError, *UNREADABLE):
            return str(msgspec.json.decode(line)["msg"])
    return ""


def _failed(words: str) -> SkerryError:
    """Its own words; what the image lacks is final."""
    words = words.strip()[-500:] or "it said nothing"
    if "no such file or directory" in words or "permission denied" in words:
        return NoTrial("the image was not started", words, "check its entrypoint: skerry image inspect IMAGE")
    return TrialFailed(
        "the image was not started", words, "look at the words above; `skerry doctor` checks this machine"
    )
