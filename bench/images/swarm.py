"""One host has an image of 50 MB, 29 others want it at once, and each line carries 20 Mbit/s each way.

`python -m bench.images.swarm [--hosts 30] [--mb 50] [--mbit 20]`, or the part `swarm` of `make bench-images`. Each host is a
process in a network namespace of its own, behind a token bucket of the kernel; what it sends is counted where it leaves. On disk
nothing is synced: thirty hosts don't share a disk. Two figures: what the first host sends, over what it sends to a single host;
and how long it takes until all have it, over how long a single one takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cloud import ROOT
from skerry.agent.files import HostFiles
from skerry.agent.images.bundles import Bundles
from skerry.agent.images.gathering import Gathering
from skerry.agent.images.giving import Giving
from skerry.agent.images.parts import FileParts
from skerry.agent.images.stock import Stocks
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble
from skerry.image.trees import Images
from skerry.mesh.links import Mesh, PeerAddress
from skerry.store.objects import ObjectStore

PREFIX = "sksw"
NET = "10.94.7"
PORT = 7077
LIMIT_S = 400.0


def measure(tell: Callable[[str], None], *, hosts: int = 30, mb: float = 50.0, mbit: int = 20) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="swarm-") as directory, Lines(hosts, mbit) as lines:
        image = make_image(Path(directory) / "1", round(mb * 1e6))
        one = Run(Path(directory), lines, image, [1, 2])
        tell(f"one host: {one.seconds:.1f} s, {one.sent_mb:.1f} MB sent by the first")
        shutil.rmtree(Path(directory) / "2")
        all_ = Run(Path(directory), lines, image, list(range(1, hosts + 1)))
        tell(f"{hosts - 1} hosts: {all_.seconds:.1f} s, {all_.sent_mb:.1f} MB sent by the first")
    return {
        "swarm_upload_ratio": round(all_.sent_mb / one.sent_mb, 3),
        "swarm_time_ratio": round(all_.seconds / one.seconds, 3),
        "swarm_upload_vs_size": round(all_.sent_mb / mb, 3),
        "swarm_one_s": round(one.seconds, 1),
        "swarm_s": round(all_.seconds, 1),
        "swarm_most_sent_mb": round(all_.most_sent_mb, 1),
        "swarm_hosts": hosts,
    }


def make_image(home: Path, size: int) -> str:
    """Of files that don't pack: 3 of 7 MB, the rest of 1 to 60 KiB, as an application has them."""
    objects, chance, entries, left = ObjectStore(home, durable=False), random.Random(1), [], size
    while left > 0:
        length = min(left, 7_000_000 if len(entries) < 3 and size > 30_000_000 else chance.randrange(1, 60) << 10)
        data = chance.randbytes(length)
        entries.append(Entry(f"usr/lib/app/{len(entries):05}", "f", 0o644, sha256=objects.put(data), size=length))
        left -= length
    image = assemble(tree_of(entries), ImageConfig(entrypoint=("/usr/bin/app",)), objects.read)
    for document in (image.manifest, image.config, image.tree.encode()):
        objects.put(document)
    return image.digest


