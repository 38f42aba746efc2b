"""Bring the agent onto a host over one SSH session, and take it off again. Every step may be repeated.

Steps look first and change only what differs, so that a second run changes nothing and mends what is broken. Whatever
is put in place is made beside it and renamed: an interruption leaves the old or the new, never a half.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from skerry.errors import Refusal
from skerry.machines.errors import AgentFailed, BundleRefused, RemoteFailed
from skerry.machines.ssh import Ssh

HOME = "/opt/skerry"
STATE = "/var/lib/skerry"
UNIT = "/etc/systemd/system/skerry.service"
TRIAL = "/run/systemd/system/skerry.service.d"  # of an upgrade that is not yet decided
GUARD = "skerry-guard.service"  # decides it
FETCHED = ("objects", "images", "logs", "logs-kept", "events", "net")  # can be had again, or tells of what is gone
BUNDLE_LIMIT_S = 600.0
PURGE_LIMIT_S = 180.0
CGROUPS_LIMIT_S = 5.0
POLL_S = 0.05
GIVE_UP_RESTARTS = 5
VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,63}")
_BUNDLE = re.compile(rf"skerry-agent-({VERSION.pattern})\.tar\.gz")

Progress = Callable[[str], None]


class AgentRefused(Refusal):
    """The agent on the host refused a step, in its own words; its own code is `agent_code`."""

    code = "agent-refused"

    def __init__(self, what: str, why: str, fix: str, agent_code: str) -> None:
        super().__init__(what, why, fix)
        self.agent_code = agent_code


class Install:
    """The agent on one host. `progress` is called with one short line before each thing that is done.

    The order of a first join: bundle, keys, (the operator signs), join, unit, start.
    """

    def __init__(self, ssh: Ssh, progress: Progress = lambda line: None) -> None:
        self.ssh = ssh
        self.progress = progress
        self.done: list[str] = []  # what had to be put right, in words; empty: all was well
        self._changed = False  # the agent must be restarted to run what is there now

    def bundle(self, path: Path) -> bool:
        """Put `skerry-agent-<version>.tar.gz` to /opt/skerry/<version>. False: the same was there already, whole.

        A version whose files are damaged is sent again. Raises BundleRefused.
        """
        match = _BUNDLE.fullmatch(path.name)
        if match is None:
            raise BundleRefused(f"{path.name} is not an agent bundle", "its name is not skerry-agent-VERSION.tar.gz")
        version = match[1]
        place, fresh, old = f"{HOME}/{version}", f"{HOME}/{version}.new", f"{HOME}/{version}.old"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if self._is_whole(place, digest):
            return False
        self.progress(f"sending the agent {version}, {path.stat().st_size / 1e6:.0f} MB")
        self._run("rm", "-rf", "--", fresh, old)
        self._run("mkdir", "-p", "--", fresh)
        with path.open("rb") as file:
            try:
                self.ssh.run(["tar", "-xzf", "-", "--no-same-owner", "-C", fresh], input=file, timeout_s=BUNDLE_LIMIT_S)
            except RemoteFailed as failed:
                raise BundleRefused(
                    "the agent did not arrive", failed.why, "check room and mount options of /opt there: df -h /opt"
                ) from failed
        sums = self._run("find", f"{fresh}/{version}", "-type", "f", "-exec", "sha256sum", "--", "{}", "+")
        if f"{fresh}/{version}/bin/skerry-agent\n".encode() not in sums:
            raise BundleRefused(f"{path.name} is not an agent bundle", "it has no bin/skerry-agent", "make bundle")
        self._write(f"{fresh}/{version}/.sums", sums.replace(f"{fresh}/{version}/".encode(), f"{place}/".encode()))
        self._write(f"{fresh}/{version}/.bundle", f"{digest}\n".encode())
        self._run("sync", "-f", f"{fresh}/{version}/.bundle", timeout_s=BUNDLE_LIMIT_S)
        self._run("chmod", "0755", HOME, f"{fresh}/{version}")
        if self._is_there(place):
            self._run("mv", "-T", "--", place, old)
        self._run("mv", "-T", "--", f"{fresh}/{version}", place)
        self._run("rm", "-rf", "--", fresh, old)
        self._changed = True
        self.done.append(f"agent {version} sent")
        self._prune({version, self._current()})
        return True

    def mend(self, path: Path) -> None:
        """Have an agent there that can clean up after itself: the one that is in use, or else the one in `path`."""
        version = self._current()
        if not (version and self._matches(f"{HOME}/{version}")):
            self.bundle(path)
            self._point(path.name.removeprefix("skerry-agent-").removesuffix(".tar.gz"))

    def keys(self, version: str) -> dict[str, Any]:
        """Public keys of the host, made there at the first call: signing, sealing, wireguard, certificate."""
        answer = self._agent(version, "keys", what="the host made no keys")
        try:
            keys = json.loads(answer)
            if not isinstance(keys, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            raise AgentFailed("the host made no keys", f"its answer can't be read: {error}", _JOURNAL) from None
        return keys

    def join(self, version: str, records: bytes, *, adopt: bool = False) -> None:
        """Hand over the signed records (JSON) that make it a node. `adopt`: also if it is another cloud's.

        Raises AgentRefused.
        """
        more = ["--adopt"] if adopt else []
        self._agent(version, "join", *more, input=records, what="the host was not joined")

    def handover(self, version: str, asked: bytes) -> bytes:
        """What the host holds, runs and can open, for the cloud and the operator that `asked` (JSON) names."""
        return self._agent(version, "handover", input=asked, what="the host handed nothing over")

    def stop(self) -> None:
        """Stop the agent; containers run on, and `start` starts it again."""
        self._run("systemctl", "stop", "--quiet", "skerry.service")

    def unit(self, version: str) -> bool:
        """Write skerry.service and point /opt/skerry/current to `version`. False: both were so already."""
        text = unit_text(version)
        changed = False
        if self._read(UNIT) != text:
            self.progress("writing skerry.service")
            self._write(UNIT, text)
            self._run("systemctl", "daemon-reload")
            self.done.append("skerry.service written")
            changed = True
        if self._is_there(TRIAL):  # an upgrade whose guard is gone: what is signed and sent now is what shall run
            self._run("systemctl", "stop", "--quiet", GUARD)
            self._run("rm", "-rf", "--", TRIAL)
            self._run("systemctl", "daemon-reload")
            changed = True
        if self._current() != version:
            self._point(version)
            changed = True
        self._changed = self._changed or changed
        return changed

    def start(self, timeout_s: float = 30.0) -> None:
        """Have the current version enabled and running; nothing is done if it is. Waits until the agent is ready.

        Raises AgentFailed with the agent's last words.
        """
        shown = self._show()
        if shown["UnitFileState"] != "enabled":
            self._run("systemctl", "enable", "--quiet", "skerry.service")
            self.done.append("skerry.service enabled")
        pid = shown["MainPID"]
        command = self._read(f"/proc/{pid}/cmdline") if pid != "0" else b""
        right = f"{HOME}/{self._current()}/bin/skerry-agent".encode() in command.split(b"\0")
        if self._changed or not right or shown["ActiveState"] != "active":
            self.restart(timeout_s)

    def restart(self, timeout_s: float = 30.0) -> None:
        """Start the agent anew; containers are untouched. Waits until it is ready. Raises AgentFailed."""
        self.progress("starting the agent")
        before = self._show()
        self._run("systemctl", "restart", "--no-block", "skerry.service")
        end = time.monotonic() + timeout_s
        shown = before
        while time.monotonic() < end:
            shown = self._show()
            if shown["ActiveState"] == "active" and shown["InvocationID"] != before["InvocationID"]:
                self._changed = False
                self.done.append("agent started")
                return
            if shown["ActiveState"] == "failed" and shown["InvocationID"] != before["InvocationID"]:
                break  # it won't be tried again
            if int(shown["NRestarts"]) - int(before["NRestarts"]) >= GIVE_UP_RESTARTS:
                break
            time.sleep(POLL_S)
        journal = ("journalctl", "-n", "8", "-o", "cat", "--no-pager", "-q")
        words = self._run(*journal, "_SYSTEMD_UNIT=skerry.service")  # what it said itself; else what systemd says of it
        words = words or self._run(*journal, "-u", "skerry.service")
        raise AgentFailed(
            "the agent does not start",
            f"systemd says {shown['ActiveState']} ({shown['SubState']}); its last words: "
            + words.decode(errors="replace").strip().replace("\n", " | ")[-1500:],
            _JOURNAL,
        )

    def status(self) -> dict[str, str]:
        """`active` (systemd's word), `version` and `since`; all "" where nothing is installed."""
        version = self._current()
        if not version:
            return {"active": "", "version": "", "since": ""}
        shown = self._show()
        return {"active": shown["ActiveState"], "version": version, "since": shown["ActiveEnterTimestamp"]}

    def node(self) -> dict[str, str]:
        """What the host believes to be: `cloud`, `node`, `network`; `subnet` if it holds container addresses. {}: none."""
        text = self._read(f"{STATE}/node.json")
        try:
            node = {key: str(value) for key, value in json.loads(text).items()} if text else {}
        except (ValueError, AttributeError, RecursionError):
            return {}
        try:
            held = json.loads(self._read(f"{STATE}/net/addresses.json"))["held"].values()
            node["subnet"] = str(ipaddress.IPv4Network(f"{next(iter(held))}/24", strict=False))
        except (ValueError, KeyError, AttributeError, TypeError, StopIteration, RecursionError):
            pass  # no container has an address: any subnet will do
        return node

    def rm(self, *, purge: bool = False) -> list[str]:
        """Take it all off; `purge` also removes keys, records and volumes in /var/lib/skerry. Says what was removed.

        Without it they stay there, so that the host may come back as who it was and with its data.

        Raises AgentFailed if the agent could not clean up after itself: then its files are still there, to do it again.
        """
        removed = []
        version = self._current()
        self._holds("systemctl", "stop", "--quiet", GUARD)
        if self._show()["ActiveState"] != "inactive":
            self.progress("stopping the agent")
            self._run("systemctl", "stop", "--quiet", "skerry.service", timeout_s=PURGE_LIMIT_S)
        if self._is_there(UNIT):
            self._holds("systemctl", "disable", "--quiet", "skerry.service")
        if version:
            self.progress("ending its containers, taking its rules and tunnel away")
            try:
                self._agent(version, "purge", timeout_s=PURGE_LIMIT_S)
            except RemoteFailed as failed:
                raise AgentFailed(
                    "the host is not cleaned up", failed.why, "mend the agent first: skerry host add; then again"
                ) from failed
            removed.append("containers, rules and tunnel")
        if self._is_there(UNIT):
            self._holds("systemctl", "reset-failed", "--quiet", "skerry.service")
            self._run("rm", "-rf", "--", UNIT, TRIAL)
            self._run("systemctl", "daemon-reload")
            removed.append("skerry.service")
            self._empty_cgroups()
        fetched = [f"{STATE}/{name}" for name in FETCHED]
        for place in (HOME, "/run/skerry", *([STATE] if purge else fetched)):
            if self._is_there(place):
                self._empty(place)
                removed.append(place)
        return removed

    def kept(self) -> list[str]:
        """What `rm` without `purge` has left, in words: volumes by name, keys."""
        places = [f"{STATE}/keys", f"{STATE}/volumes"]
        listed = self._run("find", STATE, "-mindepth", "1", "-maxdepth", "3", "-type", "d", "-printf", "%P\\n").decode()
        inside = [line.split("/") for line in listed.splitlines()]
        found = [f"volume {app}/{name} in {places[1]}" for top, app, name in (i for i in inside if len(i) == 3)
                 if top == "volumes"]  # fmt: skip
        return [*sorted(found), *([f"keys in {places[0]}"] if ["keys"] in inside else [])]

    def _empty_cgroups(self) -> None:
        """The unit's own: systemd forgets them with the unit, if its last process (wireguard-go) was still ending then."""
        mine = ("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/system.slice/skerry.service*")
        end = time.monotonic() + CGROUPS_LIMIT_S
        while self._run(*mine) and time.monotonic() < end:
            self._holds(*mine, "-exec", "rmdir", "{}", "+")

    def _empty(self, place: str) -> None:
        """Remove a directory; never beyond what is mounted in it; the directory itself stays if it is a mount."""
        self._run("find", place, "-xdev", "-mindepth", "1", "-delete", timeout_s=PURGE_LIMIT_S)
        self._run("find", place, "-maxdepth", "0", "-empty", "-exec", "rmdir", "--ignore-fail-on-non-empty", "{}", ";")

    def _prune(self, keep: set[str]) -> None:
        """Versions that nobody goes back to: all but the one that runs and the one that came."""
        listed = self._run("find", HOME, "-mindepth", "1", "-maxdepth", "1", "-type", "d", "-printf", "%f\\n").decode()
        for version in listed.split():
            if VERSION.fullmatch(version) and version not in keep:
                self._run("rm", "-rf", "--", f"{HOME}/{version}")

    def _point(self, version: str) -> None:
        """/opt/skerry/current names the version in use."""
        self._run("ln", "-sfnT", "--", version, f"{HOME}/current.new")
        self._run("mv", "-T", "--", f"{HOME}/current.new", f"{HOME}/current")

    def _is_whole(self, place: str, digest: str) -> bool:
        return self._read(f"{place}/.bundle").strip() == digest.encode() and self._matches(place)

    def _matches(self, place: str) -> bool:
        """Whether every file is as it was sent."""
        return self._holds("sha256sum", "--check", "--quiet", "--strict", f"{place}/.sums", timeout_s=BUNDLE_LIMIT_S)

    def _agent(
        self, version: str, *argv: str, input: bytes | None = None, what: str = "", timeout_s: float = 60.0
    ) -> bytes:
        """Run one verb of the agent. Raises AgentRefused with its words, or RemoteFailed if they are not its."""
        program = f"{HOME}/{_checked(version)}/bin/skerry-agent"
        try:
            verb, *more = argv
            return self.ssh.run([program, verb, "--state", STATE, *more], input=input, timeout_s=timeout_s, what=what)
        except RemoteFailed as failed:
            try:
                error = json.loads(failed.stderr.splitlines()[-1])["error"]
                words = [str(error[key]) for key in ("what", "why", "fix", "code")]
            except (ValueError, LookupError, TypeError, RecursionError):
                raise failed from None
            raise AgentRefused(*words) from None

    def _show(self) -> dict[str, str]:
        names = ["ActiveState", "SubState", "MainPID", "UnitFileState", "InvocationID", "NRestarts"]
        names += ["ActiveEnterTimestamp"]
        text = self._run("systemctl", "show", "-p", ",".join(names), "skerry.service").decode(errors="replace")
        shown = dict.fromkeys(names, "") | {"MainPID": "0", "NRestarts": "0"}
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key in shown and value:
                shown[key] = value
        return shown

    def _current(self) -> str:
        """The version that /opt/skerry/current points to; "" if there is none."""
        try:
            version = self._run("readlink", "--", f"{HOME}/current").decode(errors="replace").strip()
        except RemoteFailed:
            return ""
        return version if VERSION.fullmatch(version) else ""

    def _is_there(self, path: str) -> bool:
        return self._holds("test", "-e", path)

    def _holds(self, *argv: str, timeout_s: float = 60.0) -> bool:
        """Whether the command ends well."""
        try:
            self._run(*argv, timeout_s=timeout_s)
        except RemoteFailed:
            return False
        return True

    def _read(self, path: str) -> bytes:
        """The file's content; empty if there is no such file."""
        try:
            return self._run("cat", "--", path)
        except RemoteFailed:
            return b""

    def _write(self, path: str, data: bytes) -> None:
        self._run("dd", f"of={path}.new", "status=none", input=data)
        self._run("mv", "-T", "--", f"{path}.new", path)

    def _run(self, *argv: str, input: bytes | None = None, timeout_s: float = 60.0) -> bytes:
        return self.ssh.run(argv, input=input, timeout_s=timeout_s)


_JOURNAL = "read its journal there: journalctl -u skerry"


def unit_text(version: str) -> bytes:
    """skerry.service for this version."""
    template = resources.files("skerry.machines").joinpath("skerry.service").read_text(encoding="utf-8")
    return template.replace("@VERSION@", _checked(version)).encode()


def _checked(version: str) -> str:
    """It becomes part of paths on the host."""
    if not VERSION.fullmatch(version):
        raise BundleRefused(
            f"{version!r} is not a version", "it has letters, digits, dots, plus and dash", "make bundle"
        )
    return version
