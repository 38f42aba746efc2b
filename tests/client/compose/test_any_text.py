"""Whatever a compose file holds: a ComposeApp or ComposeErrors, soon, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.client.compose import ComposeApp, ComposeErrors, parse
from skerry.client.compose.healthcheck import Asked, NotUnderstood, translate
from skerry.client.compose.interpolate import BadVariable, interpolate, parse_env
from skerry.client.compose.table import TABLES

KEYS = sorted({key for table in TABLES.values() for key in table} | {"web", "db", "data"})
SCALARS = [
    "",
    "~",
    "true",
    "1",
    "0.5",
    "8000:80",
    "1m30s",
    "512m",
    "${A:-b}",
    "$$",
    "/x",
    "data:/x",
    "*",
    "a b",
    "-1",
    "é",
]
scalars = st.sampled_from(SCALARS) | st.text(max_size=12) | st.integers() | st.booleans() | st.none() | st.floats()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def outcome(text: str) -> ComposeApp | ComposeErrors:
    try:
        return parse(text, environ={"A": "1"}, name="app")
    except ComposeErrors as errors:
        assert errors.mistakes
        return errors


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    outcome(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="&*<[]{}:,-!|>'\"%@` \n\tabx1", max_size=80))
def test_any_yaml_like_text(text: str) -> None:
    outcome(text)


@settings(max_examples=250, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=6),
    st.dictionaries(st.sampled_from(KEYS), values, max_size=3),
)
def test_known_keys_with_any_values(service: dict[str, object], top: dict[str, object]) -> None:
    import json

    outcome(json.dumps({**top, "services": {"web": {"image": "x", **service}}}))  # JSON is YAML


@given(st.text(max_size=80))
def test_variables(text: str) -> None:
    try:
        interpolate(text, {"A": "1"})
    except BadVariable as wrong:
        assert wrong.what and wrong.fix


@given(st.text(max_size=200))
def test_env_files(text: str) -> None:
    parse_env(text)


@given(st.text(max_size=80) | st.lists(st.text(max_size=20), max_size=5))
def test_healthchecks(test: str | list[str]) -> None:
    try:
        assert isinstance(translate(test, frozenset()), Asked | None)
    except NotUnderstood as error:
        assert error.fix


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "once its aliases are expanded"),
        ("[" * 5000, "nested more than"),
        ("{a: " * 5000, "nested more than"),
        ("x" * (2 << 20), "larger than 1 MiB"),
        ("- x\n" * 100_000, "more than 20000 values"),
        ("a: &a [*a]", "refers to nothing"),
        ("a: b\n---\nc: d\n", "second document"),
        ("services: {web: {image: x}}\nservices: {}", "twice"),
        ("a: [b", "not YAML"),
        ("\tservices:", "not YAML"),
        ("!!python/object/apply:os.system [x]", "not a compose file"),
        ("", "empty"),
        ("services:\n  web: {image: x}\n  ? [a]\n  : b\n", "where a key is expected"),
        ("services: {web: {image: '" + "${A}" * 70_000 + "'}}", "grows beyond"),
    ],
)
def test_hostile_text_is_refused_soon(text: str, says: str) -> None:
    begun_s = time.monotonic()
    errors = outcome(text)
    assert isinstance(errors, ComposeErrors)
    assert says in errors.why
    assert time.monotonic() - begun_s < 5.0  # generous: four engineers' tests share the machine
