"""What a refusal costs the neighbour that brought it: a false signature its link, everything else nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from skerry.agent.door import Door
from skerry.agent.links import Links
from skerry.core import gossip as g
from skerry.errors import TrustRefusal
from skerry.mesh.links import Mesh
from skerry.trust.refusals import FalseSignature, NotNamed, Quota, WrongCloud

FORGED = FalseSignature("app/web was not accepted", "key 1234 did not sign it", "close the link")
HONEST = [
    NotNamed("app/web was not accepted", "nothing that is held names these bytes", "ask for it by its hash"),
    Quota("a fact of node/vps-3 was not taken", "one node may hold 1000 facts", "withdraw some"),
    WrongCloud("app/web was not accepted", "it belongs to another cloud"),
]


def dropped_for(refusal: TrustRefusal) -> list[str]:
    dropped: list[str] = []
    mesh = SimpleNamespace(cut=lambda peer, why: dropped.append(peer), send=lambda *_: None)
    door = SimpleNamespace(holds=lambda id: False)
    nothing: Any = lambda *_: None  # noqa: E731
    links = Links(
        cast(Mesh, mesh), g.Gossip("node/vps-1"), cast(Door, door), now_s=lambda: 1000.0, wall_s=lambda: 1000.0,
        post=nothing, note=nothing, spawn=nothing, soon=lambda act: act(), bundle=nothing,
    )  # fmt: skip
    links.refused(refusal, "node/vps-3")
    return dropped


def test_a_false_signature_costs_the_neighbour_its_link() -> None:
    assert dropped_for(FORGED) == ["node/vps-3"]


@pytest.mark.parametrize("refusal", HONEST, ids=lambda refusal: refusal.code)
def test_whoever_brings_anything_else_keeps_it(refusal: TrustRefusal) -> None:
    assert dropped_for(refusal) == []
