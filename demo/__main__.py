"""The demo, step by step: three machines, no centre, a real app, a killed machine, an update, a thief.

Every step is what a person would type, on whole machines of their own on this one; every figure is measured while it
runs. Whatever happens, Ctrl-C included, all is taken down at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from demo import attack
from demo.clients import Clients, Watch, ask, entries
from demo.skerry import CommandFailed, Skerry
from skerry.lab.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
HOSTS = 3
PORT = 8080
console = Console(highlight=False, soft_wrap=True)


class Demo:
    def __init__(self, out: Path, name: str = "demo") -> None:
        self.work = ROOT / "build" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.out = out
        self.lab = Lab(name)
        self.skerry = Skerry(self.work / "home", lambda line: console.print(f"      {line}", style="dim", markup=False))
        self.figures: dict[str, Any] = {}
        self.rows: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        console.print(f"[bold]{number}[/] {title}")
        begun_s = time.monotonic()
        yield
        console.print(f"      [green]done[/] in {time.monotonic() - begun_s:.1f} s")

    def tell(self, what: str, value: str) -> None:
        self.rows.append((what, value))
        console.print(f"      [cyan]{what}[/]: {value}")

    def ps(self) -> list[dict[str, Any]]:
        return list(self.skerry.json("ps"))

    def up(self) -> list[str]:
        return [h["name"] for h in self.skerry.json("host", "ls") if h["state"] == "up"]

    def addresses(self) -> list[str]:
        return [f"{m.address}:{PORT}" for m in self.lab.status()]

    # -- the steps

    def machines(self) -> None:
        with self.step(1, f"{HOSTS} machines, each with its own systemd, sshd, disk and network"):
            self.lab.down()  # of a demo that was killed
            for machine in self.lab.up(HOSTS):
                console.print(f"      {machine.name} {machine.address} pid {machine.pid}", style="dim")

    def join(self) -> None:
        with self.step(2, "skerry init, then host add for each over SSH: all there is to install"):
            self.skerry.run("init", "demo", "--recovery-file", str(self.work / "recovery.age"))
            for machine in self.lab.status():
                self.skerry.run(
                    "host",
                    "add",
                    f"root@{machine.address}",
                    "--name",
                    machine.name,
                    "--ssh-config",
                    str(self.lab.ssh_config()),
                )
            self.skerry.wait("three hosts up", lambda: len(self.up()) == HOSTS)

    def deploy(self) -> None:
        app = self.work / "guestbook"
        shutil.copytree(ROOT / "examples" / "guestbook", app)
        with self.step(3, "skerry deploy: minimal images, signed, handed to one host, spread from there"):
            begun_s = time.monotonic()
            self.skerry.run("deploy", str(app / "compose.yaml"))
            self.figures["deploy_s"] = round(time.monotonic() - begun_s, 2)
            for row in self.ps():
                console.print(f"      {row['slot']:<18} {row['node']:<7} {row['state']} healthy", style="dim")
            self.tell("deployed, images built and spread, healthy", f"{self.figures['deploy_s']:.1f} s")

    def machine_dies(self) -> None:
        with (
            self.step(4, "a machine dies while clients read and write: link cut, then SIGKILL of its pid 1"),
            Clients(self.addresses()) as clients,
        ):
            time.sleep(1.0)  # some traffic before, so that failures would show
            rows = self.ps()
            store = next(r["node"] for r in rows if r["service"] == "store")
            victim = next(r["node"] for r in rows if r["service"] == "web" and r["node"] != store)
            clients.take()
            died_s = time.monotonic()
            self.lab.kill(victim)
            self.skerry.wait("three healthy replicas elsewhere", lambda: self._healed(victim))
            self.figures["heal_s"] = round(time.monotonic() - died_s, 2)
            time.sleep(1.0)
            count = clients.take()
            self.figures["requests_during_kill"] = count.requests
            self.figures["failed_during_kill"] = count.failed
            self.tell(f"{victim} died", f"replicas healthy elsewhere after {self.figures['heal_s']:.1f} s")
            self.tell(
                "requests meanwhile",
                f"{count.requests}, {count.retried} retried on another host, {count.failed} failed",
            )
            for why in count.whys[:5]:
                console.print(f"      {why}", style="red", markup=False)
            self.lab.boot(victim)
            self.skerry.wait(f"{victim} to rejoin", lambda: victim in self.up())
            console.print(f"      {victim} is booted again and has rejoined", style="dim")
        self._store_dies(store)

    def _healed(self, victim: str) -> bool:
        web = [r for r in self.ps() if r["service"] == "web"]
        return len([r for r in web if r["healthy"] and r["node"] != victim]) == HOSTS

    def _store_dies(self, store: str) -> None:
        other = next(m.address for m in self.lab.status() if m.name != store and m.state == "on")
        before = set(entries(f"{other}:{PORT}"))
        self.lab.kill(store)
        waiting = self.skerry.wait(
            "ps to say why store waits",
            lambda: [r for r in self.ps() if r["service"] == "store" and r["state"] == "waiting"],
        )
        self.tell(f"{store} with the store's data died", f"ps: {waiting[0]['why']}")
        _, page = ask(f"{other}:{PORT}", path="/healthz")
        _, missing = ask(f"{other}:{PORT}")
        self.tell("web stays up", f"its own health: {page or 'well'}; entries: {missing}")
        self.lab.boot(store)
        after = self.skerry.wait("every entry to be back", lambda: self._all_back(other, before), 60)
        self.tell(f"{store} booted again", f"{len(after)} entries, none of {len(before)} lost")

    def _all_back(self, host: str, before: set[str]) -> set[str]:
        now = set(entries(f"{host}:{PORT}"))
        return now if before <= now else set()

    def update(self) -> None:
        page = self.work / "guestbook" / "web" / "guestbook.py"
        text = page.read_text()
        with (
            self.step(5, "version 2 of web, one line changed, one replica at a time"),
            Clients(self.addresses()) as clients,
            Watch(self.addresses()) as watch,
        ):
            page.write_text(text.replace('"guestbook 1"', '"guestbook 2"'))
            self.skerry.wait("all well before", lambda: all(r["healthy"] for r in self.ps()))
            clients.take()
            begun_s = time.monotonic()
            result = self.skerry.json("deploy", str(self.work / "guestbook" / "compose.yaml"), quiet=False)
            self.figures["update_s"] = round(time.monotonic() - begun_s, 2)
            self.figures["update_bytes"] = result["sent_bytes"]
            live_s = self.skerry.wait("version 2 at every host", lambda: watch.everywhere("guestbook 2"))
            self.figures["edit_to_live_s"] = round(live_s - begun_s, 2)
            count = clients.take()
            self.figures["failed_during_update"] = count.failed
            self.tell("updated", f"{self.figures['update_s']:.1f} s, {result['sent_bytes']} bytes handed over")
            self.tell(
                "from the edit to live",
                f"{self.figures['edit_to_live_s']:.1f} s from deploy typed until every host answers with version 2",
            )
            self.tell(
                "requests meanwhile", f"{count.requests}, {count.failed} failed, answered by versions {count.versions}"
            )
            for why in count.whys[:5]:
                console.print(f"      {why}", style="red", markup=False)

    def thief(self) -> None:
        with self.step(6, "a thief takes the keys off a machine's disk and forges records"):
            results = attack.play(self.lab, self.skerry)
            table = Table(box=None, padding=(0, 2), show_edge=False)
            for column in ("forged", "host", "answer"):
                table.add_column(column, overflow="fold")
            for row in results:
                table.add_row(row.what, row.host, "[red]ACCEPTED[/]" if row.accepted else row.answer)
            console.print(table)
            self.figures["forged_tried"] = len({r.what for r in results})
            self.figures["forged_accepted"] = len({r.what for r in results if r.accepted})
            self.tell(
                "forged records", f"{self.figures['forged_tried']} tried, {self.figures['forged_accepted']} accepted"
            )

    def story(self) -> None:
        with self.step(7, "skerry explain and skerry events tell the story"):
            console.print(self.skerry.run("explain", "web/0", quiet=True), style="dim", markup=False)
            console.print(self.skerry.run("events", "--tail", "12", quiet=True), style="dim", markup=False)

    def run(self) -> bool:
        """All steps; True if every target was met."""
        self.play((self.machines, self.join, self.deploy, self.machine_dies, self.update, self.thief, self.story))
        return not (
            self.figures["failed_during_kill"]
            or self.figures["failed_during_update"]
            or self.figures["forged_accepted"]
            or self.figures["leftovers"]
        )

    def play(self, steps: Sequence[Callable[[], None]]) -> None:
        """One after the other; whatever happens, all is taken down at the end. The figures go to `out`."""
        begun_s = time.monotonic()
        try:
            for step in steps:
                step()
        except (CommandFailed, TimeoutError, OSError):
            with contextlib.suppress(CommandFailed):  # what the cloud has to say about it
                console.print(self.skerry.run("events", "--tail", "40", quiet=True), style="dim", markup=False)
            raise
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on only the clean-up matters
            console.print("taking everything down")
            self.lab.down()
            self.figures["leftovers"] = self.lab.leftovers()
        self.figures["total_s"] = round(time.monotonic() - begun_s, 1)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.figures, indent=2) + "\n")
        self._table()

    def _table(self) -> None:
        table = Table(title="What was shown", title_justify="left", show_header=False, box=None, padding=(0, 2))
        for what, value in self.rows:
            table.add_row(what, value)
        table.add_row("left behind on this machine", ", ".join(self.figures["leftovers"]) or "nothing")
        table.add_row("the whole of it", f"{self.figures['total_s']:.0f} s")
        console.print(table)


def main(show: Callable[[Path], Demo] = Demo, out: str = "demo.json", words: str | None = __doc__) -> int:
    parser = argparse.ArgumentParser(prog="demo", description=words)
    parser.add_argument("--json", type=Path, default=ROOT / "build" / out, help="where the figures go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    try:
        return 0 if show(options.json).run() else 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was taken down")
        return 130


if __name__ == "__main__":
    sys.exit(main())
