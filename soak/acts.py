"""What may happen to the cloud, one method each. A seed says which come, and when; each leaves a line with what it did.

No act waits for its consequence: the next one comes while the cloud is still busy with it. `peace` undoes them all.
"""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.skerry import CommandFailed

from skerry.errors import SkerryError
from soak.cloud import Cloud

SERVICE = "guestbook.web"
MIN_WEB, MAX_WEB = 2, 5
WHOLE_S = 120.0
SHORT = "5s"  # a command in the middle of faults doesn't wait for its end: that is looked at in the quiet


@dataclass
class Done:
    """One thing that was done. `kind`: the method's name."""

    at_s: float
    kind: str
    what: str


class Acts:
    """`chance` decides which host, how much. `done`: all so far."""

    def __init__(self, cloud: Cloud, chance: random.Random, say: Callable[[str], None]) -> None:
        self.cloud, self.chance, self._say = cloud, chance, say
        self.done: list[Done] = []
        self.begun_s = time.monotonic()
        self.version = 1
        self.accepted_deploys: list[float] = []  # when
        self.refused = 0
        self.undone = 0  # faults that the lab could not make
        self.drained: set[str] = set()
        self.may: dict[Callable[[], str], int] = {
            self.power_cut: 3,
            self.boot: 3,
            self.cut: 2,
            self.heal: 2,
            self.slow: 2,
            self.partition: 1,
            self.kill_agent: 3,
            self.deploy_environment: 3,
            self.deploy_code: 1,
            self.scale: 2,
            self.rollback: 1,
            self.drain: 2,
            self.undrain: 1,
            self.all_rebooted: 1,
        }

    def one(self) -> str:
        """Something at random; gives its kind. What makes no sense just now is drawn again."""
        while True:
            (act,) = self.chance.choices(list(self.may), weights=list(self.may.values()))
            try:
                what = act()
            except (
                SkerryError,
                OSError,
                subprocess.SubprocessError,
            ) as error:  # of the lab: this machine is slow just now
                what = f"could not be done: {error}"
                self.undone += 1
            if what:
                self._note(act.__name__, what)
                return act.__name__

    def _note(self, kind: str, what: str) -> None:
        self.done.append(Done(time.monotonic() - self.begun_s, kind, what))
        self._say(f"{kind}: {what}")

    def _host(self, *states: str) -> str:
        names = [m.name for m in self.cloud.machines() if m.state in states]
        return self.chance.choice(names) if names else ""

    # -- machines and wires

    def power_cut(self) -> str:
        on = [m.name for m in self.cloud.machines() if m.state != "off"]
        if len(on) < 2:
            return ""  # the last one stays, so that commands have somebody to ask
        host = self.chance.choice(on)
        self.cloud.lab.kill(host)
        return host

    def boot(self) -> str:
        if host := self._host("off"):
            self.cloud.lab.boot(host)
        return host

    def cut(self) -> str:
        if len([m for m in self.cloud.machines() if m.state == "on"]) < 3:
            return ""
        host = self._host("on")
        self.cloud.lab.cut(host)
        return host

    def heal(self) -> str:
        if host := self._host("cut"):
            self.cloud.lab.heal(host)
        return host

    def slow(self) -> str:
        if host := self._host("on"):
            loss, rate = self.chance.choice([("2%", None), ("10%", None), (None, "2mbit"), ("1%", "10mbit")])
            self.cloud.lab.slow(host, loss=loss, rate=rate)
            return f"{host} loss {loss or '0%'}, rate {rate or 'full'}"
        return ""

    def partition(self) -> str:
        """In two, this machine reaches all: what one half accepts the other learns when it is healed."""
        names = self.cloud.names()
        one = self.chance.sample(names, self.chance.randint(1, len(names) - 1))
        others = [name for name in names if name not in one]
        self.cloud.lab.partition(one, others)
        return f"{'+'.join(sorted(one))} | {'+'.join(others)}"

    def kill_agent(self) -> str:
        if host := self._host("on", "cut"):
            self.cloud.lab.exec(host, ["systemctl", "kill", "--kill-who=main", "--signal=KILL", "skerry"], timeout_s=30)
        return host

    def all_rebooted(self) -> str:
        names = self.cloud.names()
        for name in names:
            self.cloud.lab.kill(name)
        self.cloud.lab.boot(*names)
        return "+".join(names)

    # -- what operators do

    def _command(self, *args: str) -> str:
        """ "accepted", or why not. What was accepted and isn't finished in time goes on by itself."""
        try:
            self.cloud.skerry.run(*args)
        except CommandFailed as failed:
            code = int(re.search(r"ended with (\d+)", str(failed)).group(1))  # type: ignore[union-attr]
            if code != 5:
                self.refused += 1
                return f"refused ({code}): {str(failed)[:400]}"
            return "accepted, not finished yet"
        return "accepted"

    def deploy_environment(self) -> str:
        self._next_version(environment=True)
        return self._deploy()

    def deploy_code(self) -> str:
        self._next_version(environment=False)
        return self._deploy()

    def _next_version(self, *, environment: bool) -> None:
        """A compose file with another variable, or one line of the page changed: the image is then built anew."""
        self.version += 1
        if environment:
            file = self.cloud.app / "compose.yaml"
            text = re.sub(r"\n      SOAK: .*", "", file.read_text())
            file.write_text(text.replace("STORE: store:6379", f'STORE: store:6379\n      SOAK: "{self.version}"'))
        else:
            page = self.cloud.app / "web" / "guestbook.py"
            page.write_text(re.sub(r'VERSION = ".*"', f'VERSION = "guestbook {self.version}"', page.read_text()))

    def _deploy(self) -> str:
        answer = self._command("deploy", str(self.cloud.app / "compose.yaml"), "--detach")
        if not answer.startswith("refused"):
            self.accepted_deploys.append(time.monotonic())
        return f"version {self.version} {answer}"

    def scale(self) -> str:
        replicas = self.chance.randint(MIN_WEB, MAX_WEB)
        return f"{SERVICE} to {replicas}: {self._command('scale', SERVICE, str(replicas))}"

    def rollback(self) -> str:
        return self._command("rollback", "guestbook", "--timeout", SHORT)

    def drain(self) -> str:
        host = self._host("on")
        if not host or len(self.drained) > 1:
            return ""
        self.drained.add(host)
        return f"{host}: {self._command('host', 'drain', host, '--timeout', SHORT)}"

    def undrain(self) -> str:
        if not self.drained:
            return ""
        host = self.chance.choice(sorted(self.drained))
        answer = self._command("host", "undrain", host)
        if not answer.startswith("refused"):
            self.drained.discard(host)
        return f"{host}: {answer}"

    # -- all well again

    def peace(self) -> str:
        """Machines on, wires whole, nothing drained. Gives what could not be undone, "" if all was."""
        wrong = self.cloud.wait("all machines on, all wires whole", self._whole, WHOLE_S)
        if wrong:
            return wrong
        for host in sorted(self.drained):
            wrong = self.cloud.wait(f"host undrain {host}", lambda host=host: self._undrained(host), 60)  # type: ignore[misc]
            if wrong:
                break
            self.drained.discard(host)
        self._note("peace", wrong if wrong else "all on")
        return wrong

    def _whole(self) -> str:
        off = [m.name for m in self.cloud.machines() if m.state == "off"]
        if off:
            self.cloud.lab.boot(*off)
        for machine in self.cloud.machines():
            self.cloud.lab.heal(machine.name)
        return ""

    def _undrained(self, host: str) -> str:
        self.cloud.skerry.run("host", "undrain", host)
        return ""
