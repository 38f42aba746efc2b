"""A whole lab: hosts, their network, their faults. Each public method is one thing that a person can ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import msgspec

from skerry.lab import access, base, cgroups, disk, firstboot, kernel, machine, programs, state, sweep, wires
from skerry.lab.errors import LabAlreadyUp, LabBadInput, LabFailed, LabHostState, LabNeedsKernel, LabUnknownHost

HOME = Path("/var/lib/skerry-lab")


class Machine(msgspec.Struct, frozen=True):
    """One lab host. `state`: "on", "off" or "cut"; `pid` is its pid 1 as this machine sees it, 0 when off."""

    name: str
    state: str
    address: str
    pid: int


class Lab:
    """Hosts `vps-1`, `vps-2` ... of one lab. Several labs fit side by side: each has its own name and /24 network.

    The hosts outlive the caller; every later `Lab(name)` finds them again. Raises LabError and its subclasses.
    """

    def __init__(self, name: str = "lab", directory: Path | None = None) -> None:
        """`directory`: where the lab keeps its disks; default `$SKERRY_LAB/<name>`, else `/var/lib/skerry-lab/<name>`.

        It must be on a plain disk (ext4, xfs, btrfs): containers of the hosts need overlayfs there.
        """
        self.name = state.check_name(name)
        parent = Path(os.environ.get("SKERRY_LAB") or HOME)
        self.directory = (directory or parent / name).absolute()

    def up(self, hosts: int = 3, base: str = "host") -> list[Machine]:
        """Make and boot the hosts; returns when every SSH server answers. `base`: "host" or "minimal".

        If it fails or is interrupted, nothing of it stays.
        """
        self._check_can_be_made(hosts, base)
        with state.locked(self.directory):
            if sweep.leftovers(self.name, self.directory):
                raise LabAlreadyUp(self.name)
            try:
                lab = self._make(hosts, base)
                self._boot_all(lab, lab.hosts)
                for host in lab.hosts:
                    machine.wait_ssh_banner(host.name, lab.address(host))
            except BaseException:
                sweep.sweep(self.name, self.directory)
                raise
        return self.status()

    def add_host(self, name: str, *, cloud: bool = False) -> Machine:
        """One more host, made and booted while the lab is up; returns when its SSH server answers.

        `cloud`: cloud-init does on its first boot what the metadata service of the lab's provider says.
        If it fails, nothing of it stays.
        """
        state.check_host(name)
        with state.locked(self.directory):
            lab = state.load(self.directory, self.name)
            index = lab.free_index()
            if index is None or any(host.name == name for host in lab.hosts):
                why = f"there is a host {name} already" if index else "the lab's network is full"
                raise LabHostState(f"{name} was not added", why, "skerry lab status")
            host = state.Host(name=name, index=index, cloud=cloud)
            lab.hosts.append(host)
            state.save(self.directory, lab)
            try:
                self._prepare(lab, host)
                access.write_config(self.directory, lab)
                self._boot_all(lab, [host])
            except BaseException:
                self._remove(lab, host)
                raise
        try:
            machine.wait_ssh_banner(name, lab.address(host))
        except BaseException:
            self.remove_host(name)
            raise
        return self._machine(lab, host)

    def remove_host(self, name: str) -> None:
        """Power cut, and its disk is gone. Raises LabUnknownHost."""
        with state.locked(self.directory):
            lab, host = self._find(name)
            self._remove(lab, host)

    def _remove(self, lab: state.State, host: state.Host) -> None:
        wires.unplug(self.directory, host)
        machine.power_off(self.name, host.name)
        cgroups.remove(self.name, host.name)
        for place in ("layers", "hosts", "ssh"):
            shutil.rmtree(self.directory / place / host.name, ignore_errors=True)
        lab.hosts.remove(host)
        state.save(self.directory, lab)
        access.write_config(self.directory, lab)
        wires.apply_rules(self.directory, lab)

    def status(self) -> list[Machine]:
        """All hosts, in order. Raises LabNotUp."""
        lab = state.load(self.directory, self.name)
        return [self._machine(lab, host) for host in lab.hosts]

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        input: bytes | None = None,
        capture: bool = True,
        timeout_s: float | None = None,
    ) -> CompletedProcess[bytes]:
        """Run `argv` inside, as root, in all namespaces and cgroups of the host; its exit code is in the result.

        Without `capture` it has the caller's terminal. Raises subprocess.TimeoutExpired after `timeout_s`.
        """
        lab, found = self._find(host)
        self._check_on(found)
        entrances = cgroups.entrances(lab.name, host)

        def enter() -> None:  # between fork and exec: nothing but system calls on what is open already
            for entrance in entrances:
                os.write(entrance, b"0")
            kernel.give_up_the_machine()

        environment = {"PATH": programs.PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        if term := os.environ.get("TERM"):
            environment["TERM"] = term
        pipe = subprocess.PIPE if capture else None
        try:
            with subprocess.Popen(
                ["nsenter", f"--target={found.pid}", "--all", "--", *argv],
                stdin=subprocess.PIPE if input is not None else (subprocess.DEVNULL if capture else None),
                stdout=pipe,
                stderr=pipe,
                env=environment,
                preexec_fn=enter,
            ) as process:
                try:
                    out, err = process.communicate(input, timeout=timeout_s)
                except BaseException:
                    process.kill()
                    raise
            return CompletedProcess(list(argv), process.returncode, out, err)
        finally:
            for entrance in entrances:
                os.close(entrance)

    def kill(self, host: str) -> None:
        """A power cut: link first, then pid 1; returns when it has really ended. Already off counts as killed."""
        with state.locked(self.directory):
            lab, found = self._find(host)
            wires.unplug(self.directory, found)
            machine.power_off(self.name, host)
            cgroups.remove(self.name, host)
            found.pid = found.started = 0
            state.save(self.directory, lab)

    def boot(self, *hosts: str) -> list[Machine]:
        """Power on again, with the disks that they had. Returns when their SSH servers answer.

        A host that powered itself off or restarted is off, too. Raises LabHostState for one that is on.
        """
        with state.locked(self.directory):
            lab = state.load(self.directory, self.name)
            found = [self._host(lab, host) for host in hosts]
            for host in found:
                if self._is_on(host):
                    raise LabHostState(
                        f"{host.name} is on already", "a host is booted once", f"skerry lab kill {host.name}"
                    )
                wires.unplug(self.directory, host)
                machine.power_off(
                    self.name, host.name
                )  # whatever of it still ends: two pid 1 on a disk would break both
            self._boot_all(lab, found)
        for host in found:
            machine.wait_ssh_banner(host.name, lab.address(host))
        return [self._machine(lab, host) for host in found]

    def cut(self, host: str) -> None:
        """Pull its network cable; it goes on running."""
        with state.locked(self.directory):
            lab, found = self._find(host)
            self._check_on(found)
            wires.set_link(self.directory, found, up=False)
            found.cut = True
            state.save(self.directory, lab)

    def heal(self, host: str) -> None:
        """Undo `cut`, `slow` and `partition` for this host."""
        with state.locked(self.directory):
            lab, found = self._find(host)
            self._check_on(found)
            found.cut, found.group, found.loss = False, None, 0.0
            wires.apply_rules(self.directory, lab)
            wires.set_speed(self.directory, found, rate=None, delay=None)
            wires.set_link(self.directory, found, up=True)
            state.save(self.directory, lab)

    def slow(self, host: str, *, rate: str | None = None, loss: str | None = None, delay: str | None = None) -> None:
        """Make its network worse, both ways: rate "10mbit", loss "1%", delay "20ms" (where the kernel has netem).

        What is not given is as it was before all faults. Undone by `heal`.
        """
        share = wires.check_loss(loss) if loss else 0.0
        rate, delay = rate and wires.check_rate(rate), delay and wires.check_delay(delay)
        with state.locked(self.directory):
            lab, found = self._find(host)
            self._check_on(found)
            wires.set_speed(self.directory, found, rate=rate, delay=delay)
            found.loss = share
            wires.apply_rules(self.directory, lab)
            state.save(self.directory, lab)

    def partition(self, *groups: Sequence[str]) -> None:
        """Hosts of different groups no longer reach one another; this machine reaches all. Undone by `heal` of each.

        Hosts that no group names reach everybody.
        """
        with state.locked(self.directory):
            lab = state.load(self.directory, self.name)
            for host in lab.hosts:
                host.group = None
            for number, group in enumerate(groups):
                for name in group:
                    self._host(lab, name).group = number
            wires.apply_rules(self.directory, lab)
            state.save(self.directory, lab)

    def disk(self, host: str) -> Path:
        """Where that host's /var/lib/skerry lies on this machine: what a thief of its disk would have in hand."""
        return self.directory / "hosts" / host / "skerry"

    def down(self) -> list[str]:
        """Remove everything of it, also after an interruption. Returns what was removed, in words."""
        programs.check_machine()
        if not self.directory.exists():
            return sweep.sweep(self.name, self.directory)
        with state.locked(self.directory):
            return sweep.sweep(self.name, self.directory)

    def leftovers(self) -> list[str]:
        """What of this lab is here now: processes, mounts, namespaces, interfaces, cgroups, files. [] after `down`."""
        return sweep.leftovers(self.name, self.directory)

    def ssh_config(self) -> Path:
        """An ssh configuration with key and known host keys: `ssh -F PATH root@vps-1`, or by address."""
        state.load(self.directory, self.name)
        return self.directory / "ssh/config"

    def _check_can_be_made(self, hosts: int, kind: str) -> None:
        programs.check_machine()
        if not 1 <= hosts <= state.MAX_HOSTS:
            raise LabBadInput(f"a lab can't have {hosts} hosts", f"it has from 1 to {state.MAX_HOSTS}", "--hosts 3")
        if not all(character.isalnum() or character in "/-_." for character in str(self.directory)):
            raise LabBadInput(
                f"a lab can't be kept in {self.directory}",
                "mounts need a path of letters, digits, dash, dot and underscore",
                "set SKERRY_LAB to another directory",
            )
        base.check(kind)

    def _make(self, hosts: int, kind: str) -> state.State:
        """Everything but power: disks, keys, wires. State is written before the first thing that outlives us."""
        base.lower(kind, self.directory.parent / ".base")  # what takes long, or fails, goes first
        lab = wires.lay(self.directory, self.name, kind)
        lab.hosts = [state.Host(name=f"vps-{index}", index=index) for index in range(1, hosts + 1)]
        state.save(self.directory, lab)
        layers = self.directory / "layers"
        layers.mkdir()
        # A file system of its own: overlayfs refuses a layer that lies inside of what it is a layer over.
        kernel.mount(f"sklab-{self.name}", str(layers), "tmpfs", options="mode=0700")
        access.make_operator_key(self.directory)
        for host in lab.hosts:
            self._prepare(lab, host)
        access.write_config(self.directory, lab)
        return lab

    def _prepare(self, lab: state.State, host: state.Host) -> None:
        """Its keys and its disk."""
        hide = [*disk.private_paths(), self.directory.parent]
        keys = access.make_host_keys(self.directory, host.name)
        place = self.directory / "layers" / host.name
        place.mkdir()
        (place / "work").mkdir()
        lower, up = self._lower(lab, host), place / "up"
        disk.write_layer(up, name=host.name, address=lab.address(host), keys=keys, hide=hide, lower=lower)
        if host.cloud:
            firstboot.write_layer(up)
        for folder in ("root", "skerry", "opt", "log/journal"):
            (self.directory / "hosts" / host.name / folder).mkdir(parents=True)
        self._check_plain_disk(self.directory / "hosts" / host.name / "skerry")

    def _lower(self, lab: state.State, host: state.Host) -> Path:
        return base.lower("host" if host.cloud else lab.base, self.directory.parent / ".base")

    def _boot_all(self, lab: state.State, hosts: Sequence[state.Host]) -> None:
        """Boot at once, not one after the other. Faults are gone with the old wires, but for partitions."""
        starting = []
        for host in hosts:
            lower = str(self._lower(lab, host))
            if host.cloud:
                lower = f"{firstboot.programs(self.directory / 'layers', self.directory.parent / '.base')}:{lower}"
            layer, own = self.directory / "layers" / host.name, self.directory / "hosts" / host.name
            job = machine.Job(
                lab=self.name,
                name=host.name,
                address=lab.address(host),
                mac=lab.mac(host),
                link=host.link,
                wires=self.directory / "wires",
                lower=lower,
                upper=layer / "up",
                work=layer / "work",
                root=own / "root",
                disks=((own / "skerry", "var/lib/skerry"), (own / "opt", "opt"), (own / "log", "var/log")),
            )
            starting.append((host, machine.switch_on(job)))
        failures = []
        for host, process in starting:
            try:
                host.pid, host.started = machine.wait_running(process, host.name)
                host.cut, host.loss = False, 0.0
            except LabFailed as failure:
                failures.append(failure)
        state.save(self.directory, lab)
        if failures:
            raise failures[0]

    def _check_plain_disk(self, place: Path) -> None:
        """Try the very thing that containers will do there. Raises LabNeedsKernel."""
        for name in ("l", "u", "w", "m"):
            (place / name).mkdir()
        options = f"lowerdir={place}/l,upperdir={place}/u,workdir={place}/w"
        try:
            kernel.mount("overlay", f"{place}/m", "overlay", options=options)
            kernel.unmount(f"{place}/m")
        except OSError as error:
            raise LabNeedsKernel(
                f"hosts can't keep containers in {place}",
                f"overlayfs does not work there: {error}",
                "set SKERRY_LAB to a directory of a plain disk (ext4, xfs, btrfs)",
            ) from None
        subprocess.run(["rm", "-rf", *(f"{place}/{name}" for name in ("l", "u", "w", "m"))], check=True)

    def _find(self, name: str) -> tuple[state.State, state.Host]:
        lab = state.load(self.directory, self.name)
        return lab, self._host(lab, name)

    def _host(self, lab: state.State, name: str) -> state.Host:
        for host in lab.hosts:
            if host.name == name:
                return host
        raise LabUnknownHost(name, [host.name for host in lab.hosts])

    def _is_on(self, host: state.Host) -> bool:
        return machine.is_running(self.name, host.name, machine.Pid1(host.pid, host.started))

    def _check_on(self, host: state.Host) -> None:
        if not self._is_on(host):
            raise LabHostState(f"{host.name} is off", "this needs a host that is on", f"skerry lab boot {host.name}")

    def _machine(self, lab: state.State, host: state.Host) -> Machine:
        on = self._is_on(host)
        return Machine(
            name=host.name,
            state=("cut" if host.cut else "on") if on else "off",
            address=lab.address(host),
            pid=host.pid if on else 0,
        )
