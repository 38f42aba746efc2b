"""Which image a host may run as tools beside a container: said by operators, never by whom may only debug or release."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core.intent import Role, Tools
from skerry.trust import genesis
from trust.world import IMAGE, cloud_of_three, der, policy_body, sign, signer
from trust.world import policy as policy_raw

BASE = Tools(image=IMAGE, size_bytes=1 << 20, about="recipe base")


def test_an_operator_names_an_image_as_tools_and_takes_it_away_for_good() -> None:
    host = cloud_of_three()
    host.take(sign("tools/base", BASE))
    first = host.hash("tools/base")
    gone = sign("tools/base", Tools(deleted=True), version=2, prev=first)
    host.take(gone, from_client=True)
    assert host.held("tools/base").body == Tools(deleted=True)
    assert host.refuse(sign("tools/base", BASE)).code == "stale"


@pytest.mark.parametrize(
    "body",
    [
        Tools(), Tools(image="base:latest"), Tools(image="sha256:12"), Tools(image=IMAGE, deleted=True),
        Tools(image=IMAGE, size_bytes=-1), Tools(image=IMAGE, about="a\nb"), Tools(image=IMAGE, about="a" * 201),
        Tools(image=IMAGE, about="\x1b[2J"),
    ],
)  # fmt: skip
def test_what_is_no_image_named_by_digest_is_out_of_bounds(body: Tools) -> None:
    assert cloud_of_three().refuse(sign("tools/base", body)).code == "out-of-bounds"


@pytest.mark.parametrize("path", ["tools", "tools/", "tools/-x", "tools/a/b", "tools/../app", "app/base"])
def test_tools_live_at_their_own_paths_alone(path: str) -> None:
    assert cloud_of_three().refuse(sign(path, BASE)).code in ("out-of-bounds", "malformed")


def test_who_may_debug_or_release_names_no_tools() -> None:
    debugger = Role(
        name="dora", keys=(signer("dora").key,), asks=("debug",), paths=("app/web",),
        certificates={signer("dora").key: _certificate("dora")},
    )  # fmt: skip
    host = cloud_of_three()
    roles = (*policy_body().roles, debugger)
    host.take(policy_raw(version=2, prev=host.hash("policy"), roles=roles))
    for who in ("dora", "ci"):
        assert host.refuse(sign("tools/base", BASE, by=who)).code == "role-does-not-cover"
    assert host.refuse(sign("tools/base", BASE, by="nobody")).code == "unknown-key"


def test_a_cloud_that_is_older_than_tools_takes_none_until_its_policy_is_renewed() -> None:
    host = cloud_of_three()
    operators, *others = policy_body().roles
    kinds = tuple(kind for kind in operators.kinds if kind != "tools")
    older = msgspec.structs.replace(operators, kinds=kinds)
    host.take(policy_raw(version=2, prev=host.hash("policy"), roles=(older, *others)))
    assert host.refuse(sign("tools/base", BASE)).code == "role-does-not-cover"
    host.take(policy_raw(version=3, prev=host.hash("policy"), roles=policy_body().roles))
    host.take(sign("tools/base", BASE))
    assert "tools" in genesis.operators_role(()).kinds


def _certificate(name: str) -> str:
    import base64

    return base64.b64encode(der(name)).decode()
