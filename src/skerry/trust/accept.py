"""The one door to belief: bytes come in, verified records go out, in an order that can't be got wrong.

`Trusted` is all that a node (or an operator's machine) holds and believes. `judge` says whether a record may come in,
cheapest check first, and changes nothing but rates; `commit` takes it in, once its bytes are safe. The steps are
those of design.md section 6, "When a record is accepted". What a caller does with each refusal: see refusals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from skerry.core.intent import Node, Pool
from skerry.core.records import Document, Fact, MachineSlot, Record, is_direct
from skerry.errors import TrustRefusal
from skerry.trust import checks, checks_fact, checks_pool, client_checks, clock, documents
from skerry.trust import envelope as dsse
from skerry.trust.envelope import Envelope
from skerry.trust.holdings import Committed, Holdings, fallback_of
from skerry.trust.identity import verify
from skerry.trust.quotas import PATHS_MAX, Author
from skerry.trust.rates import AUTHOR_BURST, AUTHOR_PER_S, DIRECT_BURST, DIRECT_PER_S, LINK_BURST, LINK_PER_S, Rates
from skerry.trust.refusals import (
    AlreadyHeld,
    Expelled,
    Expired,
    FalseSignature,
    FromTheFuture,
    Malformed,
    NotNamed,
    NotYet,
    OutOfBounds,
    OutOfPool,
    Quota,
    RateExceeded,
    RootAhead,
    RootFork,
    Stale,
    Twin,
    UnknownAuthor,
    WrongCloud,
)

__all__ = [
    "AlreadyHeld", "Committed", "FalseSignature", "NotYet", "Stale", "Trusted", "Twin",
]  # fmt: skip


class Trusted(Holdings):
    """`cloud`: the hash of the cloud's first root. Not for several threads at once."""

    def __init__(self, cloud: str) -> None:
        super().__init__(cloud)
        self._links = Rates(LINK_PER_S, LINK_BURST, "neighbour")
        self._rates = Rates(AUTHOR_PER_S, AUTHOR_BURST, "author")
        self._direct = Rates(DIRECT_PER_S, DIRECT_BURST, "author")

    def judge(
        self,
        raw: bytes,
        *,
        now_s: float,
        source: str = "",
        from_client: bool = False,
        neighbours_s: Sequence[float] = (),
    ) -> Record:
        """The verified record in `raw`, to be stored and then committed.

        `now_s`: own wall clock, `neighbours_s`: the clocks of neighbours' newest `up`, unix seconds. `source`: the
        link that brought it, "" for ourselves and for clients. Raises a TrustRefusal, never anything else.
        """
        # Step 1: the link's rate and size before any reading; then form, kind and cloud.
        if source:
            self.charge_link(source, now_s)
        envelope = dsse.parse(raw)
        cloud, record = documents.decode(envelope)
        if isinstance(record, Fact):
            self._check_cloud(cloud, record.id)
            self._judge_fact(envelope, record, len(raw), now_s, source)
            return record
        # A path is made of few characters before it is a name in any message; bodies are looked at in step 5.
        checks.path(record.path, record.kind)
        first = record.path == "root" and record.version == 1
        self._check_cloud(cloud, record.id, first=first, hash=record.hash)
        held = self.document(record.path)
        loses = self._check_newer(record, held)  # Step 2
        self.permit(record)  # Step 3, and whether enough keys say they signed
        verify_all(envelope, record.id)  # Step 4
        # Documents have no author's rate: one operator's key signs all of them, and a node that joins gets all at once.
        self._check_bounds(record, held, now_s, neighbours_s)  # Step 5
        if from_client:
            client_checks.check(self, record, held)
        if loses:
            self._evidence[record.path] = record.hash
            raise Twin(record.id, record.order[:2], record)
        return record  # Step 6, syncing and forwarding, is the caller's

    def load(self, raw: bytes) -> Record:
        """Take in a record that our own disk held at start: signatures and form as ever, without clock and rates.

        What the policy on the same disk no longer covers comes back as lapsed. The newest root is taken without its
        chain, which was walked when it came; offer the chain's earlier roots first where they are at hand. Raises
        TrustRefusal; NotYet means that another record has to be loaded first.
        """
        envelope = dsse.parse(raw)
        cloud, record = documents.decode(envelope)
        if isinstance(record, Fact):
            self._check_cloud(cloud, record.id)
            self._judge_fact(envelope, record, len(raw), 0.0, "")
            self.commit(record, raw)
            return record
        checks.document(record)
        self._check_cloud(cloud, record.id, first=record.path == "root" and record.version == 1, hash=record.hash)
        if not (record.kind == "root" and self.root is None) and self._check_newer(record, self.document(record.path)):
            raise Stale(record.id, record.order[:2], record.order[:2])
        if record.kind == "root":
            self.permit(record)
        elif self.root is None or (self.policy is None and record.kind != "policy"):
            raise NotYet(
                f"{record.path} was not loaded", "what it rests on was not loaded yet", "load root and policy first"
            )
        verify_all(envelope, record.id)
        self.commit(record, raw)
        if record.kind != "root" and not self._allowed(record):
            self._lapsed.add(record.path)
        return record

    def judge_named(self, raw: bytes, hash: str) -> Document:
        """A document that isn't the newest of its path, but that the newest names by hash as its fallback; it is held
        from now on.

        Who signed the newest vouches for these very bytes, so roles aren't asked again: turning back must also work
        after its signer has lost the key. An earlier root of the chain is taken likewise. Raises TrustRefusal.
        """
        envelope = dsse.parse(raw)
        cloud, record = documents.decode(envelope)
        if isinstance(record, Fact):
            raise Malformed("a fact was not accepted", "only documents are named by hash")
        checks.document(record)
        self._check_cloud(cloud, record.id, first=record.path == "root" and record.version == 1, hash=record.hash)
        held = self.document(record.path)
        named = held is not None and (
            fallback_of(held) == record.hash or (record.kind == "root" and record.version < held.version)
        )
        if record.hash != hash or not named:
            raise NotNamed(
                f"{record.path} was not accepted", "nothing that is held names these bytes", "ask for it by its hash"
            )
        verify_all(envelope, record.id)
        self._named[record.hash] = record
        return record

    def charge_link(self, source: str, now_s: float, many: int = 1) -> None:
        """Something came from this neighbour: a record, or a message of another kind, that costs as much as so many. Raises
        RateExceeded.

        Nobody's bucket is forgotten with its link, or coming back would fill it; there are no more than enrolled nodes.
        """
        try:
            self._links.charge(source, now_s, many)
        except RateExceeded as refusal:
            refusal.of_link = True
            raise

    # -- the steps

    def _check_cloud(self, cloud: str, id: str, *, first: bool = False, hash: str = "") -> None:
        """The first root can't name the cloud, as it is what the cloud is named after."""
        if (cloud, hash) == ("", self.cloud) if first else cloud == self.cloud:
            return
        raise WrongCloud(
            f"{id[:80]} was not accepted",
            f"it belongs to cloud {(hash if first else cloud)[:12]!r}, not {self.cloud[:12]}",
        )

    def _check_newer(self, record: Document, held: Document | None) -> bool:
        """Step 2. Whether it has the number of what is held and loses against it: then it goes on, but only as
        evidence.
        """
        if record.kind == "root":
            self._check_chain(record, held)
        if held is None:
            return False
        if record.hash == held.hash:
            if record.path in self._lapsed:  # the same bytes may bear other signatures now
                return False
            raise AlreadyHeld(f"{record.path} is held already")
        if record.order[:2] < held.order[:2] or self._evidence.get(record.path) == record.hash:
            raise Stale(record.id, record.order[:2], held.order[:2])
        return record.order < held.order

    def _check_chain(self, record: Document, held: Document | None) -> None:
        """Roots one by one: each follows the one before it by number and by hash."""
        at = held.version if held is not None else 0
        if record.version > at + 1:
            raise RootAhead(record.version, at + 1, record.prev)
        if record.version == at + 1 and record.prev != (held.hash if held is not None else ""):
            raise RootFork(f"root {record.version} was not accepted", "it does not follow the root held here", FORK_FIX)
        if held is not None and record.version == at and record.hash != held.hash:
            raise RootFork(
                f"root {at} was not accepted",
                "another root with this version is held: they are not to be trusted both",
                FORK_FIX,
            )

    def _check_bounds(
        self, record: Document, held: Document | None, now_s: float, neighbours_s: Sequence[float]
    ) -> None:
        """Step 5: the body, its epoch, and what clocks have a say in."""
        checks.document(record)
        self._check_machine(record)
        self.check_epoch(record)
        root, policy = self.root, self.policy
        floor_s = max((d.issued for d in (root, policy) if d is not None), default=0.0)
        at_s = clock.agreed_s(now_s, neighbours_s, not_before_s=floor_s)
        if record.issued > at_s + clock.AHEAD_MAX_S:
            raise FromTheFuture(record.path, record.issued - at_s - clock.AHEAD_MAX_S)
        # Roots are exempt: the chain must stay walkable, and a new root is how an expired one is mended.
        if record.kind != "root":
            _check_life(record, record, at_s)
            judge = root if record.kind == "policy" else policy
            if judge is not None:
                _check_life(judge, record, at_s)
        if held is None and record.kind not in ("root", "policy"):
            nodes = len(self._nodes)
            have = nodes if record.kind == "node" else len(self._documents) - nodes
            if have >= PATHS_MAX:
                raise Quota(
                    f"{record.path} was not accepted", f"there are {PATHS_MAX} paths already", "use one that exists"
                )

    def _check_machine(self, record: Document) -> None:
        """A machine's enrolment is bounded by its pool, as that is held here: another version of it may allow more."""
        slot = MachineSlot.of_path(record.path)
        if slot is None or not isinstance(record.body, Node):
            return
        path = f"pool/{slot.pool}"
        held = self.document(path)
        if held is None or not isinstance(held.body, Pool) or path in self._lapsed:
            raise NotYet(
                f"{record.path} was not accepted", f"{path} is not held here", "send the pool first", wants=path
            )
        try:
            checks_pool.machine(record.path, record.body, held.body, self.cloud)
        except OutOfBounds as refusal:
            raise OutOfPool(
                f"{record.path} was not accepted", refusal.why, "sign it as the pool says", wants=path
            ) from None

    def _judge_fact(self, envelope: Envelope, fact: Fact, size_bytes: int, now_s: float, source: str) -> None:
        """Facts have no role, expiry or epoch: one author, its own key, its own sequence."""
        author = self._authors.get(fact.node) or Author()
        mark = author.marks.get(fact.id)  # Step 2
        loses = False
        if mark is not None:
            if mark.hash == fact.hash:
                raise AlreadyHeld(f"{fact.id} is held already")
            if fact.seq < mark.order[:2]:
                raise Stale(fact.id, fact.seq, mark.order[:2])
            loses = fact.order < mark.order
        elif fact.seq <= author.floor:
            raise Stale(fact.id, fact.seq, author.floor)
        node = self._check_author(fact, envelope.signatures[0].keyid)  # Step 3
        verify_all(envelope, fact.id)  # Step 4
        try:
            if source:
                (self._direct if is_direct(fact) else self._rates).charge(fact.node, now_s)
            checks_fact.fact(fact, node)  # Step 5
            author.room_for(fact, size_bytes)
        except (RateExceeded, Quota) as refusal:
            refusal.author = fact.node
            raise
        if loses:
            raise Twin(fact.id, fact.seq, fact)

    def _check_author(self, fact: Fact, key: str) -> Node:
        held = self.nodes.get(fact.node)
        if held is None:
            raise UnknownAuthor(
                f"a fact of {fact.node[:80]} was not accepted",
                "no such node is enrolled here",
                "enrol it",
                wants=fact.node[:80],
            )
        node = self.enrolled(fact.node)
        if node is None:
            raise Expelled(f"a fact of {fact.node} was not accepted", "that node was expelled", "see: skerry host ls")
        if key != node.signing:
            raise UnknownAuthor(
                f"a fact of {fact.node} was not accepted",
                "it is not signed by the key that the node is enrolled with",
                "only a node itself can say what runs on it",
                wants=fact.node,
            )
        return node


