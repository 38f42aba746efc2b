"""What documents may hold: names, counts, ranges, each body by itself. Who signed it is not asked here.

Well-typed is not enough: a path that leaves its container or a name that starts with a dash are typed well too.
Everything below raises OutOfBounds with the field's name. Apps and facts have their own files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from skerry.core.history import HISTORY, SHORT
from skerry.core.intent import INIT, KINDS, RIGHTS, Alert, App, Node, Policy, Pool, Release, Root, Secret, Tools
from skerry.core.records import Document, MachineSlot
from skerry.trust import checks_alert, checks_app, checks_pool
from skerry.trust.bounds import (
    NUMBER_MAX,
    VALUE,
    base64_of,
    count,
    digest_or_none,
    image,
    key,
    keys,
    matches,
    name,
    need,
    node_path,
    subnet,
    within,
)
from skerry.trust.identity import certifies, is_key

ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):([1-9][0-9]{0,4})")
SHORT_DIGEST = re.compile(rf"[0-9a-f]{{{SHORT}}}")
SALT = re.compile(r"[A-Za-z0-9+/=_-]{0,128}")
ROLE_KINDS = {kind for kind in KINDS if kind not in ("root", "policy")}  # a role never makes roles
CERTIFICATE_BYTES = 1024
ABOUT_MAX = 200


def path(text: str, kind: str) -> None:
    """The path of a document: `root`, `policy`, or `<kind>/<name>`."""
    head, slash, rest = text.partition("/")
    need(head == kind, "path", f"a document of kind {kind} lives at {kind}")
    need(bool(slash) is (kind not in ("root", "policy")), "path", "must be root, policy or <kind>/<name>")
    if kind == "node":
        node_path(text, "path")
    elif slash:
        name(rest, "path")


def document(record: Document) -> None:
    """Path and body of a document within what any signer may say."""
    path(record.path, record.kind)
    digest_or_none(record.prev, "prev")
    need(record.expires == 0 or record.expires > record.issued, "expires", "must be later than issued")
    _BODIES[type(record.body)](record.body)


def _root(root: Root) -> None:
    keys(root.keys, "keys", 32, 1)
    need(
        len(root.keys) < 2 * root.threshold <= 2 * len(root.keys),
        "threshold",
        "more than half of the keys, at most all",
    )
    count(root.operators, "operators", 64, 1)
    keys([operator.key for operator in root.operators], "operators", 64)
    within(root.policy_threshold, "policy_threshold", 1, len(root.operators))
    within(root.policy_epoch, "policy_epoch", 0, NUMBER_MAX)
    need(not {o.key for o in root.operators} & set(root.keys), "operators", "a root key is for nothing else")
    need(len({o.name for o in root.operators}) == len(root.operators), "operators", "the same name twice")
    for operator in root.operators:
        name(operator.name, "operators")
        key(operator.sealing, "sealing")
        _certificate(operator.certificate, operator.key)


def _policy(policy: Policy) -> None:
    count(policy.roles, "roles", 256)
    need(len({role.name for role in policy.roles}) == len(policy.roles), "roles", "the same name twice")
    for role in policy.roles:
        name(role.name, "roles")
        keys(role.keys, f"role {role.name}", 64, 1)
        within(role.threshold, f"threshold of role {role.name}", 1, len(role.keys))
        within(role.until, f"until of role {role.name}", 0, 2**40)
        need(set(role.asks) <= set(RIGHTS), f"asks of role {role.name}", f"only {', '.join(RIGHTS)}")
        need(set(role.kinds) <= ROLE_KINDS, f"kinds of role {role.name}", f"only {', '.join(sorted(ROLE_KINDS))}")
        count(role.paths, f"paths of role {role.name}", 1000)
        for pattern in role.paths:
            _pattern(pattern, f"paths of role {role.name}")
        need(set(role.certificates) <= set(role.keys), f"certificates of role {role.name}", "one is of no key of it")
        for holder, certificate in role.certificates.items():
            _certificate(certificate, holder)
    for pattern, epoch in policy.epochs.items():
        _pattern(pattern, "epochs")
        within(epoch, "epochs", 0, NUMBER_MAX)
    keys(policy.barred, "barred", 1000)
    keys(policy.readmitted, "readmitted", 1000)
    for field in ("voters", "voters_before"):
        voters = getattr(policy, field)
        need(
            len(voters) in (0, 1, 3, 5),
            field,
            "1, 3 or 5 hosts: of two or four one more has to live than of one or three",
        )
        need(len({*voters}) == len(voters), field, "the same host twice")
        for voter in voters:
            node_path(voter, field)
            need(MachineSlot.of_path(voter) is None, field, "fixed hosts vote: a pool's machines come and go")
    within(policy.voting, "voting", 0, 1_000_000)


def _pattern(text: str, field: str) -> None:
    """An exact path, every path of a kind ("app/*"), or every machine of a pool ("node/burst/*")."""
    kind, _, rest = text.partition("/")
    need(kind in ROLE_KINDS, field, "must be a path such as app/web, or all of a kind: app/*")
    if rest == "*":
        return
    if kind == "node" and "/" in rest and not rest.endswith("/*"):
        node_path(text, field)
    else:
        name(rest.removesuffix("/*") if kind == "node" else rest, field)


def _node(node: Node) -> None:
    for field in ("signing", "sealing", "wireguard"):
        key(getattr(node, field), field)
    _certificate(node.certificate, node.signing)
    count(node.addresses, "addresses", 16)
    for address in node.addresses:
        found = ADDRESS.fullmatch(address)
        need(found is not None and int(found[1]) < 65536, "addresses", "must be host:port or [IPv6]:port")
    subnet(node.subnet)
    matches(node.salt, "salt", SALT, "at most 128 letters and digits")
    need(not node.zone or VALUE.fullmatch(node.zone) is not None, "zone", "at most 63 letters, digits, - _ .")
    within(node.weight, "weight", 0, 10_000)
    count(node.labels, "labels", 64)
    for label, value in node.labels.items():
        matches(label, "labels", VALUE, "at most 63 letters, digits, - _ .")
        need(not value or VALUE.fullmatch(value) is not None, "labels", "at most 63 letters, digits, - _ .")
    bundle = node.bundle.removeprefix("sha256:")
    digest_or_none(bundle, "bundle")
    count(node.floor, "floor", 1000)
    for of, version in node.floor.items():
        need(len(of) <= 80, "floor", "not a path")
        within(version, "floor", 0, NUMBER_MAX)
    keys(node.barred, "barred", 256)
    count(node.boxes, "boxes", 1000)
    for app, box in node.boxes.items():
        name(app, "boxes")
        key_id, _, sealed = box.partition(":")
        matches(key_id, "boxes", VALUE, "must be <key id>:<box>")
        base64_of(sealed, f"boxes of {app}", 49, 256)
    within(node.image_budget_bytes, "image_budget_bytes", 0, NUMBER_MAX)


def _release(release: Release) -> None:
    services = {service for service in release.images if not service.endswith(INIT)}
    count(services, "images", 64, 1)
    for service in services:
        name(service, "images")
    for of, digest in release.images.items():
        need(of.removesuffix(INIT) in services, "images", "an init image is there for a service, which has none")
        image(digest, f"images.{of}")
    within(release.fits, "fits", 0, NUMBER_MAX)
    digest_or_none(release.fallback, "fallback")
    count(release.earlier, "earlier", HISTORY)
    for line in release.earlier:
        names = line.split(" ")
        count(names, "earlier", 128, 1)
        for short in names:
            matches(short, "earlier", SHORT_DIGEST, f"an image is named by {SHORT} hex digits here")


def _secret(secret: Secret) -> None:
    matches(secret.key_id, "key_id", VALUE, "at most 63 letters, digits, - _ .")
    for holder, box in secret.boxes.items():
        need(is_key(holder) or holder.startswith("node/"), "boxes", "a box is for a node's path or a key")
        if holder.startswith("node/"):
            node_path(holder, "boxes")
        base64_of(box, f"boxes of {holder}", 49, 256)


def _tools(tools: Tools) -> None:
    need(bool(tools.image) is not tools.deleted, "image", "one that is there has an image, one that is gone has none")
    if tools.image:
        image(tools.image, "image")
    within(tools.size_bytes, "size_bytes", 0, NUMBER_MAX)
    need(
        len(tools.about) <= ABOUT_MAX and (not tools.about or tools.about.isprintable()),
        "about",
        f"one line, at most {ABOUT_MAX} characters",
    )


def _certificate(text: str, holder: str) -> None:
    der = base64_of(text, "certificate", 100, CERTIFICATE_BYTES)
    need(certifies(der, holder), "certificate", "is of another key")


_BODIES: dict[type, Callable[[Any], None]] = {
    Root: _root, Policy: _policy, Node: _node, App: checks_app.app, Release: _release, Secret: _secret,
    Pool: checks_pool.pool, Tools: _tools, Alert: checks_alert.alert,
}  # fmt: skip
