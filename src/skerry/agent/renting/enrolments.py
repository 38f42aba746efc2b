"""What this host signs as a keeper: the enrolments of its pools' machines. All that decides a machine's share is the pool's.

`watch` keeps them as they should be: an app that was opened to the pool, or whose content key is another, is sealed to each
machine; what the pool says anew is taken over; what is past half its life is signed again. One keeper does it for each
machine, by order; the next ones follow only if it doesn't.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from skerry.core.intent import App, Node, Pool, Secret
from skerry.core.order import order_by_name
from skerry.core.records import Document, MachineSlot
from skerry.errors import TrustRefusal
from skerry.machines.contract import Server
from skerry.trust import seal
from skerry.trust.documents import sign_document
from skerry.trust.joining import Keys, node_of
from skerry.trust.refusals import CannotOpen

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

LIFE_S = 90 * 86400.0
TURN_S = 5.0  # so much later the next keeper does it

log = logging.getLogger(__name__)


class Enrolments:
    """Signs under this host's keeper key; everything that it signs goes through the door like any record."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._due: dict[str, float] = {}  # path -> since when it should be signed anew

    # -- which pools

    def pools(self) -> dict[str, Pool]:
        """Those whose document names this host with the key that it has, by name."""
        if not self._agent.files.is_keeper:
            return {}
        own = self._agent.files.keeper().key
        return {
            document.path.removeprefix("pool/"): document.body
            for document in self._agent.trusted.documents()
            if isinstance(document.body, Pool)
            and not document.body.deleted
            and document.body.keepers.get(self._agent.me) == own
            and not self._agent.trusted.lapsed(document.path)
        }

    def token(self, pool: Pool, offer: str = "") -> str:
        """The token of one of its providers, "" where it has none. Raises CannotOpen."""
        box = pool.tokens.get(self._agent.me, "")
        opened = seal.open_token(self._agent.files.seed("sealing"), box) if box else ""
        return seal.tokens_of(pool, opened).get(offer, "")

    # -- signing

    def enrol(self, slot: MachineSlot, pool: Pool, keys: Keys, server: Server, address: str) -> Document:
        """A machine becomes a node. `address`: from which it comes. Raises TrustRefusal."""
        trusted = self._agent.trusted
        before = trusted.nodes.get(slot.path)
        was = before.body if before is not None and isinstance(before.body, Node) else None
        node = node_of(
            trusted.cloud,
            slot,
            pool,
            keys,
            address="" if server.behind_nat else address,
            region=server.region,
            floor={path: head[1] for path, head in trusted.heads().items() if path in ("root", "policy")},
            boxes=self._boxes(slot.pool, keys.sealing, {}),
            was=was,
        )
        return self.sign(slot, node)

    def sign(self, slot: MachineSlot, node: Node) -> Document:
        """The next version of a machine's enrolment, taken in here as from anybody. Raises TrustRefusal."""
        trusted, now_s = self._agent.trusted, self._agent.clock.wall_s()
        held, epoch = trusted.document(slot.path), trusted.epoch(slot.path)
        raw = sign_document(
            self._agent.files.keeper(),
            trusted.cloud,
            slot.path,
            node,
            epoch=epoch,
            version=held.version + 1 if held is not None and held.epoch == epoch else 1,
            prev=held.hash if held is not None else "",
            issued=max(now_s, held.issued + 0.001 if held is not None else 0.0),
            expires=0.0 if node.state == "expelled" else now_s + LIFE_S,
        )
        record = self._agent.door.offer(raw)
        assert isinstance(record, Document)
        return record

    # -- what is due

    def renew(self) -> None:
        """Sign what should be otherwise by now, if it is this keeper's turn. To be called each second."""
        now_s = self._agent.loop.now_s()
        due: dict[str, float] = {}
        for name, pool in self.pools().items():
            for slot, document in self._machines(name):
                assert isinstance(document.body, Node)
                if slot.index >= pool.max:  # it is on its way out, and nothing can be signed of it but that it is gone
                    continue
                wanted = self._as_it_should_be(slot, document.body, pool)
                life_s = document.expires - document.issued if document.expires else 0.0
                old = life_s and self._agent.clock.wall_s() > document.issued + life_s / 2
                if wanted == document.body and not old:
                    continue
                since_s = due[slot.path] = self._due.get(slot.path, now_s)
                if now_s - since_s >= TURN_S * self._rank(slot, pool):
                    self._sign_again(slot, wanted)
        self._due = due

    def _sign_again(self, slot: MachineSlot, node: Node) -> None:
        try:
            self.sign(slot, node)
        except TrustRefusal as refusal:
            self._agent.links.tell(refusal, self._agent.me)

    def _machines(self, pool: str) -> list[tuple[MachineSlot, Document]]:
        trusted = self._agent.trusted
        slots = ((MachineSlot.of_path(path), document) for path, document in trusted.nodes.items())
        return [(s, d) for s, d in slots if s is not None and s.pool == pool and trusted.enrolled(s.path) is not None]

    def _as_it_should_be(self, slot: MachineSlot, node: Node, pool: Pool) -> Node:
        zone = node.zone if node.zone in (*pool.regions, slot.pool) else slot.pool
        boxes = self._boxes(slot.pool, node.sealing, node.boxes)
        return msgspec.structs.replace(node, weight=pool.weight, labels=pool.labels, zone=zone, boxes=boxes)

    def _rank(self, slot: MachineSlot, pool: Pool) -> int:
        nodes = {path: node for path in pool.keepers if (node := self._agent.trusted.enrolled(path)) is not None}
        return order_by_name(str(slot), nodes).index(self._agent.me)

    def _boxes(self, pool: str, sealing: str, held: dict[str, str]) -> dict[str, str]:
        """The content keys of all apps that operators opened to the pool; a box that is good already stays as it is."""
        boxes: dict[str, str] = {}
        trusted = self._agent.trusted
        for document in trusted.documents():
            if not isinstance(document.body, App) or document.body.deleted or pool not in document.body.pools:
                continue
            app = document.path.removeprefix("app/")
            secret = trusted.document(f"secret/{app}")
            if secret is None or not isinstance(secret.body, Secret) or trusted.lapsed(secret.path):
                continue
            if held.get(app, "").partition(":")[0] == secret.body.key_id:
                boxes[app] = held[app]
                continue
            try:
                key = seal.content_key(self._agent.files.seed("sealing"), self._agent.me, secret)
            except CannotOpen as error:
                log.warning("%s is not opened to machines of %s by this keeper: %s", app, pool, error)
                continue
            boxes[app] = f"{secret.body.key_id}:{seal.make_box(key, sealing, os.urandom(32))}"
        return boxes
