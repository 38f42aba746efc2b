"""What is asked of a document that a client brings, and not of one that a neighbour does.

These compare with what is held here, which may differ from node to node: between peers they would part the cloud.
From a client they stop honest mistakes (an old laptop, two operators at once) while somebody is there to mend them.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from skerry.core.intent import Node, Policy, Root
from skerry.core.records import Document
from skerry.errors import TrustRefusal
from skerry.trust import roles
from skerry.trust.refusals import Conflicting, EpochNotRaised, PrevMismatch

if TYPE_CHECKING:
    from skerry.trust.holdings import Holdings


def check(holdings: Holdings, record: Document, held: Document | None) -> None:
    """Raises PrevMismatch, Conflicting or EpochNotRaised."""
    _follows(record, held)
    if isinstance(record.body, Node):
        _node(holdings, record, record.body, held)
    elif isinstance(record.body, Policy):
        _policy(holdings, record.body)
    elif isinstance(record.body, Root):
        _root(holdings, record.body)


def _follows(record: Document, held: Document | None) -> None:
    """It rests on what is held, and is the very next: a huge number would leave none for those who come after."""
    if held is not None and held.hash == record.hash:
        return
    here = held.hash if held is not None else ""
    if record.prev != here:
        raise PrevMismatch(
            f"{record.path} was not accepted",
            f"it was signed over {record.prev[:12] or 'nothing'}, and {here[:12] or 'nothing'} is held here",
            "look at what changed (skerry diff), and sign again",
        )
    last = held.version if held is not None and held.epoch == record.epoch else 0
    if record.version != last + 1:
        raise PrevMismatch(
            f"{record.path} was not accepted",
            f"its version is {record.version}, the next one is {last + 1}",
            "sign again",
        )


def _node(holdings: Holdings, record: Document, node: Node, held: Document | None) -> None:
    if held is not None and isinstance(held.body, Node) and held.body.state == "expelled":
        was = held.body
        if not {was.signing, was.sealing, was.wireguard, *was.barred} <= {
            node.signing,
            node.sealing,
            node.wireguard,
            *node.barred,
        }:
            raise Conflicting(
                f"{record.path} was not accepted",
                "this path was expelled, and the new enrolment does not bar the keys it had",
                "name them in `barred`",
            )
    if node.state == "expelled":
        return
    network = ipaddress.IPv4Network(node.subnet)
    for path, other in holdings.nodes.items():
        assert isinstance(other.body, Node)
        if path == record.path or other.body.state == "expelled":
            continue
        if network.overlaps(ipaddress.IPv4Network(other.body.subnet)):
            raise Conflicting(
                f"{record.path} was not accepted", f"{node.subnet} is in use by {path}", "choose another subnet"
            )
        if {node.signing, node.wireguard} & {other.body.signing, other.body.wireguard}:
            raise Conflicting(
                f"{record.path} was not accepted", f"{path} has the same key", "give each host keys of its own"
            )


def _policy(holdings: Holdings, policy: Policy) -> None:
    """A right taken away leaves nothing behind that was signed by it, unless a new epoch is begun for it."""
    held = holdings.policy
    before = held.body if held is not None else None
    assert before is None or isinstance(before, Policy)
    for document in holdings.documents():
        if document.kind in ("root", "policy"):
            continue
        old, new = (roles.epoch_of(document.path, None, p) for p in (before, policy))
        if new < old:
            raise EpochNotRaised(
                "policy was not accepted", f"it lowers the epoch of {document.path}", "epochs only ever rise"
            )
        was = before is not None and document.epoch == old and _permitted(document, before)
        if was and new == old and not _permitted(document, policy):
            raise EpochNotRaised(
                "policy was not accepted",
                f"nobody who signed {document.path} may any more, and its epoch is the same",
                "raise the epoch of what the key signed, and sign it again: skerry role rm does both",
            )


def _root(holdings: Holdings, root: Root) -> None:
    held = holdings.root
    if held is None:
        return
    assert isinstance(held.body, Root)
    if root.policy_epoch < held.body.policy_epoch:
        raise EpochNotRaised("root was not accepted", "it lowers the epoch of the policy", "epochs only ever rise")
    policy = holdings.policy
    if policy is None or root.policy_epoch > held.body.policy_epoch or holdings.lapsed("policy"):
        return
    try:
        roles.permit_policy(policy, root)
    except TrustRefusal:
        raise EpochNotRaised(
            "root was not accepted",
            "those who signed the policy may not any more",
            "raise policy_epoch, and sign the policy again",
        ) from None


def _permitted(document: Document, policy: Policy) -> bool:
    try:
        roles.permit(document, policy, ())
    except TrustRefusal:
        return False
    return True