class Lines:
    """A namespace for each host, on one bridge; both ends of its line are held to the rate."""

    def __init__(self, hosts: int, mbit: int) -> None:
        self.hosts, self.mbit = hosts, mbit

    def __enter__(self) -> Lines:
        self.__exit__()
        run("ip", "link", "add", f"{PREFIX}br", "type", "bridge")
        run("ip", "link", "set", f"{PREFIX}br", "up")
        for n in range(1, self.hosts + 1):
            ns, line = f"{PREFIX}{n}", f"{PREFIX}v{n}"
            run("ip", "netns", "add", ns)
            run("ip", "link", "add", line, "type", "veth", "peer", "name", "eth0", "netns", ns)
            run("ip", "link", "set", line, "master", f"{PREFIX}br", "up")
            run("ip", "-n", ns, "addr", "add", f"{NET}.{n}/24", "dev", "eth0")
            run("ip", "-n", ns, "link", "set", "eth0", "up")
            run("ip", "-n", ns, "link", "set", "lo", "up")
            bucket = ("root", "tbf", "rate", f"{self.mbit}mbit", "burst", "64k", "latency", "50ms")
            run("tc", "qdisc", "add", "dev", line, *bucket)
            run("tc", "-n", ns, "qdisc", "add", "dev", "eth0", *bucket)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            for ns in Path("/run/netns").iterdir():
                if ns.name.startswith(PREFIX) and ns.name[len(PREFIX) :].isdigit():
                    subprocess.run(["ip", "netns", "del", ns.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{PREFIX}br"], check=False, capture_output=True)

    def sent_bytes(self, n: int) -> int:
        """What came out of this host's line so far: all of it, with heads, TLS and acknowledgements."""
        return int(Path(f"/sys/class/net/{PREFIX}v{n}/statistics/rx_bytes").read_text())


class Run:
    """The first of these hosts has the image, the others fetch it, all at the same time."""

    def __init__(self, directory: Path, lines: Lines, image: str, hosts: list[int]) -> None:
        peers = {}
        for n in hosts:
            files = HostFiles(directory / str(n))
            files.make_keys()
            peers[f"node/{n}"] = [files.certificate.hex(), f"{NET}.{n}:{PORT}"]
        spec = directory / "spec.json"
        spec.write_text(json.dumps({"image": image, "source": f"node/{hosts[0]}", "peers": peers}))
        workers = [
            subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    f"{PREFIX}{n}",
                    sys.executable,
                    "-m",
                    "bench.images.swarm",
                    "--host",
                    str(n),
                    str(directory),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for n in hosts
        ]
        try:
            for worker in workers:
                self._line(worker, "ready")
            before = {n: lines.sent_bytes(n) for n in hosts}
            begun_s = time.monotonic()
            for worker in workers[1:]:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            for worker in workers[1:]:
                self._line(worker, "done")
            self.seconds = time.monotonic() - begun_s
            sent = {n: (lines.sent_bytes(n) - before[n]) / 1e6 for n in hosts}
            self.sent_mb, self.most_sent_mb = sent[hosts[0]], max(sent.values())
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

    def _line(self, worker: subprocess.Popen[str], wanted: str) -> None:
        assert worker.stdout is not None
        line = worker.stdout.readline().strip()
        assert line == wanted, f"a host said {line!r} instead of {wanted!r}"


async def host(directory: Path, n: int) -> None:
    """One process: the rooms of an agent that images come through, and nothing else."""
    spec = json.loads((directory / "spec.json").read_text())
    me, files = f"node/{n}", HostFiles(directory / str(n))
    objects = ObjectStore(files.state, durable=False)
    images = Images(objects, files.images)
    stocks = Stocks(images, objects, FileParts(files.state / "parts"))
    gathering: Gathering | None = None

    def met(image: str, peer: str) -> None:
        if gathering is not None:
            gathering.meet([peer])

    mesh = Mesh(
        me,
        files.certificate,
        files.private_pem(),
        files.state / "keys",
        on_link=lambda *change: None,
        on_frame=lambda peer, data: None,
        handlers={"/image": lambda stream, who: giving.serve(stream, who)},
    )
    giving = Giving(stocks, Bundles(objects, mesh, lambda work: None, lambda: 1 << 40), met)
    mesh.set_peers({p: PeerAddress(bytes.fromhex(k), (a,), False) for p, (k, a) in spec["peers"].items() if p != me})
    await mesh.serve(f"{NET}.{n}", PORT)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    stock = await stocks.begin(spec["image"])
    told: list[str] = []
    gathering = Gathering(me, stock, stocks, mesh.open, lambda error, peer: told.append(str(error)))
    async with asyncio.timeout(LIMIT_S):
        await gathering.run([spec["source"]])
    stocks.end(spec["image"])
    assert not images.missing(spec["image"])
    print("done" if not told else f"done, but {told}", flush=True)
    await asyncio.sleep(LIMIT_S)  # others still ask; ended by who started us


def run(*args: str) -> None:
    subprocess.run(args, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=30)
    parser.add_argument("--mb", type=float, default=50.0)
    parser.add_argument("--mbit", type=int, default=20)
    parser.add_argument("--host", type=int, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("directory", type=Path, nargs="?", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.host:
        asyncio.run(host(args.directory, args.host))
        return
    figures = measure(lambda line: print(line, flush=True), hosts=args.hosts, mb=args.mb, mbit=args.mbit)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
