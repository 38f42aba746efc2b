"""A lab for tests that take hosts in and out: what a host looks like before and after, and a small app to move about."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.static_server import archive
from demo.skerry import COMMAND, Skerry

from checkout import lab_name
from skerry.client import views
from skerry.lab.lab import Lab

PORT = 8086
APP = f"""\
name: small
services:
  web:
    image: page.tar
    ports: ["{PORT}:80"]
    environment: {{GREETING: hello}}
    healthcheck: {{test: curl -f http://localhost/, interval: 1s, timeout: 1s}}
    x-skerry: {{allow: {{shell: it is busybox}}}}
    deploy: {{replicas: 2, update_config: {{order: start-first}}}}
  keep:
    image: page.tar
    volumes: ["data:/data"]
    healthcheck: {{test: curl -f http://localhost/, interval: 1s, timeout: 1s}}
    x-skerry: {{allow: {{shell: it is busybox}}}}
volumes:
  data:
"""
# What is of a host's system and not of the moment. Journals, sessions of ssh and counters of the kernel are left out.
LOOK = r"""
export LC_ALL=C
echo "== run"; find /run /tmp -xdev -not -path '/run/systemd/*' -not -path '/run/user*' -not -path '/run/docker*' \
  -not -path '/run/containerd*' -not -path '/run/sshd*' -printf '%p %y %m %l\n' 2>/dev/null | sort
echo "== units"; ls -A /run/systemd/system /run/systemd/transient 2>/dev/null
echo "== nft"; nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*/counted/'
echo "== interfaces"; ip -o addr | sed 's/valid_lft.*//'; ip -o link | sed 's/ mtu.*//'
echo "== routes"; ip route show table all; ip rule
echo "== processes"; listed=$(ps -eo args)  # whole, before the filters of this script run: one that ends is "[grep]"
echo "$listed" | grep -v -e '^sshd: ' -e '^ps ' -e '^sh ' -e '^\[' -e '^(sd-pam)' | sort
echo "== cgroups"; find /sys/fs/cgroup -type d -not -path '*/docker*' -not -path '*/user.slice/*' | sort
echo "== sysctls"; sysctl -a 2>/dev/null | grep '^net\.' | grep -v -e nf_conntrack_count -e '\.veth' -e '\.docker0' | sort
echo "== namespaces"; ls /run/netns 2>/dev/null; mount | grep -v docker | sort
"""


@dataclass
class Hosts:
    """A lab and the operator's side of it."""

    lab: Lab
    skerry: Skerry
    work: Path

    def address(self, name: str) -> str:
        return next(machine.address for machine in self.lab.status() if machine.name == name)

    def ssh(self) -> list[str]:
        return ["--ssh-config", str(self.lab.ssh_config())]

    def add(self, name: str, *more: str) -> Any:
        return self.skerry.json("host", "add", f"root@{self.address(name)}", *self.ssh(), *more)

    def refused(self, *argv: str) -> tuple[int, dict[str, str]]:
        """Exit code and error of a command that must fail."""
        done = subprocess.run([COMMAND, *argv, "--json"], env=self.skerry.environment, capture_output=True, timeout=120)
        assert done.returncode != 0, done.stdout
        return done.returncode, json.loads(done.stdout)["error"]

    def said(self, host: str, *argv: str) -> str:
        done = self.lab.exec(host, argv, timeout_s=120)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.decode()

    def agent_pid(self, host: str) -> str:
        return self.said(host, "systemctl", "show", "-p", "MainPID", "--value", "skerry")

    def programs(self, *hosts: str) -> dict[str, list[str]]:
        """The pids of the app's containers on these hosts."""
        return {host: sorted(self.lab.exec(host, ["pgrep", "-x", "httpd"]).stdout.decode().split()) for host in hosts}

    def looks(self, host: str) -> list[str]:
        """The host as it is: what its disk has beyond its base, and all that LOOK prints."""
        written = []
        for place in (self.lab.directory / "layers" / host / "up", self.lab.directory / "hosts" / host / "opt",
                      self.lab.directory / "hosts" / host / "skerry"):  # fmt: skip
            find = [
                "find",
                str(place),
                "-mindepth",
                "1",
                "-not",
                "-path",
                "*/var/log/*",
                "-not",
                "-path",
                "*/var/lib/docker*",
            ]
            find += ["-not", "-path", "*/var/lib/systemd/*", "-not", "-path", "*/var/lib/containerd*"]
            out = subprocess.run([*find, "-printf", "%P %y %m %l %s\n"], capture_output=True, check=True).stdout
            # A folder's size is the file system's affair; that it was written to stays in an overlay for ever.
            written += sorted(line for line in out.decode().splitlines() if line.split()[1] != "d")
        return [*written, *self.said(host, "sh", "-c", LOOK).splitlines()]

    def ps(self) -> list[dict[str, Any]]:
        return [row for row in self.skerry.look(views.ps) if row["app"] == "small"]

    def well(self) -> bool:
        rows = self.ps()
        return len(rows) == 3 and all(row["healthy"] and len(row["claims"]) == 1 for row in rows)

    def up(self) -> list[str]:
        return [host["name"] for host in self.skerry.look(views.hosts) if host["state"] == "up"]

    def where(self, service: str) -> set[str]:
        return {row["node"] for row in self.ps() if row["service"] == service}

    def deploy(self) -> None:
        folder = self.work / "small"
        folder.mkdir()
        (folder / "page.tar").write_bytes(archive(1))
        (folder / "compose.yaml").write_text(APP)
        self.skerry.run("deploy", str(folder / "compose.yaml"))

    def web(self) -> list[str]:
        return [f"{machine.address}:{PORT}" for machine in self.lab.status()]


@contextmanager
def machines(
    name: str, hosts: int, work: Path, base: str = "host", recovery_passphrase: str = "forty-two skerries"
) -> Iterator[Hosts]:
    """A lab of bare machines and a new cloud without any host."""
    if os.geteuid() != 0:
        pytest.skip("whole machines need root")
    lab = Lab(lab_name(name))
    lab.down()
    skerry = Skerry(work / "home", print)
    skerry.environment["SKERRY_RECOVERY_PASSPHRASE"] = recovery_passphrase
    try:
        lab.up(hosts, base)
        skerry.run("init", name, "--recovery-file", str(work / "recovery.age"))
        yield Hosts(lab, skerry, work)
    finally:
        lab.down()
        assert not lab.leftovers()


def differences(before: list[str], after: list[str]) -> list[str]:
    """Lines of one and not of the other, marked as diff does."""
    return [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]


def another_bundle(bundle: Path, folder: Path, version: str, agent: str = "") -> Path:
    """The bundle under another version. `agent`: a shell script in the agent's place; else the same agent.

    The programs' loader and libraries stay those of the version that it was made from, which a host keeps beside it.
    """
    path = folder / f"skerry-agent-{version}.tar.gz"
    with tarfile.open(bundle, "r:gz") as old, tarfile.open(path, "w:gz", compresslevel=1) as new:
        for member in old:
            top, _, rest = member.name.partition("/")
            data = old.extractfile(member) if member.isreg() else None
            member.name = f"{version}/{rest}" if rest else version
            if rest == "bin/skerry-agent" and data is not None:
                text = agent.encode() or data.read().replace(top.encode(), version.encode())
                member.size, data = len(text), io.BytesIO(text)
            new.addfile(member, data)
    return path
