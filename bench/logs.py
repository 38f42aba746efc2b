"""`skerry logs` over thirty hosts with 10,000 lines each: hosts in several processes, the real command, all lines on its output."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from agent.small import SmallCloud
from skerry.agent.logs.tails import Asked, Tails
from skerry.agent.streams import Streams
from skerry.mesh.links import Mesh
from skerry.observe.logstore import LogStore, pack
from skerry.trust.accept import Trusted
from skerry.trust.requests import Request

HOSTS, LINES, PROCESSES = 30, 10_000, 4
COMMAND = str(Path(sys.executable).with_name("skerry"))
PLAIN = "GET /shop/basket?item={n}&colour=blue HTTP/1.1 200 1532 0.004"
AS_JSON = '{{"level":"info","time":"2026-11-27T06:00:00Z","msg":"basket shown","item":{n},"colour":"blue","ms":4}}'


def fill(cloud: SmallCloud, hosts: int, lines: int, form: str) -> None:
    """Each host kept the lines of one replica; in time they lie between one another's."""
    for host, files in enumerate(cloud.files.values()):
        files.kept_logs.mkdir(parents=True, exist_ok=True)
        store = LogStore(files.kept_logs)
        blocks = []
        for begin in range(0, lines, 1000):
            text = "".join(
                f"2026-11-27T{6 + at // 3_600_000:02}:{at // 60_000 % 60:02}:{at // 1000 % 60:02}.{at % 1000:03}{host:06}+00:00"
                f" stdout F {form.format(n=n)}\n"
                for n in range(begin, begin + 1000)
                for at in [n * 17]
            )
            blocks.append(pack(text.encode()))
        store.append(f"shop.web/{host}", blocks)


class Host:
    """What serves `logs` on a host, of the real parts: links, signed requests, the reader, the store. Nothing gossips beside it, or
    thirty agents on this one machine would measure themselves.
    """

    def __init__(self, cloud: SmallCloud, name: str) -> None:
        files = cloud.files[name]
        self.me = f"node/{name}"
        self.trusted = Trusted(cloud.cloud)
        for raw in cloud.records:
            self.trusted.commit(self.trusted.judge(raw, now_s=time.time()), raw, time.time())
        self.clock = self.links = self
        self._store = LogStore(files.kept_logs)
        self._port = cloud.ports[name]
        self._mesh = Mesh(
            self.me, files.certificate, files.private_pem(), files.state / "keys",
            on_link=lambda *change: None, on_frame=lambda peer, data: None,
            handlers={"/request": Streams(self).request},  # type: ignore[arg-type]
        )  # fmt: skip
        self._mesh.set_clients(self.trusted.client_certificates())
        self.server = self

    async def begin(self) -> None:
        await self._mesh.serve("127.0.0.1", self._port)

    async def answer(self, request: Request) -> AsyncGenerator[Any]:
        tails = Tails(Nothing(), self._store, self.me, list)  # type: ignore[arg-type]
        async with contextlib.aclosing(tails.answer(msgspec.convert(request.args, Asked), request)) as batches:
            async for batch in batches:
                yield batch

    def wall_s(self) -> float:
        return time.time()

    def tell(self, *words: object) -> None:
        print(*words, file=sys.stderr)


class Nothing:
    """Containers of a host that runs none: all lines are in the store."""

    def with_logs(self) -> list[tuple[str, str]]:
        return []


async def _serve(cloud: SmallCloud, names: list[str], ready: int) -> None:
    hosts = [Host(cloud, name) for name in names]
    for host in hosts:
        await host.begin()
    os.write(ready, b"x")
    await asyncio.Event().wait()


def serve(cloud: SmallCloud, processes: int) -> list[int]:
    """The agents, in processes of their own; gives their pids once all are up."""
    names = list(cloud.files)
    read, write = os.pipe()
    pids = []
    for n in range(processes):
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(_serve(cloud, names[n::processes], write))
            finally:
                os._exit(1)
        pids.append(pid)
    for _ in pids:
        os.read(read, 1)
    return pids


def command(home: Path, *words: str) -> tuple[float, float, int, bytes]:
    """(seconds, seconds of its own CPU, lines on its output, the beginning)."""
    with tempfile.TemporaryFile() as out:
        begun_s, before = time.monotonic(), os.times()
        subprocess.run([COMMAND, "logs", *words], env={**os.environ, "SKERRY_HOME": str(home)}, stdout=out, check=True)
        took_s, after = time.monotonic() - begun_s, os.times()
        out.seek(0)
        data = out.read()
        used_s = after.children_user + after.children_system - before.children_user - before.children_system
        return took_s, used_s, data.count(b"\n"), data[:200]


def measure(hosts: int = HOSTS, lines: int = LINES, form: str = PLAIN, runs: int = 5) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="skr-logs-") as folder:
        cloud = SmallCloud(Path(folder) / "cloud", hosts)
        fill(cloud, hosts, lines, form)
        cloud.home(Path(folder) / "home")
        pids = serve(cloud, PROCESSES)
        try:
            figures: dict[str, Any] = {}
            for name, words in (
                ("all", ["--tail", str(hosts * lines)]),
                ("last_10000", ["--tail", "10000"]),
                ("last_100", []),
                ("grep", ["--tail", "10000", "--grep", "item=4711&"]),
            ):
                times = [command(Path(folder) / "home", *words) for _ in range(runs)]
                figures[f"logs_{name}_s_best"] = round(min(took for took, *_ in times), 2)
                figures[f"logs_{name}_s_median"] = round(sorted(took for took, *_ in times)[runs // 2], 2)
                figures[f"logs_{name}_client_cpu_s"] = round(min(used for _, used, *_ in times), 2)
                figures[f"logs_{name}_lines"] = times[0][2]
            return figures
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)


if __name__ == "__main__":
    print(json.dumps(measure(form=AS_JSON if "json" in sys.argv[1:] else PLAIN), indent=2))
