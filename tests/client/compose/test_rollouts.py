"""`update_config`, `rollback_config` and `x-skerry: canary` of a service."""

from __future__ import annotations

import pytest

from client.compose.reading import compose, service, wrong
from skerry.client.folder.compose_out import compose_of
from skerry.core.intent import App, CanaryStep, Release, Update

WHOLE = (
    "deploy: {replicas: 10, update_config: {parallelism: 2, delay: 5s, order: start-first, monitor: 10s, max_failure_ratio: 0.2, "
    "failure_action: pause}, rollback_config: {parallelism: 0, failure_action: continue}}, "
    "x-skerry: {canary: [{share: 10%, hold: 5m}, {share: 33.3%, hold: 1h30m}]}"
)


def test_each_word_arrives() -> None:
    made = service(WHOLE)
    assert made.update == Update(
        parallelism=2, delay_s=5.0, order="start-first", monitor_s=10.0, max_failure_ratio=0.2, failure_action="pause"
    )
    assert made.rollback == Update(parallelism=10, failure_action="continue")
    assert made.canary == (CanaryStep(share=0.1, hold_s=300.0), CanaryStep(share=0.333, hold_s=5400.0))
    plain = service("deploy: {rollback_config: {delay: 1s}}")
    assert plain.rollback == Update(delay_s=1.0, failure_action="pause"), "as in compose"
    assert service("deploy: {replicas: 2}").rollback is None


def test_what_was_signed_is_written_out_and_read_again_as_it_was() -> None:
    app = App(services={"web": service(WHOLE)})
    written = compose_of("app", app, Release(images={"web": "sha256:" + 64 * "1"}, fits=1))
    assert compose(written.text).services["web"].service == app.services["web"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("x-skerry: {canary: [{share: 10%}]}", "needs a share and how long it is held"),
        ("x-skerry: {canary: [{share: 100%, hold: 1m}]}", "less than 100%"),
        ("x-skerry: {canary: [{share: 0%, hold: 1m}]}", "more than 0%"),
        ("x-skerry: {canary: [{share: 0.1, hold: 1m}]}", "write it as 10%"),
        ("x-skerry: {canary: [{share: 10%, hold: 40d}]}", "longer than 30 days"),
        ("x-skerry: {canary: [{share: 20%, hold: 1m}, {share: 20%, hold: 1m}]}", "no more than the step before it"),
        ("x-skerry: {canary: {share: 20%, hold: 1m}}", "should be a list"),
        ("x-skerry: {canary: [{share: 20%, hold: 1m, wait: 3s}]}", "unknown key"),
        (
            "deploy: {update_config: {failure_action: continue}}, x-skerry: {canary: [{share: 20%, hold: 1m}]}",
            "never get past",
        ),
        ("deploy: {update_config: {max_failure_ratio: 20%}}", "number from 0 to 1"),
        ("deploy: {update_config: {max_failure_ratio: 1.5}}", "number from 0 to 1"),
        ("deploy: {update_config: {max_failure_ratio: nan}}", "number from 0 to 1"),
        ("deploy: {rollback_config: {failure_action: rollback}}", "not one of pause, continue"),
    ],
)
def test_a_mistake_is_told(body: str, told: str) -> None:
    assert told in wrong(body)


def test_a_canary_that_leaves_no_slot_alone_is_told_to_be_without_effect() -> None:
    made = compose("services: {web: {image: x, x-skerry: {canary: [{share: 10%, hold: 5m}]}}}")
    assert any("of 1 slot the first step has all" in str(warning) for warning in made.warnings)
