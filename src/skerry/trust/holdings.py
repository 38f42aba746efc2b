"""All that is held and believed: the newest document of each path, the number of each fact, and what follows from
them.

Only `accept` puts something in, after judging it. What a newer root or policy no longer covers *lapses*: it goes on
being run (losing a signer must never stop a service), but is neither offered to others nor counted among the heads,
and the next document of that path, of a higher epoch, replaces it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Self

import msgspec

from skerry.core.intent import App, Node, Operator, Policy, Release, Role, Root
from skerry.core.records import Document, Fact, MachineSlot, Record
from skerry.errors import TrustRefusal
from skerry.trust import roles
from skerry.trust.quotas import Author, Mark
from skerry.trust.refusals import BarredKey, EpochAhead, EpochMismatch, NotYet, Stale

Head = tuple[int, int, str]


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What taking a record in changed, for whoever keeps bytes and links. Raw bytes come with what they are kept under.

    `evidence`: (path, raw) that had the same number and lost. `named`: (hash, raw) to keep although it is not the
    newest: a fallback, or a root of the chain; `unnamed`: hashes that nothing names any more. `expelled`: nodes whose
    links and facts go now: they were expelled, or enrolled anew with another key. `forgotten`: ids of withdrawn facts
    that were let go for room. `lapsed`: paths that stopped being covered.
    """

    replaced: Record | None = None
    evidence: tuple[tuple[str, bytes], ...] = ()
    named: tuple[tuple[str, bytes], ...] = ()
    unnamed: tuple[str, ...] = ()
    expelled: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    lapsed: tuple[str, ...] = ()


