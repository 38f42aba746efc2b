"""Who may sign what. Functions of a document and of the root and policy that are held; no signature is verified here.

A document names its signers; whether they really signed is checked after this (cheapest first), and one false
signature refuses it whole. Different keys count, never ids, and a document is judged at its own `issued` time, so
that all nodes judge alike, however late it comes to them. Taking a key away therefore works by policy and epoch,
never by a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from skerry.core.intent import Policy, Release, Role, Root
from skerry.core.records import Document
from skerry.trust.refusals import NotYet, RoleDoesNotCover, ThresholdNotMet, UnknownKey

OPERATORS = "operators"


def epoch_of(path: str, root: Root | None, policy: Policy | None) -> int:
    """The epoch in which `path` is signed now. Root says it for the policy, policy for all else; roots have none."""
    if path == "root":
        return 0
    if path == "policy":
        return root.policy_epoch if root is not None else 0
    if policy is None:
        return 0
    return max(policy.epochs.get(pattern, 0) for pattern in patterns(path))


def patterns(path: str) -> tuple[str, ...]:
    """All that may stand for a path in roles and epochs: itself, its kind ("app/*"), its pool ("node/burst/*")."""
    kind, _, rest = path.partition("/")
    pool, slash, _ = rest.partition("/")
    return (path, f"{kind}/*", f"{kind}/{pool}/*") if slash else (path, f"{kind}/*")


def covers(role: Role, path: str, issued: float) -> bool:
    """Whether a role allows a document at `path`, issued then (unix seconds)."""
    kind = path.partition("/")[0]
    in_time = role.until == 0 or issued <= role.until
    return in_time and kind in role.kinds and any(pattern in role.paths for pattern in patterns(path))


def permit_root(record: Document, held: Root | None) -> None:
    """A root needs enough of its own keys, and enough of the keys of the one before it. Raises ThresholdNotMet."""
    assert isinstance(record.body, Root)
    if held is not None:
        _enough(record, "root", held.keys, held.threshold, "root")
    _enough(record, "new root", record.body.keys, record.body.threshold, "root")


def permit_policy(record: Document, root: Root) -> None:
    """A policy needs enough of the root's operators. Raises UnknownKey or ThresholdNotMet."""
    keys = [operator.key for operator in root.operators]
    if not set(keys) & set(record.signers):
        raise UnknownKey(
            f"{record.path} was not accepted",
            "none of its signers is an operator of the root held here",
            "let an operator sign it",
            wants="root",
        )
    _enough(record, OPERATORS, keys, root.policy_threshold, "root")


def permit(record: Document, policy: Policy, known: Iterable[str]) -> None:
    """Any other document needs one role that covers it and that enough keys have signed for.

    A release that says `back` is spared its canary: that is for those who may sign the app, not for those who only release it.
    `known`: all keys that have any part in the cloud. Raises UnknownKey, RoleDoesNotCover or ThresholdNotMet; all of
    them are NotYet, as a newer policy may allow it.
    """
    signers = set(record.signers) - set(policy.barred)
    closest: NotYet | None = None
    for role in policy.roles:
        if not covers(role, record.path, record.issued) or not signers & set(role.keys):
            continue
        have = len(signers & set(role.keys))
        if have >= role.threshold:
            _permit_back(record, policy, signers)
            return
        if not isinstance(closest, ThresholdNotMet) or role.threshold - have < closest.need - closest.have:
            closest = ThresholdNotMet(record.path, role.name, have, role.threshold)
    if closest is not None:
        raise closest
    named = {key for role in policy.roles for key in role.keys} | set(known)
    if set(record.signers) & set(policy.barred):
        raise RoleDoesNotCover(
            f"{record.path} was not accepted", "the key that signed it is barred", "sign with another key"
        )
    if not signers & named:
        raise UnknownKey(
            f"{record.path} was not accepted",
            "it is signed by a key that has no part in this cloud",
            "see: skerry role ls",
        )
    raise RoleDoesNotCover(
        f"{record.path} was not accepted",
        f"no role of the key that signed it allows {record.path} at the time it was issued",
        "let somebody sign it whose role covers it: skerry role ls",
    )


def _permit_back(record: Document, policy: Policy, signers: set[str]) -> None:
    if not (isinstance(record.body, Release) and record.body.back):
        return
    app = f"app/{record.path.removeprefix('release/')}"
    for role in policy.roles:
        if covers(role, app, record.issued) and len(signers & set(role.keys)) >= role.threshold:
            return
    raise RoleDoesNotCover(
        f"{record.path} was not accepted",
        f"it goes back to what ran before, without a canary, and its signer may not sign {app}",
        "let an operator go back: skerry rollback; or release the earlier images as a new version",
    )


def _enough(record: Document, role: str, keys: Iterable[str], threshold: int, wants: str) -> None:
    have = len(set(keys) & set(record.signers))
    if have < threshold:
        raise ThresholdNotMet(record.path, role, have, threshold, wants=wants)
