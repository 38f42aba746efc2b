"""Keepers and a modelled provider on virtual time: the life of a pool's machines."""

from __future__ import annotations

from skerry.core.effects import Note
from skerry.sim.rented import Cloud


def states(cloud: Cloud, slot: str) -> list[str]:
    """What keepers said of a slot, in order."""
    return [
        life.effect.reason.partition(":")[0]
        for life in cloud.cluster.history
        if isinstance(life.effect, Note) and life.effect.kind == "machine" and life.effect.subject == slot
    ]


def test_a_pool_with_a_least_number_gets_it_and_gives_it_back_when_none_may_be_there() -> None:
    cloud = Cloud()
    cloud.pool(min=1)
    cloud.run(60)
    assert [d.slot for d in cloud.provider.living()] == ["burst/0"]
    assert "node/burst/0" in cloud.core("vps-1")._s.known.nodes
    cloud.pool(min=0, max=0)
    cloud.run(60)
    assert cloud.provider.living() == []
    assert states(cloud, "burst/0") == ["creating", "booting", "joined", "draining", "returning", "gone"]
    assert "node/burst/0" not in cloud.core("vps-1")._s.known.nodes
    assert cloud.provider.wrong == []
