"""What an operator's machine knows of a cloud, and what it can sign. No network here: `session` asks and hands over.

It verifies everything exactly as hosts do: it holds a `Trusted` of its own, filled from the cloud's home, and takes nothing
older than what it has seen before.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import time
from collections.abc import Sequence

import msgspec

from skerry.client.home import CloudHome, Head
from skerry.client.identity import read_operator
from skerry.client.keys import KeyMissing, Passphrase
from skerry.client.recovery import ROOT_LIFE_S
from skerry.core.intent import Alert, App, Body, Node, Policy, Pool, Root, Secret, Tools
from skerry.core.records import Document, MachineSlot
from skerry.errors import TrustRefusal
from skerry.trust import seal
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_document, what_rests_on_what
from skerry.trust.identity import Signer
from skerry.trust.recovery import OperatorKeys
from skerry.trust.refusals import Expired, Stale
from skerry.trust.roles import covers

LIFE_S = 365 * 86400.0  # of a document, by default


class Known:
    """`trusted` is what this operator has verified so far; `file` is what the home remembers of it."""

    def __init__(self, home: CloudHome, passphrase: Passphrase) -> None:
        self.home = home
        self.file = home.read()
        self.passphrase = passphrase
        self.trusted = Trusted(self.file.id)
        self._own: OperatorKeys | None = None
        for text in (*self.file.roots, *self.file.documents.values()):
            self._learn(base64.b64decode(text), load=True)
        self._saved = (self.file, self.trusted.heads()) if home.heads() else None

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def own(self) -> OperatorKeys:
        """This operator's keys; asks for the passphrase at the first use. Raises KeyMissing, WrongPassphrase."""
        if self._own is None:
            self._own = read_operator(self.home, self.passphrase)
        return self._own

    @property
    def signer(self) -> Signer:
        return Signer(self.own.seed)

    @property
    def nodes(self) -> dict[str, Document]:
        """Enrolments that aren't expelled, by path."""
        return {path: d for path, d in self.trusted.nodes.items() if self.trusted.enrolled(path) is not None}

    def document(self, path: str) -> Document | None:
        return self.trusted.document(path)

    def documents(self, kind: str) -> list[Document]:
        """The newest of this kind, by path."""
        return sorted((d for d in self.trusted.documents() if d.kind == kind), key=lambda d: d.path)

    def all_records(self) -> list[str]:
        """Everything a new node has to start with, base64: roots in order, policy, pools, nodes, the rest."""
        paths = sorted(self.file.documents, key=what_rests_on_what)
        return [*self.file.roots, *(self.file.documents[path] for path in paths)]

    def save(self) -> None:
        """Remember what was verified, so that an older state is never taken later."""
        if (self.file, self.trusted.heads()) != self._saved:
            self._learn_from_home()
            state = (self.file, self.trusted.heads())
            self.home.write(self.file)
            self.home.write_heads({path: Head(*head) for path, head in state[1].items()})
            self._saved = state

    def _learn_from_home(self) -> None:
        """What other commands have learned since this was read (a program may stay for days): it must not be forgotten."""
        there = self.home.read()
        if there.id == self.file.id:
            for text in (*there.roots[len(self.file.roots) :], *there.documents.values()):
                if text not in self.file.documents.values():
                    self._learn(base64.b64decode(text))

    @property
    def policy(self) -> Policy:
        document = self.trusted.policy
        assert document is not None and isinstance(document.body, Policy)
        return document.body

    def _certificate(self) -> bytes:
        """By which hosts know this key. Raises KeyMissing."""
        der = self.trusted.client_certificates().get(self.signer.key)
        if der is None:
            raise KeyMissing(
                "no host can be asked", "this key is neither an operator's nor in a role", "see skerry role ls"
            )
        return der

    # -- learning

    def _learn(self, raw: bytes, *, load: bool = False) -> None:
        """What hosts hold, verified here. Expired is no reason not to know it: it is what runs, and is to be renewed."""
        try:
            record = self.trusted.load(raw) if load else self.trusted.judge(raw, now_s=time.time())
        except Expired:
            try:
                record = self.trusted.load(raw)
            except TrustRefusal:
                return
        except TrustRefusal:
            if load:
                raise
            return
        if not load:
            with contextlib.suppress(Stale):  # `load` has taken it in already
                self.trusted.commit(record, raw)
            if isinstance(record, Document):
                self._remember(record, raw)

    def _remember(self, record: Document, raw: bytes) -> None:
        text = base64.b64encode(raw).decode()
        if record.kind == "root":
            self.file = msgspec.structs.replace(self.file, roots=(*self.file.roots, text))
        else:
            self.file = msgspec.structs.replace(self.file, documents={**self.file.documents, record.path: text})

    # -- signing

    def draft(self, path: str, body: Body, *, epoch: int | None = None) -> bytes:
        """Sign the next version of `path`, resting on what was verified here. `epoch`: None for the one in force."""
        epoch = self.trusted.epoch(path) if epoch is None else epoch
        # What says that something is over must never be forgotten: a new host has to learn it in ten years, too.
        over = (isinstance(body, Node) and body.state == "expelled") or (
            isinstance(body, App | Pool | Tools | Alert) and body.deleted
        )
        return self._sign([self.signer], path, body, epoch, 0.0 if over else LIFE_S)

    def draft_root(self, body: Root, root_keys: Sequence[Signer]) -> bytes:
        """The next root, signed by these root keys."""
        return self._sign(root_keys, "root", body, 0, ROOT_LIFE_S)

    def _sign(self, signers: Sequence[Signer], path: str, body: Body, epoch: int, life_s: float) -> bytes:
        held = self.trusted.document(path)
        now_s = time.time()
        return sign_document(
            signers,
            self.file.id,
            path,
            body,
            epoch=epoch,
            version=held.version + 1 if held is not None and held.epoch == epoch else 1,
            prev=held.hash if held is not None else "",
            issued=max(now_s, held.issued + 0.001 if held is not None else 0.0),
            expires=now_s + life_s if life_s else 0.0,
        )

    def may_sign(self, path: str) -> bool:
        """Whether a role of this key covers the path now (alone or with others)."""
        mine = [role for role in self.trusted.roles() if self.signer.key in role.keys]
        return any(covers(role, path, time.time()) for role in mine)

    def adopt_own(self, raws: Sequence[bytes]) -> None:
        """Take in what was signed while there is no host to hand it to: the first one gets it when it joins."""
        for raw in raws:
            record = self.trusted.judge(raw, now_s=time.time(), from_client=True)
            self.trusted.commit(record, raw)
            if isinstance(record, Document):
                self._remember(record, raw)
        self.save()

    def content_key(self, secret: Document | None) -> bytes:
        """The key under which an app's environment is sealed. Raises CannotOpen when it isn't opened to this operator."""
        return seal.content_key(self.own.sealing, self.signer.key, secret)

    def seal_for_all(self, key: bytes) -> Secret:
        """A content key, opened to all fixed hosts and operators; to a pool's machines their keepers open it."""
        holders = {
            path: d.body.sealing
            for path, d in self.nodes.items()
            if isinstance(d.body, Node) and MachineSlot.of_path(path) is None and not d.body.voter_only
        }
        holders |= {operator.key: operator.sealing for operator in self.trusted.operators()}
        boxes = {name: seal.make_box(key, sealing, secrets.token_bytes(32)) for name, sealing in holders.items()}
        return Secret(key_id=secrets.token_hex(8), boxes=boxes)
