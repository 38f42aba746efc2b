"""The simulator of DigitalOcean without sockets and on a clock that the test moves, and a client of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import httpx

from skerry.lab.ocean import Pace, Simulator
from skerry.lab.ocean.faults import Broken
from skerry.lab.ocean.limits import Limits
from skerry.machines.contract import Order
from skerry.machines.digitalocean import DigitalOcean

TOKEN = "dop_v1_" + "5ec2e7" * 10
ENDPOINT = "http://127.0.0.1:9"  # nothing listens: what is asked goes to the simulator by hand
NOW_S = 1_795_737_600.0


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


class ByHand(httpx.BaseTransport):
    """Gives requests to a simulator, and breaks as a connection does."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        target = request.url.raw_path.decode()
        self.asked.append(f"{request.method} {target}")
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            answer = self.simulator.answer(request.method, target, headers, request.read())
        except Broken as broken:
            if broken.hang:
                raise httpx.ReadTimeout("it hangs", request=request) from None
            raise httpx.RemoteProtocolError("the connection is cut", request=request) from None
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body))


class Sea:
    """One simulator, its clock, and clients of it."""

    def __init__(
        self,
        *,
        pace: Pace | None = None,
        limits: Limits | None = None,
        scopes: Collection[str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = Clock()
        self.simulator = Simulator(clock=self.clock, pace=pace, limits=limits, tokens={TOKEN: scopes}, control="c")
        self.wire = ByHand(self.simulator)
        self.provider = self.client(TOKEN, **(options or {}))

    def client(self, token: str, **options: str) -> DigitalOcean:
        return DigitalOcean(token, ENDPOINT, options, pause=self.clock.pause, transport=self.wire)

    def rows(self) -> list[dict[str, Any]]:
        """What is there in truth, and is paid for."""
        return [row for row in self.simulator.state()["droplets"] if row["there"]]


def order(index: int = 0, **changes: Any) -> Order:
    wanted: dict[str, Any] = {
        "name": f"sk-c0ffee-burst-{index}",
        "size": "s-1vcpu-1gb",
        "region": "ams3",
        "image": "debian-12-x64",
        "user_data": "#!/bin/sh\ntrue\n",
        "tags": ("skerry:c0ffee", "skerry-pool:c0ffee-burst"),
    }
    return Order(**wanted | changes)
