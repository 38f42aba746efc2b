"""Roles: what CI may sign and nothing else, and what no role may say."""

from __future__ import annotations

import msgspec
import pytest

from skerry.trust import envelope
from trust.forging import payload_of
from trust.world import (
    DAY_S,
    IMAGE,
    IMAGE_2,
    ROOT,
    T0,
    Host,
    app_body,
    cloud_of_three,
    enrol,
    policy,
    policy_body,
    release_body,
    sign,
    signer,
)


def test_ci_releases_its_own_app_and_nothing_else():
    host = cloud_of_three()
    host.take(sign("release/web", release_body(), "ci"))
    assert host.refuse(sign("release/shop", release_body(), "ci")).code == "role-does-not-cover"
    assert host.refuse(sign("app/web", app_body(), "ci")).code == "role-does-not-cover"
    assert host.refuse(enrol("vps-4", "ci")).code == "role-does-not-cover"
    assert host.refuse(sign("policy", policy_body(), ("ci", "anna"), version=2)).code == "threshold-not-met"


def test_ci_spares_no_version_its_canary():
    """A release that says that it goes back is no canary: only who may sign the app may say so."""
    host = cloud_of_three()
    back = msgspec.structs.replace(release_body(), back=True)
    assert host.refuse(sign("release/web", back, "ci")).code == "role-does-not-cover"
    assert host.refuse(sign("release/web", back, ("ci", "stranger"))).code == "role-does-not-cover"
    host.take(sign("release/web", back, ("ci", "anna")))
    host.take(sign("release/web", release_body(IMAGE_2), "ci", version=2))


def test_no_rights_are_smuggled_into_a_release():
    host = cloud_of_three()
    payload = payload_of(sign("release/web", release_body(), "ci"))
    smuggled = payload.replace(b'"fits":1', b'"fits":1,"capabilities":["CAP_SYS_ADMIN"]')
    assert smuggled != payload
    assert host.refuse(envelope.sign("release", smuggled, [signer("ci")])).code == "malformed"


@pytest.mark.parametrize("image", ["nginx:latest", "sha256:abc", "sha256:" + "AB" * 32, "ab" * 32, IMAGE + "\n", ""])
def test_images_are_named_by_digest_never_by_tag(image):
    assert cloud_of_three().refuse(sign("release/web", release_body(image), "ci")).code == "out-of-bounds"


def test_a_role_that_is_over_signs_nothing_issued_after_it():
    ci = msgspec.structs.replace(policy_body().roles[1], until=T0 + 2 * DAY_S)
    host = Host(ROOT, policy(roles=(policy_body().roles[0], ci)), now_s=T0 + 5 * DAY_S)
    late = sign("release/web", release_body(), "ci", issued=T0 + 3 * DAY_S)
    assert host.refuse(late).code == "role-does-not-cover"
    host.take(
        sign("release/web", release_body(), "ci", issued=T0 + DAY_S)
    )  # judged at its own time, however late it comes


@pytest.mark.parametrize("kinds, paths", [
    (("policy",), ("policy",)), (("root",), ("root",)), (("release",), ("*",)), (("release",), ("release/../app/web",)),
    (("release",), ("release/",)), (("everything",), ("release/web",)),
])  # fmt: skip
def test_a_role_over_roles_or_over_no_plain_path_is_out_of_bounds(kinds, paths):
    role = msgspec.structs.replace(policy_body().roles[1], kinds=kinds, paths=paths)
    host = cloud_of_three()
    assert host.refuse(policy(version=2, roles=(policy_body().roles[0], role))).code == "out-of-bounds"


def test_a_threshold_of_one_role_is_not_met_by_the_keys_of_another():
    body = policy_body()
    pair = msgspec.structs.replace(body.roles[1], keys=(signer("ci").key, signer("ci-2").key), threshold=2)
    host = Host(ROOT, policy(roles=(pair,)))
    assert host.refuse(sign("release/web", release_body(), ("ci", "anna"))).code == "threshold-not-met"
    host.take(sign("release/web", release_body(), ("ci", "ci-2")))
