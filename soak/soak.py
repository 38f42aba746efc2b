"""Rounds of trouble and quiet: a few random acts while clients read and write, then peace, then everything is checked.

What was wrong is kept with its evidence and told at once; the soak goes on, for one fault may hide another. Whatever happens,
Ctrl-C included, all is taken down at the end.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from demo.skerry import CommandFailed
from rich.console import Console

from soak import checks, report
from soak.acts import MAX_WEB, Acts
from soak.clients import Clients, Count
from soak.cloud import NOT_YET, ROOT, Cloud
from soak.leaks import IMAGE_KEPT_S, MEASURE, Leaks, records_of

WELL_S = 180.0  # bars double: what failed a few times while the cloud was in pieces needs a while
ALIKE_S = 30.0
REMOVED_S = 30.0  # what stops has its drain and grace time
WRONG_MAX = 25  # after so many findings there is nothing more to learn


class Soak:
    def __init__(self, name: str, hosts: int, seconds: float, seed: int, out: Path, console: Console) -> None:
        self.hosts, self.seconds, self.seed, self.out, self.console = hosts, seconds, seed, out, console
        self.work = ROOT / "build" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self._log = (self.work / "log").open("w", buffering=1)
        self.chance = random.Random(seed)
        self.cloud = Cloud(self.work, name, self.say)
        self.acts = Acts(self.cloud, self.chance, self.say)
        self.leaks = Leaks()
        self.wrong: list[str] = []
        self.counts: dict[str, Count] = defaultdict(Count)
        self.times: dict[str, int] = defaultdict(int)
        self.quiet_s: list[float] = []
        self.entries = 0
        self.rounds = 0

    def say(self, line: str) -> None:
        text = f"{time.strftime('%H:%M:%S')} {line}"
        self._log.write(text + "\n")
        self.console.print(text, markup=False, style="dim")

    def run(self) -> bool:
        begun_s = time.monotonic()
        self.console.print(f"[bold]soak[/] of {self.seconds / 60:g} minutes, seed {self.seed}")
        try:
            self.cloud.make(self.hosts)
            addresses = self.cloud.addresses()
            with Clients(addresses) as clients:
                self._quiet(clients)
                end_s = time.monotonic() + self.seconds
                while time.monotonic() < end_s and len(self.wrong) < WRONG_MAX:
                    self._trouble(clients)
                    self._quiet(clients)
                self._last(clients)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # a fault of the soak or a host that doesn't boot: the evidence must not be lost
            self._found("the soak itself", f"{type(error).__name__}: {error}")
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on only the clean-up matters
            self.say("taking everything down")
            self.cloud.lab.down()
            left = self.cloud.lab.leftovers()
        if left:
            self.wrong.append(f"left behind: {', '.join(left)}")
        figures = report.figures(self, time.monotonic() - begun_s, left)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(figures, indent=2) + "\n")
        report.show(self.console, figures)
        return not self.wrong

    # -- trouble

    def _trouble(self, clients: Clients) -> None:
        self.rounds += 1
        self.say(f"-- round {self.rounds}")
        clients.take()
        for _ in range(self.chance.randint(2, 6)):
            kind = self.acts.one()
            clients.dead = self.cloud.dead()
            time.sleep(self.chance.choice([0.2, 2.0, 5.0, 12.0]))
            self._charge(kind, clients)

    def _charge(self, kind: str, clients: Clients) -> None:
        """What the clients met from this act to the next one is put down to it."""
        self.times[kind] += 1
        self.counts[kind].add(clients.take())

    # -- quiet

    def _quiet(self, clients: Clients) -> None:
        """Everything is whole again; the cloud finds its peace; all checks."""
        begun_s = time.monotonic()
        found: list[str] = []
        if wrong := self.acts.peace():
            found.append(wrong)
        clients.dead = frozenset()
        if wrong := self.cloud.wait("every replica healthy", lambda: checks.well(self.cloud), WELL_S):
            found.append(wrong)
        self.quiet_s.append(time.monotonic() - begun_s)
        self._charge("back to peace", clients)
        for what, check in (("all hosts hold the same", checks.alike), ("one view", checks.one_view)):
            if wrong := self.cloud.wait(what, lambda check=check: check(self.cloud), ALIKE_S):  # type: ignore[misc]
                found.append(wrong)
        if wrong := self.cloud.wait("one container a slot", lambda: checks.once(self.cloud)[0], REMOVED_S):
            found.append(wrong)
        if wrong := self.cloud.wait(
            "entries kept", lambda: checks.lost_entries(self.cloud, clients.told_written()), 10
        ):
            found.append(wrong)
        self.entries = len(clients.told_written())
        if wrong := self.cloud.wait("nothing leaks", self._leaks, REMOVED_S):
            found.append(wrong)
        self._charge("quiet", clients)
        self.say(
            f"quiet after {self.quiet_s[-1]:.1f} s; {self.entries} entries" + (f"; {len(found)} wrong" if found else "")
        )
        for wrong in found:
            self._found(f"round {self.rounds}", wrong)

    def _leaks(self) -> str:
        _, counts = checks.once(self.cloud)
        lately = [at for at in self.acts.accepted_deploys if time.monotonic() - at < IMAGE_KEPT_S + 90]
        # wanted and fallback of two services, and what lately came with a deploy
        most = 4 + len(lately)
        records = records_of(self.hosts, MAX_WEB + 1)
        wrong = []
        for host, containers in counts.items():
            wrong += self.leaks.judge(host, self.cloud.inside(host, MEASURE), containers, most, records)
        return "; ".join(wrong)

    def _last(self, clients: Clients) -> None:
        """An ordinary deploy that has to go through, and the same size as at the beginning."""
        self.say("-- the last deploy")
        clients.take()
        self.acts._next_version(environment=False)
        try:
            self.cloud.skerry.run("deploy", str(self.cloud.app / "compose.yaml"))
        except CommandFailed as failed:
            self._found("the last deploy", str(failed))
        self._charge("update in peace", clients)
        self._quiet(clients)

    # -- evidence

    def _found(self, when: str, wrong: str) -> None:
        self.wrong.append(f"{when}: {wrong}")
        self.say(f"WRONG: {when}: {wrong}")
        self.console.print(f"[red]{len(self.wrong)}[/] wrong so far; evidence in {self.work}")
        place = self.work / f"wrong-{len(self.wrong)}"
        place.mkdir(exist_ok=True)
        (place / "what").write_text(f"seed {self.seed}\n{when}: {wrong}\n")
        self._keep(place / "ps.json", lambda: self.cloud.skerry.run("ps", "--json"))
        self._keep(place / "hosts.json", lambda: self.cloud.skerry.run("host", "ls", "--json"))
        self._keep(place / "events", lambda: self.cloud.skerry.run("events", "--tail", "400"))
        self._keep(place / "explain", lambda: self.cloud.skerry.run("explain", "guestbook"))
        self._keep(place / "heads.json", lambda: json.dumps(self.cloud.ask_all("heads"), default=str, indent=1))
        self._keep(
            place / "views.json", lambda: json.dumps(self.cloud.ask_all("ps", {"subject": ""}), default=str, indent=1)
        )
        self._keep(
            place / "leaks.json", lambda: json.dumps({"base": self.leaks.base, "now": self.leaks.last}, indent=1)
        )
        for host in self.cloud.names() if self.cloud.lab.directory.exists() else []:
            self._keep(place / f"{host}.journal", lambda host=host: self._journal(host))  # type: ignore[misc]
            if (events := self.cloud.lab.disk(host) / "events").is_dir():
                shutil.copytree(events, place / f"{host}.events", dirs_exist_ok=True)

    def _journal(self, host: str) -> str:
        done = self.cloud.lab.exec(host, ["journalctl", "-u", "skerry", "-n", "2000", "--no-pager"], timeout_s=60)
        return done.stdout.decode(errors="replace")

    def _keep(self, place: Path, ask: Any) -> None:
        try:
            place.write_text(ask())
        except NOT_YET as error:
            place.write_text(f"could not be asked: {error}\n")
