"""Looking in from outside on a host whose kernel is Debian's own: pure cgroup v2, perf_event_paranoid 3,
BPF, its own kernel.core_pattern.

The lab's hosts can't show these: they share this machine's kernel. What a tool is told there is kept with the figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from demo.skerry import Skerry

from skerry.client.session import Session
from skerry.core.intent import Operator, Root
from soak.guest import Guest

WAIT_S = 300.0
TOOL_S = 60  # of an emulated processor
COMPOSE = """\
name: dies
services:
  one:
    x-skerry: {image: {recipe: python, context: web, entrypoint: [python3, -c, "import os, time; time.sleep(3); os.abort()"]}}
    ulimits: {core: -1}
    deploy:
      placement: {constraints: [node.labels.kernel == own]}
      resources: {limits: {memory: 64M}}
      restart_policy: {condition: on-failure, delay: 20s}
  elsewhere:
    x-skerry: {image: {recipe: python, context: web, entrypoint: [python3, -c, "import time; time.sleep(9999)"]}}
    ulimits: {core: -1}
    deploy:
      placement: {constraints: [node.labels.kernel != own]}
      resources: {limits: {memory: 64M}}
"""
SLOT = "v2.web/0"
TRACE = "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); } interval:s:3 { exit(); }"
PATTERN = "cat /proc/sys/kernel/core_pattern /proc/sys/kernel/core_pipe_limit /proc/sys/kernel/perf_event_paranoid"


class Outside:
    """`figures`: what was seen; `app`: a guestbook's folder, for a compose file of its own."""

    def __init__(self, skerry: Skerry, guest: Guest, work: Path, figures: dict[str, Any]) -> None:
        self.skerry, self.guest, self.work, self.figures = skerry, guest, work, figures

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        return [
            ("figures of cgroup v2 are known", self._metrics),
            ("a core at a crash", self._core),
            ("the kernel's setting is put back", self._put_back),
            ("strace and gdb beside a container", self._traced),
            ("py-spy and perf beside a container", self._profiled),
            ("bpftrace on the host", self._bpf),
        ]

    def _metrics(self) -> None:
        self.skerry.run("scale", "v2.hungry", "0")  # it has done its part: its starts are half of an emulated processor

        def known() -> dict[str, float]:
            rows = self.skerry.json("metrics", SLOT, "guest", "--since", "2m")["series"]
            latest = {row["name"]: [v for v in row["values"] if v is not None][-1:] for row in rows}
            return {name: values[0] for name, values in latest.items() if values}

        wanted = {"memory_bytes", "cpu_cores", "cpu_pressure_share", "memory_pressure_share", "io_pressure_share", "oom_kills",
                  "cpu_throttled_share", "pids", "load1"}  # fmt: skip
        self.skerry.wait("the figures of a container and its host", lambda: wanted <= set(known()), WAIT_S)
        self.figures["metrics"] = {name: float(f"{value:.3g}") for name, value in sorted(known().items())}

    def _core(self) -> None:
        (self.work / "app/compose.yaml").write_text(COMPOSE)
        self.skerry.run("deploy", str(self.work / "app/compose.yaml"), "--detach")
        rows = self.skerry.wait("a core", lambda: self.skerry.json("cores", "ls", "dies"), WAIT_S)
        assert (rows[-1]["node"], rows[-1]["cut"], rows[-1]["comm"]) == ("guest", "", "python3"), rows
        out = self.work / "dies.core"
        self.skerry.run("cores", "get", f"dies.one/0:{rows[-1]['name']}", "-w", str(out))
        assert out.stat().st_size == rows[-1]["size_bytes"], rows
        crash = self.skerry.wait(
            "the crash that has it", lambda: [r for r in self.skerry.json("crashes", "dies") if r["cores"]], WAIT_S
        )
        facts = self.guest.ssh(PATTERN).split("\n")
        self.figures["core"] = {
            "bytes": rows[-1]["size_bytes"],
            "kept": rows[-1]["kept_bytes"],
            "exit": crash[0]["exit_code"],
        }
        self.figures["settings"] = facts[:3]
        assert "skerry-core" in facts[0], facts
        self.skerry.wait(
            "a host that keeps none to say so", self._unkept, WAIT_S
        )  # a lab host shares this machine's kernel

    def _crash(self) -> list[dict[str, Any]]:
        return [row for row in self.skerry.json("crashes", "dies") if row["cores"]]

    def _unkept(self) -> bool:
        lines = [line for line in self.skerry.run("doctor", ok=False, quiet=True).splitlines() if " cores " in line]
        return len(lines) == 1 and "guest" not in lines[0] and "shares its kernel" in lines[0]

    def _tool(self, *words: str) -> str:
        """What it printed. Raises CommandFailed."""
        begun_s = time.monotonic()
        said = self.skerry.run(*words)
        self.figures.setdefault("tools", {})[" ".join(words)[:60]] = round(time.monotonic() - begun_s, 1)
        return said

    def _traced(self) -> None:
        self.skerry.run("tools", "build", "base")
        said = self._tool("trace", SLOT, "--limit", "5s", "--count")
        assert "calls" in said, said
        said = self._tool("debug", SLOT, "--limit", f"{TOOL_S}s", "--", "gdb", "-batch", "-p", "{pid}", "-ex", "bt 1")
        assert "#0" in said, said
        self._tool("core", SLOT, "--keep")
        assert [row["by"] for row in self.skerry.json("cores", "ls", SLOT)] == ["request"]

    def _profiled(self) -> None:
        self.skerry.run("tools", "build", "python")
        self._tool("profile", SLOT, "--seconds", "5", "--waiting", "-o", str(self.work / "spy.svg"))
        assert "<svg" in (self.work / "spy.svg").read_text()
        self.skerry.run("tools", "build", "perf")
        self._tool("profile", SLOT, "--by", "perf", "--seconds", "5", "-o", str(self.work / "perf.svg"))
        assert "<svg" in (self.work / "perf.svg").read_text()

    def _bpf(self) -> None:
        async def operators(session: Session) -> tuple[Operator, ...]:
            root = session.trusted.root
            assert root is not None and isinstance(root.body, Root)
            return root.body.operators

        (self.work / "me.pub").write_bytes(msgspec.json.encode(self.skerry.look(operators)[0]))
        self.skerry.run("role", "add", "debug-host", "hosts", "--key", str(self.work / "me.pub"), "--host", "guest")
        self.skerry.run("tools", "build", "bpf")
        said = self._tool(
            "debug", "--host", "guest", "--tools", "bpf", "--limit", f"{4 * TOOL_S}s", "--", "bpftrace", "-e", TRACE
        )
        assert "@[" in said, said

    def _put_back(self) -> None:
        self.skerry.run("rm", "dies")
        self.skerry.wait(
            "core_pattern as it was", lambda: self.guest.ssh(PATTERN).split("\n")[:2] == ["core", "0"], WAIT_S
        )
