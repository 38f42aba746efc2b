"""How long a container takes from core's decision to its first HTTP answer, against the same one made by hand.

Both happen in one process on a lab host, in turns (start_inside.py, run by the bundle's own Python): there the whole agent
runs as on any host, and between two of its starts the same container is made by `mount`, `ip`, `nft`, conmon and the
runtime, as somebody would do it who knows all names and numbers beforehand.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from bench.cloud import Cloud
from bench.static_server import APP, write_compose
from skerry.core.intent import Release

ROUNDS = 60
INSIDE = Path(__file__).with_name("start_inside.py")
HOST = "vps-1"


def measure(cloud: Cloud, rounds: int = ROUNDS) -> dict[str, Any]:
    images = [
        cloud.skerry.json("deploy", str(write_compose(cloud.work, version, replicas=1)))["images"] for version in (2, 1)
    ]
    orders = json.dumps([base64.b64encode(raw).decode() for raw in _releases(cloud, images, rounds)])
    cloud.lab.exec(HOST, ["systemctl", "stop", "skerry"])
    done = cloud.lab.exec(
        HOST, ["/opt/skerry/current/bin/python3", "-I", "-c", INSIDE.read_text()], input=orders.encode(), timeout_s=240
    )
    if done.returncode:
        raise RuntimeError(f"{HOST}: {done.stderr.decode()[-2000:]}")
    times: list[dict[str, float]] = json.loads(done.stdout)
    cloud.lab.exec(HOST, ["systemctl", "start", "skerry"])
    ours, by_hand = ([each[who] for each in times] for who in ("ours", "by_hand"))
    figures: dict[str, Any] = {"container_starts": len(times)}
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        own, other = _quantile(ours, share), _quantile(by_hand, share)
        figures |= {
            f"container_start_vs_conmon_{name}": round(own / other, 2),
            f"container_start_ms_{name}": round(own * 1e3, 1),
            f"container_start_by_hand_ms_{name}": round(other * 1e3, 1),
        }
    return figures


def _releases(cloud: Cloud, images: list[dict[str, str]], rounds: int) -> list[bytes]:
    """Signed beforehand: the two images in turn, each release resting on the one before."""
    session = cloud.session()
    raws = []
    for turn in range(rounds):
        held = session.document(f"release/{APP}")
        assert held is not None and isinstance(held.body, Release)
        raws.append(
            session.draft(f"release/{APP}", Release(images=images[turn % 2], fits=held.body.fits, fallback=held.hash))
        )
        session.trusted.commit(session.trusted.judge(raws[-1], now_s=time.time(), from_client=True), raws[-1])
    return raws


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, round(share * (len(times) - 1)))]
