"""An exclusive slot on four machines, three of them voters: whatever fails, a store outside of the cloud never sees two of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import shutil
import socketserver
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.machines import Hosts, machines
from late import Late
from skerry.lab import cgroups, state

pytestmark = pytest.mark.e2e
NAME = "exclusive"
VOTERS = ("vps-1", "vps-2", "vps-3")
TAKEN_OVER_S = 10.0
MORE_THAN_A_LEASE_S = 6.0
BACK_IN_TIME_S = 2.5
APP = """\
name: solo
services:
  one:
    image: writer.tar
    environment: {STORE: "%s", PORT: "%d"}
    stop_grace_period: 0s
    x-skerry: {exclusive: true, drain: 0s, allow: {shell: the smallest writer, network-tool: the same}}
"""
WRITER = 'while :; do echo "$SKERRY_FENCING_NUMBER" | nc -w 1 "$STORE" "$PORT"; sleep 0.05; done'


class Write(NamedTuple):
    """What the store saw: `host` is who sent it (containers speak under their machine's address)."""

    time_s: float
    number: int
    host: str
    taken: bool


class Store:
    """What an exclusive slot works on: it takes each write, unless it has seen a higher number before."""

    def __init__(self, address: str) -> None:
        self.writes: list[Write] = []
        self.highest = 0
        lock = threading.Lock()
        store = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    self.request.settimeout(2)
                    line = self.rfile.readline(100)
                    if not line:  # ended before it said a word
                        return
                    number = int(line.strip() or b"0")
                    with lock:
                        taken = number >= store.highest
                        store.highest = max(number, store.highest)
                        store.writes.append(Write(time.monotonic(), number, self.client_address[0], taken))

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 50

        self.server = Server((address, 0), Handler)
        self.port: int = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def since(self, time_s: float) -> list[Write]:
        return [write for write in list(self.writes) if write.time_s >= time_s]


def writer() -> bytes:
    """An image of busybox alone."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    names = {f"bin/{name}": busybox for name in ("sh", "nc", "sleep")}
    return image({**dict.fromkeys(("dev", "proc", "sys", "tmp", "etc", "run", "bin"), None), **names})


def image(entries: dict[str, bytes | None]) -> bytes:
    layer = tar(entries)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sh", "-c", WRITER], "User": "10001:10001"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["layer.tar"]}]
    return tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def tar(entries: dict[str, bytes | None]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, data in sorted(entries.items()):
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data or b"")
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            file.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


class Solo(Hosts):
    """The cloud, with an exclusive slot that writes to the store."""

    store: Store
    late: Late

    def host_of(self, address: str) -> str:
        return next(machine.name for machine in self.lab.status() if machine.address == address)

    def last(self) -> Write | None:
        taken = [write for write in list(self.store.writes) if write.taken]
        return taken[-1] if taken else None

    def holder(self) -> tuple[str, int]:
        """Which machine writes now, under which number."""

        def writes() -> Write | None:
            last = self.last()
            return last if last is not None and time.monotonic() - last.time_s < 0.5 else None

        write = self.skerry.wait("somebody writes", writes, 30)
        return self.host_of(write.host), write.number

    def taken_over(self, number: int, since_s: float, within_s: float = TAKEN_OVER_S + 10) -> float:
        """Seconds until somebody wrote under a higher number; printed, and the writer is looked at elsewhere."""

        def newer() -> Write | None:
            return next((write for write in self.store.since(since_s) if write.number > number), None)

        write = self.skerry.wait(f"a number above {number}", newer, within_s)
        took_s = write.time_s - since_s
        print(f"taken over by {self.host_of(write.host)} under {write.number} after {took_s:.2f} s")
        return float(took_s)

    def writes_on(self, number: int, for_s: float) -> None:
        """The same one goes on writing all this time."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            last = self.last()
            assert last is not None and last.number == number, last
            assert time.monotonic() - last.time_s < 1.5 + 3 * self.late.most_s, last
            time.sleep(0.05)

    def check(self) -> None:
        """Never two at once: of each number all writes come from one machine, and end before the next number's begin."""
        taken: dict[int, list[Write]] = {}
        for write in list(self.store.writes):
            taken.setdefault(write.number, []).append(write)
        numbers = sorted(taken)
        assert 0 not in numbers, "a container without its number"
        for number in numbers:
            assert len({write.host for write in taken[number]}) == 1, number
        for number, later in itertools.pairwise(numbers):
            last = max(write.time_s for write in taken[number] if write.taken)
            assert last < taken[later][0].time_s, (number, later)

    def stale(self) -> list[Write]:
        return [write for write in list(self.store.writes) if not write.taken]

    def all_up(self) -> None:
        self.skerry.wait("all are up", lambda: len(self.up()) == 4, 60)

    @contextlib.contextmanager
    def deaf(self, host: str, other: str) -> Iterator[None]:
        """A link cut one way: this host hears nothing of the other one, which hears it."""
        rules = "table ip deaf { chain in { type filter hook input priority -400; ip saddr %s drop; }; }"
        self.said(host, "nft", rules % self.address(other))
        try:
            yield
        finally:
            self.said(host, "nft", "delete table ip deaf")

    def unit(self, host: str, unit: str, signal: str) -> None:
        self.said(host, "systemctl", "kill", "--kill-who=main", f"--signal={signal}", unit)

    def pid(self, host: str) -> int:
        """Its first process, as this machine counts."""
        return next(each.pid for each in state.load(self.lab.directory, self.lab.name).hosts if each.name == host)

    def freezer(self, host: str) -> Path:
        return next(
            path for path in cgroups.places(self.lab.name, host) if path.name == host and "freezer" in path.parts
        )

    def freeze(self, host: str, *, still: bool) -> None:
        """All processes of the machine at once, its agent, guard and systemd among them; its kernel, which is ours, runs on."""
        place = self.freezer(host)
        (place / "freezer.state").write_text("FROZEN" if still else "THAWED")
        wanted = "FROZEN" if still else "THAWED"
        self.skerry.wait(wanted, lambda: (place / "freezer.state").read_text().strip() == wanted, 5)


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solo]:
    with machines(NAME, 4, tmp_path_factory.mktemp("exclusive")) as made:
        for machine in made.lab.status():
            made.add(machine.name)
        solo = Solo(made.lab, made.skerry, made.work)
        solo.late = Late()
        store = solo.store = Store(made.lab.status()[0].address.rpartition(".")[0] + ".254")
        folder = made.work / "solo"
        folder.mkdir()
        (folder / "writer.tar").write_bytes(writer())
        (folder / "compose.yaml").write_text(APP % (store.server.server_address[0], store.port))
        made.skerry.run("host", "voters", "set", *VOTERS)
        made.skerry.run("deploy", str(folder / "compose.yaml"))
        solo.holder()
        yield solo