def load_all(cloud: str, raws: Iterable[bytes]) -> Trusted:
    """All of a cloud's records that some disk held, in any order. What rests on nothing, or is refused, is left out."""
    trusted, todo = Trusted(cloud), list(raws)
    while todo:
        left = []
        for raw in todo:
            try:
                trusted.load(raw)
            except NotYet:
                left.append(raw)
            except TrustRefusal:
                continue
        if len(left) == len(todo):
            break
        todo = left
    return trusted


FORK_FIX = "compare with the recovery file which root is yours; skerry host adopt takes hosts back"


def verify_all(envelope: Envelope, id: str) -> None:
    """Step 4: every signature, those of keys without a role too, or a relay could be made to pass on false ones.

    Raises FalseSignature.
    """
    message = dsse.pae(envelope.payloadType, envelope.payload)
    for signature in envelope.signatures:
        if not verify(signature.keyid, message, signature.sig):
            raise FalseSignature(
                f"{id[:80]} was not accepted", f"key {signature.keyid[:16]} did not sign it", "close the link"
            )


def _check_life(of: Document, record: Document, at_s: float) -> None:
    """Expiry admits no change; what was accepted before it goes on, as nothing is judged again for it."""
    if of.expires and at_s > of.expires:
        why = "it has expired" if of is record else f"the {of.kind} that would allow it has expired"
        raise Expired(f"{record.path} was not accepted", why, f"sign a new {of.path}")
