"""How many replicas there may be is the operators' to say: neither CI nor a keeper nor a node moves the bounds."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core.facts import Load, Wish
from skerry.core.intent import Port, Role, Scale, Schedule, Service
from trust.world import app_body, cloud_of_three, fact, policy, policy_body, sign, signer

SCALE = Scale(min=1, max=6, connections=50)
WEB = Service(replicas=2, ports=(Port(target=80, published=8000),), scale=SCALE)


def at(**changes: object) -> Schedule:
    return msgspec.structs.replace(Schedule(days=(0,), from_minute=0, to_minute=1), **changes)


def scaled(**changes: object) -> object:
    return app_body(services={"web": msgspec.structs.replace(WEB, scale=msgspec.structs.replace(SCALE, **changes))})


def test_an_operator_moves_the_bounds_and_whoever_may_release_or_rent_does_not() -> None:
    host = cloud_of_three()
    keepers = Role(name="keepers-burst", keys=(signer("keeper").key,), kinds=("node",), paths=("node/burst/*",))
    held = host.trusted.policy
    assert held is not None
    roles = (*policy_body().roles, keepers)
    host.take(policy(version=held.version + 1, prev=held.hash, issued=held.issued + 1, roles=roles))
    host.take(sign("app/web", scaled()))
    first = host.trusted.document("app/web")
    assert first is not None
    wider = {"version": 2, "prev": first.hash}
    for who in ("ci", "keeper", "vps-1"):
        assert host.refuse(sign("app/web", scaled(max=1000), who, **wider)).code in (
            "role-does-not-cover",
            "unknown-key",
        ), who
    assert host.refuse(sign("app/web", scaled(max=1000), ("ci", "keeper"), **wider)).code == "role-does-not-cover"
    host.take(sign("app/web", scaled(max=1000), **wider))
    newest = host.trusted.document("app/web")
    assert newest is not None and newest.version == 2


@pytest.mark.parametrize("changes", [
    {"min": 7}, {"min": -1}, {"max": 0}, {"max": 1001}, {"cpu": 1.1}, {"cpu": -0.1}, {"connections": -1}, {"step_s": 0.5},
    {"step_s": 7200}, {"up_s": 3601}, {"down_s": 3601}, {"idle_s": 0}, {"schedules": (at(days=()),)},
    {"schedules": (at(days=(7,)),)}, {"schedules": (at(to_minute=1441),)}, {"schedules": (at(max=1001),)},
    {"schedules": (at(offsets=((0.0, 9999),)),)},
    {"metric": "queue", "metric_target": 9.0}, {"metric_target": 9.0}, {"metric": "no name", "metric_target": 9.0},
])  # fmt: skip
def test_a_scale_out_of_all_bounds_is_taken_from_nobody(changes: dict[str, object]) -> None:
    assert cloud_of_three().refuse(sign("app/web", scaled(**changes))).code == "out-of-bounds"


@pytest.mark.parametrize("body", [
    Load(step_s=1, step=1, cpu=(1.0,)), Load(step_s=0.1, step=1), Load(step_s=1, step=-1),
    Load(step_s=1, step=1, cpu=(-1.0,), connections=(0,), fresh=(0,), replicas=(0,)),
    Load(step_s=1, step=1, cpu=(float("inf"),), connections=(0,), fresh=(0,), replicas=(0,)),
    Load(step_s=1, step=1, cpu=(0.0,) * 61, connections=(0,) * 61, fresh=(0,) * 61, replicas=(0,) * 61),
    Load(step_s=1, step=1, cpu=(0.0,), connections=(0,), fresh=(0,), replicas=(0,), metric=(1.0, 2.0)),
    Load(step_s=1, step=1, cpu=(0.0,), connections=(0,), fresh=(0,), replicas=(0,), metric=(float("nan"),)),
    Wish(replicas=-1, step=1), Wish(replicas=1001, step=1), Wish(replicas=1, step=-1),
])  # fmt: skip
def test_figures_and_wishes_that_can_not_be_are_refused(body: Load | Wish) -> None:
    kind = "load" if isinstance(body, Load) else "wish"
    assert cloud_of_three().refuse(fact("vps-1", kind, "web.web", (1, 1), body)).code in ("out-of-bounds", "malformed")