@pytest.fixture(autouse=True)
def whole_before_and_never_twice_after(solo: Solo) -> Iterator[None]:
    solo.all_up()
    yield
    for machine in solo.lab.status():
        if machine.state == "off":
            solo.lab.boot(machine.name)
        else:
            solo.lab.heal(machine.name)
    solo.check()


def test_a_power_cut_is_taken_over_within_ten_seconds(solo: Solo) -> None:
    holder, number = solo.holder()
    cut_s = time.monotonic()
    solo.lab.kill(holder)
    assert solo.taken_over(number, cut_s) < TAKEN_OVER_S + 3 * solo.late.most_s


def test_single_links_that_are_cut_also_one_way_move_nothing(solo: Solo) -> None:
    holder, number = solo.holder()
    one, other = [name for name in VOTERS if name != holder][:2]
    solo.lab.partition([holder], [one])
    solo.writes_on(number, MORE_THAN_A_LEASE_S)
    solo.lab.heal(holder)
    solo.lab.heal(one)
    solo.all_up()
    with solo.deaf(holder, other):
        solo.writes_on(number, MORE_THAN_A_LEASE_S)
    solo.all_up()
    with solo.deaf(one, holder):
        solo.writes_on(number, MORE_THAN_A_LEASE_S)


def test_a_holder_that_loses_all_others_ends_before_another_begins(solo: Solo) -> None:
    holder, number = solo.holder()
    cut_s = time.monotonic()
    solo.lab.partition([holder], [name for name in ("vps-1", "vps-2", "vps-3", "vps-4") if name != holder])
    solo.taken_over(number, cut_s)


