"""Images on real hosts: a rollback moves none of their bytes, a budget takes away what is not in use and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e

STORE = "/var/lib/skerry"


def images_of(cloud: Cloud, host: str) -> dict[str, Any]:
    return dict(cloud.skerry.json("status")["agents"][host]["images"])


def came_since(cloud: Cloud, host: str, mark: str) -> list[str]:
    """Objects and parts of objects that are newer than the mark."""
    find = ["find", f"{STORE}/objects", f"{STORE}/parts", "-type", "f", "-newer", mark]
    return cloud.inside(host, "sh", "-c", f"{' '.join(find)} 2>/dev/null; true").split()


def test_a_rollback_moves_no_byte_and_a_budget_takes_only_what_is_not_in_use(cloud: Cloud) -> None:
    skerry, code = cloud.skerry, cloud.app / "web" / "guestbook.py"
    versions = [_image(cloud)]
    for round in range(2):
        _edit(code, round)
        skerry.run("deploy", cloud.compose)
        versions.append(_image(cloud))
    first, second, third = versions
    assert len(set(versions)) == 3
    cloud.wait_well()
    skerry.wait(
        "all versions on all hosts", lambda: all(_trees(cloud, host) >= set(versions) for host in cloud.names())
    )
    for host in cloud.names():
        cloud.inside(host, "touch", f"{STORE}/mark")
    skerry.run("rollback", "guestbook")
    cloud.wait_well()
    assert _image(cloud) == second
    for host in cloud.names():
        assert came_since(cloud, host, f"{STORE}/mark") == []
    host = next(host for host in cloud.names() if cloud.containers(host))
    running, used_bytes = cloud.containers(host), images_of(cloud, host)["used_bytes"]
    for _ in range(10):  # one image at a time: those of apps that earlier tests have removed may come before
        held_bytes = images_of(cloud, host)["used_bytes"]
        skerry.run("host", "budget", host, f"{held_bytes - 1}b")
        skerry.wait(
            "what nothing runs or turns back to to go",
            lambda held=held_bytes: images_of(cloud, host)["used_bytes"] < held,
        )
        if first not in _trees(cloud, host):
            break
    assert first not in _trees(cloud, host)
    assert {second, third} <= _trees(cloud, host), "the one that runs, and the one to turn back to"
    assert running <= cloud.containers(host)  # a replica may have come meanwhile: hosts take back what is theirs
    skerry.wait("it to be told", lambda: cloud.events("image"))
    assert images_of(cloud, host)["used_bytes"] < used_bytes
    other = next(name for name in cloud.names() if name != host)
    assert first in _trees(cloud, other), "each host has a budget of its own"
    skerry.run("host", "budget", host, "0")


def _edit(code: Path, round: int) -> None:
    code.write_text(code.read_text() + f"\n# round {round}\n")


def _image(cloud: Cloud) -> str:
    return str(next(row["image"] for row in cloud.ps() if row["service"] == "web"))


def _trees(cloud: Cloud, host: str) -> set[str]:
    return {f"sha256:{name}" for name in cloud.inside(host, "ls", f"{STORE}/images").split()}
