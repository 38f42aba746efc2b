"""The simulator of one lab as a process of its own: in the lab's network, where hosts reach it, and gone with the lab.

It listens in the namespace of the lab's wires and nowhere on this machine: the API at .253, the metadata service at
169.254.169.254. It is in the lab's cgroup, by which `skerry lab down` finds and ends it.
"""

from __future__ import annotations

import logging
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from skerry.lab import cgroups, firstboot, state
from skerry.lab.errors import LabFailed, LabNotInTime
from skerry.lab.lab import Lab
from skerry.lab.ocean.droplets import Pace
from skerry.lab.ocean.machines import LabMachines
from skerry.lab.ocean.serving import Server
from skerry.lab.ocean.simulator import Simulator
from skerry.lab.programs import run

START_LIMIT_S = 30.0
CGROUP = "_ocean"


class Place(msgspec.Struct, frozen=True):
    """How to reach it. `token`: with every scope; `control`: for seeing and breaking; `ca`: PEM, "" without TLS."""

    endpoint: str
    token: str
    control: str
    ca: str = ""


class Job(msgspec.Struct, frozen=True):
    lab: str
    directory: str
    tls: bool
    pace: Pace


def start(lab: Lab, *, pace: Pace, tls: bool = False) -> Place:
    """Serve, if it is not served already, until the lab is taken down. Raises LabNotUp, LabNotInTime."""
    state.load(lab.directory, lab.name)
    place = lab.directory / "ocean"
    with state.locked(lab.directory):
        if cgroups.processes(lab.name, CGROUP):
            return _wait(place, None)
        firstboot.programs(lab.directory / "layers", lab.directory.parent / ".base")
        place.mkdir(mode=0o700, exist_ok=True)
        (place / "place.json").unlink(missing_ok=True)
        job = Job(lab=lab.name, directory=str(lab.directory), tls=tls, pace=pace)
        with open(place / "log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "skerry.lab.ocean.process"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdin
        process.stdin.write(msgspec.json.encode(job))
        process.stdin.close()
        return _wait(place, process)


def _wait(place: Path, process: subprocess.Popen[bytes] | None) -> Place:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if (place / "place.json").exists():
            return msgspec.json.decode((place / "place.json").read_bytes(), type=Place)
        if process and process.poll() is not None:
            words = (place / "log").read_text(errors="replace").strip()[-2000:]
            raise LabFailed("the provider did not start", words, "skerry lab down")
        time.sleep(0.02)
    raise LabNotInTime("the provider did not start", f"it said nothing in {START_LIMIT_S:.0f} s", "skerry lab down")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    directory = Path(job.directory)
    cgroups.make(job.lab, CGROUP)
    cgroups.join(job.lab, CGROUP)
    lab = Lab(job.lab, directory)
    wires, lab_state = directory / "wires", state.load(directory, job.lab)
    address = lab_state.provider
    batch = f"link set dev bridge0 address {lab_state.provider_mac}\n"  # else it is its ports' lowest, and so changes with hosts
    batch += "".join(f"addr replace {each} dev bridge0\n" for each in (f"{address}/24", f"{firstboot.METADATA}/32"))
    run(["nsenter", f"--net={wires}", "ip", "-batch", "-"], input=batch)
    context: ssl.SSLContext | None = None
    ca = ""
    if job.tls:
        from skerry.lab.ocean.tls import context as make_context  # a library that is large, and rarely wanted here

        context, ca = make_context(directory / "ocean", address)
    token = f"dop_v1_{secrets.token_hex(32)}"
    simulator = Simulator(LabMachines(lab), pace=job.pace, tokens={token: None})
    api = Server(simulator, (address, 443 if job.tls else 80), wires=wires, tls=context).start()
    data = Server(simulator, (firstboot.METADATA, 80), metadata=True, wires=wires).start()
    place = Place(f"{'https' if job.tls else 'http'}://{address}", token, simulator.control, ca)
    ready = directory / "ocean/place.json.new"
    ready.write_bytes(msgspec.json.encode(place))
    ready.replace(directory / "ocean/place.json")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    for server in (api, data):
        server.stop()
    simulator.close()


if __name__ == "__main__":
    main()
