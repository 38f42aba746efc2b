"""Load rises, and the cloud grows: replicas, then machines that are rented for them. Load falls, and all of it is given back.

The provider is the lab's simulator of DigitalOcean, whose droplets are whole machines that boot, read their user data and ask to
be let in. The rest is the product, as a person would use it with a token of the real one.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import wake
from bench.static_server import archive

from demo.__main__ import ROOT, Demo, console, main
from demo.clients import Clients, ask
from demo.skerry import CommandFailed

CONNECTIONS = 64
WAKES = 30
POOL = "burst"


class Elastic(Demo):
    def __init__(self, out: Path) -> None:
        super().__init__(out, "elastic")
        self._peaks = {"replicas": 0, "machines": 0}

    def machines_in(self) -> list[dict[str, Any]]:
        return list(self.skerry.json("machine", "ls"))

    # -- the steps

    def pool(self) -> None:
        with self.step(3, "a provider, and a pool: at most 3 machines, at most 20 USD a month, rented by two keepers"):
            place = self.skerry.json("lab", "ocean", "--lab", self.lab.name, "--boot", "2")
            token = self.work / "token"
            token.write_text(place["token"])
            self.skerry.run(
                "machine", "pool", "add", POOL, "--provider", "digitalocean", "--endpoint", place["endpoint"],
                "--token-file", str(token), "--size", "s-2vcpu-2gb", "--min", "0", "--max", "3", "--spend", "20",
                "--keepers", "vps-1,vps-2", "--down", "15s", "--age", "20s", "--drain", "30s", "--join", "120s",
            )  # fmt: skip
            self._control = place["control"]

    def deploy(self) -> None:
        app = self.work / "app"
        shutil.copytree(ROOT / "examples" / "elastic", app)
        with self.step(
            4, "an app that follows its load, from nothing to eight replicas; three hosts have room for six"
        ):
            self.skerry.run("deploy", str(app / "compose.yaml"), "--name", "elastic")

    def rises(self) -> None:
        with (
            self.step(5, f"load rises: {CONNECTIONS} connections (wrk), and clients that count every failed request"),
            Clients(self.addresses(), write=False, path="/", how_many=2) as clients,
        ):
            begun_s = time.monotonic()
            load = self._load(60)
            watch = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(watch,), daemon=True)
            watcher.start()
            self.skerry.wait(
                "a rented machine to join", lambda: [m for m in self.machines_in() if m["state"] == "joined"], 90
            )
            self.tell("a machine was rented and has joined", f"{time.monotonic() - begun_s:.1f} s after the load rose")
            self.figures["join_s"] = self._join_s()
            self.tell("from asking for it until it has joined", f"{self.figures['join_s']:.1f} s")
            self.skerry.wait("eight healthy replicas", lambda: len(self._healthy()) == 8, 60)
            self.tell("eight replicas healthy", f"{time.monotonic() - begun_s:.1f} s after the load rose")
            for row in self.ps():
                console.print(f"      {row['slot']:<16} {row['node']:<9} {row['state']}", style="dim")
            console.print(self.skerry.run("machine", "ls", quiet=True), style="dim", markup=False)
            failed = self._end(load)
            watch.set()
            watcher.join(10)
            count = clients.take()
            self.figures["failed"] = failed + count.failed
            self.figures["replicas_peak"], self.figures["machines_peak"] = (
                self._peaks["replicas"],
                self._peaks["machines"],
            )
            self.tell(
                "requests meanwhile",
                f"{self._requests} by wrk, {count.requests} by clients, {self.figures['failed']} failed",
            )
            for why in count.whys[:5]:
                console.print(f"      {why}", style="red", markup=False)

    def falls(self) -> None:
        with self.step(6, "load falls: replicas go, the machine is drained and given back"):
            begun_s = time.monotonic()
            with Clients(self.addresses(), write=False, path="/", how_many=2) as clients:
                self.skerry.wait("one or two replicas", lambda: len(self._healthy()) <= 2, 120)
                self.tell("replicas went", f"{time.monotonic() - begun_s:.1f} s after the load fell")
                self.skerry.wait("no machine to be left", lambda: not self._at_provider(), 120)
                self.tell("the machine was returned", f"{time.monotonic() - begun_s:.1f} s after the load fell")
                count = clients.take()
            self.figures["failed"] += count.failed
            self.tell("requests meanwhile", f"{count.requests}, {count.failed} failed")
            for why in count.whys[:5]:
                console.print(f"      {why}", style="red", markup=False)

    def sleeps(self) -> None:
        with self.step(7, "nobody comes: the last replica stops; one request wakes it"):
            begun_s = time.monotonic()
            self.skerry.wait("no replica", lambda: not self._healthy(), 60)
            self.tell("asleep", f"{time.monotonic() - begun_s:.1f} s after the last request")
            asked_s = time.monotonic()
            answer, why = ask(self.addresses()[0], path="/")
            self.figures["failed"] += bool(why)
            self.tell(
                "woken by one request",
                f"{answer or why}, {(time.monotonic() - asked_s) * 1000:.0f} ms, the application's own start included",
            )

    def wakes(self) -> None:
        """What waking costs beyond the application's own start, with a server that is up at once; as `make bench` measures it."""
        with self.step(8, f"{WAKES} times asleep and woken, through each host in turn"):
            (self.work / "page.tar").write_bytes(archive(1))
            compose = self.work / "wake.yaml"
            compose.write_text(wake.COMPOSE)
            self.skerry.run("deploy", str(compose))
            own = [wake.own_start_s(self.lab, wake.SERVER, 8990) for _ in range(wake.OWN_STARTS)]
            hosts = [machine.address for machine in self.lab.status() if machine.name.startswith("vps-")]
            found = wake.overhead(
                wake.wakes(lambda: wake.is_asleep(self.lab, self.skerry), hosts, wake.PORT, WAKES), median(own)
            )
            self.figures["wake_overhead_ms_p50"], self.figures["wake_overhead_ms_p99"] = (
                found["wake_overhead_ms_p50"],
                found["wake_overhead_ms_p99"],
            )
            self.tell(
                "waking costs, beyond the own start",
                f"{found['wake_overhead_ms_p50']:.0f} ms p50, {found['wake_overhead_ms_p99']:.0f} ms p99",
            )

    def story(self) -> None:
        with self.step(9, "skerry explain --scale, skerry machine cost and skerry events tell the story"):
            console.print(self.skerry.run("explain", "--scale", "web", quiet=True), style="dim", markup=False)
            console.print(self.skerry.run("machine", "cost", quiet=True), style="dim", markup=False)
            console.print(self.skerry.run("events", "--tail", "20", quiet=True), style="dim", markup=False)
            self.figures["machines_left"] = len(self._at_provider())

    # -- looking

    def _healthy(self) -> list[dict[str, Any]]:
        return [row for row in self.ps() if row["service"] == "web" and row["healthy"]]

    def _at_provider(self) -> list[dict[str, Any]]:
        return [m for m in self.machines_in() if m["state"] not in ("gone", "failed")]

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.5):
            with contextlib.suppress(CommandFailed):  # asked at a bad moment: the next time will do
                self._look()

    def _look(self) -> None:
        self._peaks["replicas"] = max(self._peaks["replicas"], len(self._healthy()))
        machines = self.machines_in()
        self._peaks["machines"] = max(self._peaks["machines"], sum(m["state"] == "joined" for m in machines))

    def _join_s(self) -> float:
        """From the order for the first machine until it was enrolled and up, as the cloud's own events tell it."""
        told = [e for e in self.skerry.json("events", "--tail", "400") if e["kind"] == "machine"]
        asked, joined = (
            next(e["time"] for e in told if e["reason"].startswith(word)) for word in ("creating:", "joined:")
        )
        return float(round(joined - asked, 1))

    def _load(self, seconds: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", f"http://{self.addresses()[0]}/"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def _end(self, load: subprocess.Popen[str]) -> int:
        """Have wrk end, as Ctrl-C does; how many of its requests failed."""
        load.send_signal(signal.SIGINT)
        out, _ = load.communicate(timeout=30)
        self._requests = int(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
        return (int(refused[1]) if refused else 0) + (sum(map(int, errors.groups())) if errors else 0)

    def run(self) -> bool:
        self.play(
            (
                self.machines,
                self.join,
                self.pool,
                self.deploy,
                self.rises,
                self.falls,
                self.sleeps,
                self.wakes,
                self.story,
            )
        )
        return not (self.figures["failed"] or self.figures["machines_left"] or self.figures["leftovers"])


if __name__ == "__main__":
    sys.exit(main(Elastic, "demo-elastic.json", __doc__))
