"""Replicas that follow the load: bounds, windows, schedules and the zones of these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.compose.reading import service
from skerry.client.compose.schedule import offsets
from skerry.core.intent import (
    Schedule,
)

OFFSETS: dict[str, tuple[tuple[float, int], ...]] = {}  # of zones, made once


def test_a_scale_arrives_with_its_schedules_in_words() -> None:
    scaled = service(
        "ports: ['80:80'], x-skerry: {scale: {min: 0, max: 9, target: {cpu: 60%, connections: 50}, step: 10s, up: 20s, down: 5m, "
        "idle: 2m, schedule: [weekdays 8-20: min 3, 'sat, sun 22:30-6 Europe/Berlin: min 1, max 4', fri-mon 0-24: max 5]}}"
    )
    assert scaled.replicas == 1, "the first one, although none may do later"
    scale = scaled.scale
    assert scale is not None
    assert (scale.min, scale.max, scale.cpu, scale.connections) == (0, 9, 0.6, 50.0)
    assert (scale.step_s, scale.up_s, scale.down_s, scale.idle_s) == (10, 20, 300, 120)
    office, nights, weekends = scale.schedules
    assert office == Schedule(days=(0, 1, 2, 3, 4), from_minute=480, to_minute=1200, min=3)
    assert (nights.days, nights.from_minute, nights.to_minute, nights.min, nights.max) == ((5, 6), 1350, 360, 1, 4)
    assert weekends.days == (0, 4, 5, 6) and (weekends.from_minute, weekends.to_minute) == (0, 1440)
    assert nights.offsets[0] == (0.0, 60) and {minutes for _, minutes in nights.offsets} == {60, 120}


def test_windows_that_are_not_given_fit_the_step_and_replicas_are_how_many_there_are_at_first() -> None:
    short = service("x-skerry: {scale: {min: 2, max: 4, target: {cpu: 60%}, step: 2s}}, deploy: {replicas: 3}")
    assert short.scale is not None and (short.scale.down_s, short.scale.idle_s, short.replicas) == (120, 120, 3)
    plain = service("x-skerry: {scale: {min: 2, max: 4, target: {cpu: 60%}}}")
    assert plain.scale is not None and (plain.scale.down_s, plain.scale.idle_s, plain.replicas) == (1200, 300, 2)


def test_what_keeps_data_may_sleep_but_never_be_several() -> None:
    asleep = service("x-skerry: {scale: {min: 0, max: 1}}, volumes: ['data:/x'], ports: ['5432:5432']")
    assert asleep.scale is not None and (asleep.scale.min, asleep.scale.max) == (0, 1)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca"]
)
@given(at=st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC)))
def test_a_zones_offsets_are_those_that_it_has(zone: str, at: datetime) -> None:
    east = 0
    for from_s, minutes in OFFSETS.setdefault(zone, offsets(zone, 2026)):
        if from_s <= at.timestamp():
            east = minutes
    assert at.astimezone(ZoneInfo(zone)).utcoffset() == timedelta(minutes=east)
