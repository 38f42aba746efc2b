"""Where replicas go: what a file may ask for, and what can't be meant together."""

from __future__ import annotations

import msgspec
import pytest

from client.compose.reading import compose, mistakes, service, wrong
from skerry.client.folder.compose_out import compose_of
from skerry.core.intent import Release, Service, spec_of
from skerry.core.places import ANYWHERE, Placement


def test_what_places_a_service_arrives_and_restarts_nothing() -> None:
    placed = service(
        "deploy: {placement: {preferences: [{spread: node.labels.rack}, {spread: zone}], max_replicas_per_node: 2}}, "
        "x-skerry: {near: [db, other.cache], apart: {shop.batch: {required: false}, shop.noise: }}"
    )
    assert placed.placement == Placement(
        max_per_node=2,
        spread=("label.rack", "zone"),
        near=("db", "other.cache"),
        away=("shop.batch",),
        apart=("shop.noise",),
    )
    plain = msgspec.structs.replace(placed, placement=ANYWHERE)
    assert spec_of(placed, "sha256:x") == spec_of(plain, "sha256:x")


def test_a_service_that_asks_for_no_place_is_what_it_was_before() -> None:
    """Byte by byte: else every container of every cloud would start anew with this version of the agent."""
    assert service("x-skerry: {near: []}").placement is ANYWHERE
    assert b"placement" not in msgspec.json.encode(service("deploy: {replicas: 2}"))
    assert spec_of(Service(), "a") == "a32c9eb10303def9"


def test_global_is_one_on_every_host() -> None:
    assert service("deploy: {mode: global}").placement == Placement(every_node=True)
    assert service("deploy: {mode: replicated}").placement is ANYWHERE


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("deploy: {mode: global, replicas: 2}", "as many replicas as hosts"),
        ("deploy: {mode: global, placement: {max_replicas_per_node: 2}}", "each host has one replica"),
        ("deploy: {mode: global, placement: {preferences: [{spread: zone}]}}", "each host has one replica"),
        ("deploy: {mode: global}, x-skerry: {near: [db]}", "each host has one replica"),
        (
            "deploy: {mode: global}, x-skerry: {scale: {min: 1, max: 2, target: {cpu: 60%}}}",
            "as many replicas as hosts",
        ),
        ("deploy: {placement: {preferences: [{spread: node.id}]}}", "nothing that hosts differ in"),
        ("deploy: {placement: {preferences: [zone]}}", "write {spread: node.labels.NAME}"),
        ("deploy: {placement: {preferences: [{over: zone}]}}", "unknown key"),
        ("deploy: {placement: {max_replicas_per_node: -1}}", "whole number from 0"),
        ("x-skerry: {near: [web]}", "can't be near of itself"),
        ("x-skerry: {apart: [web]}", "max_replicas_per_node: 1"),
        ("x-skerry: {near: [cache]}", "there is no service 'cache'"),
        ("x-skerry: {near: [a.b.c]}", "is not SERVICE or APP.SERVICE"),
        ("x-skerry: {near: [db], apart: [db]}", "db is asked to be near as well"),
        ("x-skerry: {apart: {db: {required: maybe}}}", "true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused(body: str, why: str) -> None:
    assert why in wrong(body)


def test_wishes_that_follow_each_other_are_refused() -> None:
    text = "services: {a: {image: x, x-skerry: {near: [b]}}, b: {image: x, x-skerry: {apart: {a: {required: false}}}}}"
    assert "follow each other: a -> b -> a" in "\n".join(mistakes(text))
    rules = "services: {a: {image: x, x-skerry: {apart: [b]}}, b: {image: x, x-skerry: {apart: [a]}}}"
    assert compose(rules).services["a"].service.placement.apart == ("b",)


@pytest.mark.parametrize(
    "body",
    [
        "deploy: {mode: global}",
        "deploy: {placement: {preferences: [{spread: node.labels.rack}], max_replicas_per_node: 2}}",
        "x-skerry: {near: [db], apart: [o.x]}",
        "x-skerry: {apart: {o.x: , o.y: {required: false}}}",
    ],
)
def test_what_is_written_out_again_means_the_same(body: str) -> None:
    text = f"name: app\nservices: {{web: {{image: x, {body}}}, db: {{image: x}}}}"
    app = compose(text)
    release = Release(images=dict.fromkeys(app.services, "x"), fits=1)
    again = compose(compose_of("app", app.app(), release).text)
    assert again.services["web"].service.placement == app.services["web"].service.placement