def test_agents_that_are_restarted_one_by_one_with_clocks_that_jump_move_nothing(solo: Solo) -> None:
    """A voter that was restarted grants nothing new for as long as a lease. Clocks stay wrong for the tests that follow."""
    holder, number = solo.holder()
    others = [name for name in VOTERS if name != holder][:2]
    for name, offset_s in zip((holder, *others), (86_400, -7200, 0), strict=True):
        begun_s = time.monotonic()
        solo.said(name, "sh", "-c", f"echo {offset_s} > /var/lib/skerry/clock-offset; systemctl restart skerry")
        if (took_s := time.monotonic() - begun_s) < BACK_IN_TIME_S:
            solo.writes_on(number, MORE_THAN_A_LEASE_S)
        else:  # of a lease of 5.5 s a quarter may be over when the agent is told to stop
            print(f"{name} needed {took_s:.1f} s for its start: its lease may have run out")
            time.sleep(MORE_THAN_A_LEASE_S)
            number = solo.holder()[1]


def test_a_guard_that_is_killed_or_stands_still_moves_nothing(solo: Solo) -> None:
    holder, number = solo.holder()
    for signal in ("KILL", "STOP"):
        before = solo.said(holder, "systemctl", "show", "-p", "MainPID", "--value", "skerry-leases")
        solo.unit(holder, "skerry-leases", signal)
        solo.writes_on(number, 4.5)
        assert solo.said(holder, "systemctl", "show", "-p", "MainPID", "--value", "skerry-leases") not in ("0", before)


def test_an_agent_and_a_guard_that_stand_still_end_in_time(solo: Solo) -> None:
    holder, number = solo.holder()
    still_s = time.monotonic()
    for unit in ("skerry", "skerry-leases"):
        solo.unit(holder, unit, "STOP")
    solo.taken_over(number, still_s)
    solo.unit(holder, "skerry", "CONT")


def test_a_machine_that_stood_still_wakes_up_and_its_number_is_refused(solo: Solo) -> None:
    """As a virtual machine that was paused: its kernel's rules, which ran on here, are taken away, and nobody there acts at once."""
    holder, number = solo.holder()
    kept = json.loads(solo.said(holder, "cat", "/run/skerry/leases/state.json"))
    (address,) = (held["kept"]["address"] for held in kept["held"] if held["kept"]["number"] == number)
    for unit in ("skerry", "skerry-leases"):
        solo.unit(holder, unit, "STOP")
    still_s = time.monotonic()
    pid = solo.pid(holder)
    solo.freeze(holder, still=True)
    try:
        solo.taken_over(number, still_s)
        for other in solo.up():
            if other != holder:
                assert address in solo.said(other, "nft", "list", "table", "ip", "skerry_fence"), "hosts refuse it"
        nft = ["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "delete", "table", "ip", "skerry_leases"]
        subprocess.run(nft, check=True, capture_output=True)
        assert not solo.stale()
    finally:
        solo.freeze(holder, still=False)
    stale = solo.skerry.wait("the one that woke up writes", solo.stale, 10)
    assert {write.number for write in stale} == {number}
    solo.unit(holder, "skerry", "CONT")
    solo.skerry.wait("it is killed", lambda: solo.lab.exec(holder, ["pgrep", "-x", "nc"]).returncode, 10)
    solo.holder()


def test_a_drain_moves_it_without_waiting_for_its_lease(solo: Solo) -> None:
    holder, number = solo.holder()
    begun_s = time.monotonic()
    solo.skerry.run("host", "drain", holder)
    assert solo.taken_over(number, begun_s) < 4.0 + 3 * solo.late.most_s, "sooner than its lease would end"
    solo.skerry.run("host", "undrain", holder)
