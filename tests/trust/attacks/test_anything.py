"""Anything at all: whatever bytes come, nothing is raised but a refusal."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.facts import SlotState
from skerry.errors import TrustRefusal
from skerry.trust import envelope
from trust.forging import CLAIM
from trust.world import (
    IMAGE,
    app_body,
    cloud_of_three,
    enrol,
    fact,
    release_body,
    sign,
    signer,
    up,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_nothing_but_a_refusal(raw):
    with pytest.raises(TrustRefusal):
        _HOST.take(raw)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        ["app", "release", "node", "policy", "root", "secret", "fact", "request", "pool", "tools", "alert"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_any_json_signed_by_an_operator_raises_nothing_but_a_refusal(kind, value):
    import json

    raw = envelope.sign(kind, json.dumps(value).encode(), [signer("anna")])
    with pytest.raises(TrustRefusal):
        _HOST.take(raw)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_good_record_with_any_part_replaced_is_refused_or_harmless(data):
    """One JSON value anywhere in a rightly signed document is replaced; the signer signs that too."""
    import json

    raw = data.draw(st.sampled_from(_GOOD))
    opened = envelope.parse(raw)
    tree = json.loads(opened.payload)
    spot, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(spot[key], dict) and spot[key] and data.draw(st.booleans()):
        spot = spot[key]
        key = data.draw(st.sampled_from(sorted(spot)))
    spot[key] = data.draw(
        st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({}) | st.just([""])
    )
    by = signer("vps-1") if opened.kind == "fact" else signer("anna")
    host = cloud_of_three()
    with contextlib.suppress(TrustRefusal):
        host.take(envelope.sign(opened.kind, json.dumps(tree).encode(), [by]))


_HOST = cloud_of_three()


_GOOD = [
    sign("app/web", app_body(volumes={"v": True})),
    sign("release/web", release_body()),
    enrol("vps-4"),
    up("vps-1"),
    fact("vps-1", "claim", "web.web/0", (1, 1), CLAIM),
    fact("vps-1", "slot", "web.web/0", (1, 1), SlotState(spec="s", image=IMAGE, state="running", address="10.77.1.9")),
]