class Holdings:
    """`cloud`: the hash of its first root, the one thing that is believed without proof."""

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        self._documents: dict[str, Document] = {}
        self._raw: dict[str, bytes] = {}
        self._nodes: dict[str, Document] = {}
        self._lapsed: set[str] = set()
        self._named: dict[str, Document] = {}  # by hash: fallbacks and earlier roots
        self._evidence: dict[str, str] = {}  # path -> hash of the twin that lost
        self._authors: dict[str, Author] = {}
        self._barred: frozenset[str] = frozenset()
        self._owners: dict[str, str] = {}  # signing and WireGuard keys -> whose they are

    def copy(self) -> Self:
        """The same documents, to try something on: what the copy takes in changes nothing here. Facts stay behind."""
        other = type(self)(self.cloud)
        other._documents, other._raw, other._nodes = dict(self._documents), dict(self._raw), dict(self._nodes)
        other._lapsed, other._named, other._evidence = set(self._lapsed), dict(self._named), dict(self._evidence)
        other._barred, other._owners = self._barred, self._owners
        return other

    # -- what is held

    @property
    def root(self) -> Document | None:
        return self._documents.get("root")

    @property
    def policy(self) -> Document | None:
        return self._documents.get("policy")

    @property
    def nodes(self) -> dict[str, Document]:
        """Enrolments by path, expelled ones too. Not to be changed."""
        return self._nodes

    def document(self, path: str) -> Document | None:
        """The newest one, also when it has lapsed."""
        return self._documents.get(path)

    def documents(self) -> Iterator[Document]:
        return iter(tuple(self._documents.values()))

    def raw(self, path: str) -> bytes | None:
        """The exact bytes of the newest document."""
        return self._raw.get(path)

    def named(self, hash: str) -> Document | None:
        """A fallback or earlier root that is held."""
        return self._named.get(hash)

    def lapsed(self, path: str) -> bool:
        return path in self._lapsed

    def heads(self) -> dict[str, Head]:
        """path -> (epoch, version, hash) of what others may be shown and should have; what lapsed is not in it."""
        return {
            path: (held.epoch, held.version, held.hash)
            for path, held in self._documents.items()
            if path not in self._lapsed
        }

    def fact_heads(self) -> dict[str, tuple[int, int, str]]:
        """Fact id -> (start count, n, hash)."""
        return {
            id: (mark.order[0], mark.order[1], mark.hash)
            for author in self._authors.values()
            for id, mark in author.marks.items()
        }

    # -- who is who

    def enrolled(self, node: str) -> Node | None:
        """The enrolment of a node that may take part: not expelled, its key not barred."""
        held = self._nodes.get(node)
        if held is None:
            return None
        body = _node(held)
        return None if body.state == "expelled" or body.signing in self.barred() else body

    def operators(self) -> tuple[Operator, ...]:
        root = self._root()
        return root.operators if root is not None else ()

    def roles(self) -> tuple[Role, ...]:
        """The policy's roles without barred keys."""
        policy = self._policy()
        if policy is None:
            return ()
        barred = set(policy.barred)
        return tuple(
            msgspec.structs.replace(role, keys=tuple(key for key in role.keys if key not in barred))
            for role in policy.roles
        )

    def operator_keys(self) -> frozenset[str]:
        """The keys of operators that policy has not barred."""
        policy = self._policy()
        return frozenset(operator.key for operator in self.operators()) - set(policy.barred if policy else ())

    def client_certificates(self) -> dict[str, bytes]:
        """key -> DER of everybody but nodes who may open a link: operators, and holders of roles (CI)."""
        policy = self._policy()
        found = {operator.key: operator.certificate for operator in self.operators()}
        for role in policy.roles if policy else ():
            found.update(role.certificates)
        barred = policy.barred if policy else ()
        return {key: base64.b64decode(text) for key, text in found.items() if key not in barred}

    def barred(self) -> frozenset[str]:
        """Keys that no node may have: the policy's, and those of expelled nodes unless the policy readmits them."""
        return self._barred

    def epoch(self, path: str) -> int:
        """The epoch in which a new document of `path` is to be signed."""
        return roles.epoch_of(path, self._root(), self._policy())

    def below_floor(self, node: str) -> tuple[str, ...]:
        """Paths whose version here is below the one that held when this node's enrolment was signed: don't claim
        before it is empty.
        """
        held = self._nodes.get(node)
        floor = _node(held).floor if held is not None else {}
        return tuple(
            path
            for path, version in floor.items()
            if (d := self._documents.get(path)) is None or (d.epoch == 0 and d.version < version)
        )

    # -- what the root, policy and enrolments held here say of a document

    def permit(self, record: Document) -> None:
        """Whether roles cover it, by the signers that it names. Raises NotYet of some kind."""
        root, policy = self._root(), self._policy()
        if record.kind == "root":
            roles.permit_root(record, root)
            return
        if root is None:
            raise NotYet(
                f"{record.path} was not accepted", "no root is held here yet", "send the root first", wants="root"
            )
        if record.kind == "policy":
            roles.permit_policy(record, root)
            return
        if policy is None:
            raise NotYet(f"{record.path} was not accepted", "no policy is held here yet", "send the policy first")
        if (
            "policy" in self._lapsed
        ):  # else a stolen operator's last policy would outlive the root that took the key away
            raise NotYet(
                f"{record.path} was not accepted",
                "the policy held here is not one of the newest root's operators",
                "let operators sign the policy again",
            )
        roles.permit(record, policy, self._known_keys())
        if isinstance(record.body, Node) and record.body.state != "expelled":
            self._check_barred(record.path, record.body, policy)

    def _check_barred(self, path: str, node: Node, policy: Policy) -> None:
        for key in (node.signing, node.wireguard) if MachineSlot.of_path(path) is not None else ():
            owner = self._owners.get(key, path)
            if owner != path and _rank(owner) < _rank(path):
                raise BarredKey(
                    f"{path} was not accepted",
                    f"it has a key of {owner}: links and tunnel would take the one for the other",
                    "let the machine make keys of its own",
                )
        own = set(node.barred) - set(policy.readmitted)
        if {node.signing, node.sealing, node.wireguard} & (self._barred | own):
            raise BarredKey(
                f"{path} was not accepted",
                "one of its keys was barred when a node was expelled",
                "give the host new keys (skerry host rm --purge, then host add), or let the policy readmit the key",
            )

    def check_epoch(self, record: Document) -> None:
        """Raises EpochAhead (ours may be behind) or EpochMismatch (its epoch is over)."""
        epoch = self.epoch(record.path)
        if record.epoch > epoch:
            raise EpochAhead(
                f"{record.path} was not accepted",
                f"it is of epoch {record.epoch}; the one known here is {epoch}",
                "send the policy that raised it first",
                wants="root" if record.kind == "policy" else "policy",
            )
        if record.epoch < epoch:
            raise EpochMismatch(
                f"{record.path} was not accepted",
                f"it is of epoch {record.epoch}, and a key was taken away since: now it is {epoch}",
                "let somebody whose key is still good sign it again",
            )

    def _known_keys(self) -> Iterator[str]:
        root = self._root()
        yield from root.keys if root is not None else ()
        yield from (operator.key for operator in self.operators())
        yield from (_node(document).signing for document in self._nodes.values())

    # -- taking in

    def commit(self, record: Record, raw: bytes, now_s: float = 0.0) -> Committed:
        """Make a record that `judge` gave the newest one. Call it once the bytes are where they must be.

        Raises Stale if a newer one came in between, and Quota. `now_s` is not used; it keeps the calls of one kind.
        """
        if isinstance(record, Fact):
            return self._commit_fact(record, raw)
        held = self._documents.get(record.path)
        again = held is not None and held.hash == record.hash
        if held is not None and not again and held.order >= record.order:
            raise Stale(record.id, record.order[:2], held.order[:2])
        old_raw = self._raw.get(record.path, b"")
        evidence: tuple[tuple[str, bytes], ...] = ()
        named: tuple[tuple[str, bytes], ...] = ()
        if held is not None and not again:
            if held.order[:2] == record.order[:2]:
                evidence = ((record.path, old_raw),)
                self._evidence[record.path] = held.hash
            else:
                self._evidence.pop(record.path, None)
            if record.kind == "root" or fallback_of(record) == held.hash:
                named = ((held.hash, old_raw),)
                self._named[held.hash] = held
        before = set(self._lapsed)
        out = {path for path in self._nodes if self.enrolled(path) is None}
        self._documents[record.path], self._raw[record.path] = record, raw
        self._lapsed.discard(record.path)
        if record.kind == "node":
            self._nodes[record.path] = record
        if record.kind in ("root", "policy", "node"):
            self._judge_again(record.kind, held)
        expelled = tuple(path for path in self._nodes if path not in out and self.enrolled(path) is None)
        if held is not None and record.kind == "node" and _node(held).signing != _node(record).signing:
            expelled = tuple({*expelled, record.path})  # what the old key said, nobody could check any more
        for path in expelled:
            self._authors.pop(path, None)
        return Committed(
            replaced=held,
            evidence=evidence,
            named=named,
            unnamed=self._unname(held),
            expelled=expelled,
            lapsed=tuple(sorted(self._lapsed - before)),
        )

    def _commit_fact(self, fact: Fact, raw: bytes) -> Committed:
        author = self._authors.setdefault(fact.node, Author())
        mark = author.marks.get(fact.id)
        if mark is not None and mark.order >= fact.order:
            raise Stale(fact.id, fact.seq, mark.order[:2])
        forgotten = author.room_for(fact, len(raw))
        for id in forgotten:
            author.forget(id)
        author.put(fact.id, Mark(fact.order, fact.hash, len(raw), fact.body is None))
        return Committed(forgotten=tuple(forgotten))

    def _judge_again(self, kind: str, held: Document | None) -> None:
        """After a change of root, policy or enrolments: what do the rules say now of what is held?"""
        before = (self._barred, self._owners)
        self._barred, self._owners = self._count_barred(), self._count_owners()
        if kind == "node" and before == (self._barred, self._owners):
            return
        todo = self._nodes if kind == "node" else self._documents
        for path, document in sorted(todo.items(), key=lambda item: item[0] != "policy"):  # all others rest on it
            if path == "root" or self._allowed(document):
                self._lapsed.discard(path)
            else:
                self._lapsed.add(path)

    def _allowed(self, document: Document) -> bool:
        try:
            self.permit(document)
            self.check_epoch(document)
        except TrustRefusal:
            return False
        return True

    def _count_barred(self) -> frozenset[str]:
        policy = self._policy()
        keys: set[str] = set()
        for document in self._nodes.values():
            body = _node(document)
            keys.update(body.barred)
            if body.state == "expelled":
                keys.update((body.signing, body.sealing, body.wireguard))
        return frozenset((keys - set(policy.readmitted if policy else ())) | set(policy.barred if policy else ()))

    def _count_owners(self) -> dict[str, str]:
        """Of several enrolments with one key it is the fixed host's, else the first path's: so all agree, in whichever order."""
        owners: dict[str, str] = {}
        for path in sorted(self._nodes, key=_rank):
            node = _node(self._nodes[path])
            for key in (node.signing, node.wireguard) if node.state != "expelled" else ():
                owners.setdefault(key, path)
        return owners

    def _unname(self, held: Document | None) -> tuple[str, ...]:
        """Let go of fallbacks that only the replaced document named."""
        gone = fallback_of(held) if held is not None else ""
        if not gone or gone not in self._named or any(fallback_of(d) == gone for d in self._documents.values()):
            return ()
        del self._named[gone]
        return (gone,)

    def _root(self) -> Root | None:
        held = self.root
        if held is None:
            return None
        assert isinstance(held.body, Root)
        return held.body

    def _policy(self) -> Policy | None:
        held = self.policy
        if held is None:
            return None
        assert isinstance(held.body, Policy)
        return held.body


def fallback_of(document: Document) -> str:
    """The hash of the document to turn back to, "" for none."""
    return document.body.fallback if isinstance(document.body, App | Release) else ""


def _rank(path: str) -> tuple[bool, str]:
    """Fixed hosts before machines of pools."""
    return MachineSlot.of_path(path) is not None, path


def _node(document: Document) -> Node:
    assert isinstance(document.body, Node)
    return document.body
