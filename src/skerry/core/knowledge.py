"""All records that this node holds, as indices: newest documents, the older ones that may be named as fallback, facts.

Keeps, never judges: trust has checked every record before. A fact is found by (kind, key) and then by node.
"""

from __future__ import annotations

from typing import TypeVar

from skerry.core.facts import FactBody
from skerry.core.intent import App, Body, Node, Release, Secret
from skerry.core.lodging import Lodging
from skerry.core.records import Document, Fact, MachineSlot, Record

T = TypeVar("T", bound=Body)
F = TypeVar("F", bound=FactBody)
_OLDER_KEPT = 8  # a fallback may arrive before the document that names it


class Knowledge:
    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.older: dict[str, dict[str, Document]] = {}  # path -> hash -> document
        self.nodes: dict[str, Node] = {}  # enrolled and not expelled
        self.facts: dict[str, dict[str, dict[str, FactBody]]] = {}  # kind -> key -> node -> body
        self._by_node: dict[str, dict[str, dict[str, None]]] = {}  # node -> kind -> keys
        self.lodging = Lodging()
        self._orders: dict[tuple[str, str, str], tuple[int, int, float, str]] = {}  # (node, kind, key)
        self.membership = 0  # grows when enrolments change: orders are cached under it

    def accept(self, record: Record) -> bool:
        """Take it in; False: nothing newer, nothing changed."""
        return self._document(record) if isinstance(record, Document) else self._fact(record)

    def _document(self, new: Document) -> bool:
        old = self.documents.get(new.path)
        if old is not None and new.order <= old.order:
            if new.hash == old.hash or new.hash in self.older.get(new.path, ()):
                return False
            self._keep_older(new)
            return True
        self.documents[new.path] = new
        if old is not None:
            self._keep_older(old)
        if isinstance(new.body, Node):
            self.membership += 1
            if old is not None and isinstance(old.body, Node) and old.body.signing != new.body.signing:
                self._drop_facts(new.path)  # another key, other numbers
            if new.body.state == "expelled":
                self.nodes.pop(new.path, None)
                self._drop_facts(new.path)
            else:
                self.nodes[new.path] = new.body
        return True

    def _keep_older(self, document: Document) -> None:
        if document.kind not in ("app", "release"):
            return
        kept = self.older.setdefault(document.path, {})
        kept[document.hash] = document
        named = self._named(document.path)
        while len(kept) > _OLDER_KEPT:
            del kept[min(kept, key=lambda digest: (digest in named, kept[digest].order))]

    def _named(self, path: str) -> str:
        body = self.documents[path].body if path in self.documents else None
        return body.fallback if isinstance(body, App | Release) else ""

    def _fact(self, new: Fact) -> bool:
        place = (new.node, new.kind, new.key)
        held = self._orders.get(place)
        if held is not None and new.order <= held:
            return False
        self._orders[place] = new.order
        self.put(new.node, new.kind, new.key, new.body)
        return True

    def forget(self, node: str, kind: str, key: str) -> None:
        """A withdrawn fact whose number trust remembers no longer (it has a floor instead)."""
        self._orders.pop((node, kind, key), None)

    def put(self, node: str, kind: str, key: str, body: FactBody | None) -> None:
        """Set or withdraw (None) a fact whatever its number: for our own, which count when they are published."""
        about = self.facts.setdefault(kind, {}).setdefault(key, {})
        keys = self._by_node.setdefault(node, {}).setdefault(kind, {})
        if body is None:
            about.pop(node, None)
            keys.pop(key, None)
            if not about:
                del self.facts[kind][key]
        else:
            about[node] = body
            keys[key] = None
        if kind == "slot":
            self.lodging.heard(node, key, body)

    def told_by(self, node: str, kind: str) -> list[str]:
        """Keys of all facts of that kind that a node has told."""
        return list(self._by_node.get(node, {}).get(kind, ()))

    def _drop_facts(self, node: str) -> None:
        for place in [place for place in self._orders if place[0] == node]:
            del self._orders[place]
        for kind, keys in self._by_node.pop(node, {}).items():
            for key in keys:
                del self.facts[kind][key][node]
                if kind == "slot":
                    self.lodging.heard(node, key, None)
                if not self.facts[kind][key]:
                    del self.facts[kind][key]

    def body(self, path: str, kind: type[T]) -> T | None:
        """The newest body at `path`, if it is of that kind."""
        document = self.documents.get(path)
        return document.body if document is not None and isinstance(document.body, kind) else None

    def by_hash(self, path: str, digest: str) -> Document | None:
        """The document at `path` with that payload hash: newest or older."""
        newest = self.documents.get(path)
        if newest is not None and newest.hash == digest:
            return newest
        return self.older.get(path, {}).get(digest)

    def about(self, kind: str, key: str) -> dict[str, FactBody]:
        """node -> body of all facts of that kind and key."""
        return self.facts.get(kind, {}).get(key, {})

    def of(self, node: str, kind: str, key: str, shape: type[F]) -> F | None:
        body = self.facts.get(kind, {}).get(key, {}).get(node)
        return body if isinstance(body, shape) else None

    def boot_of(self, node: str, kind: str, key: str) -> int:
        """In which life (start count) of its author a fact was told; 0 if unknown."""
        return self._orders.get((node, kind, key), (0, 0, 0.0, ""))[0]

    def version(self, path: str) -> int:
        return self.documents[path].version if path in self.documents else 0

    def may_read(self, app: str, node: str) -> bool:
        """Whether the app's content key is sealed to that node (or there is none).

        A pool's machine: only if the app is opened to its pool.
        """
        secret = self.body(f"secret/{app}", Secret)
        machine = MachineSlot.of_path(node)
        if machine is None:
            return secret is None or node in secret.boxes
        asks = self.body(f"app/{app}", App)
        if asks is None or machine.pool not in asks.pools:
            return False
        enrolment = self.nodes.get(node)
        box = enrolment.boxes.get(app, "") if enrolment is not None else ""
        return secret is None or box.partition(":")[0] == secret.key_id

    def readers(self, app: str) -> object:
        """What `may_read` depends on, to be compared: apps of one value have the same readers."""
        secret, asks = self.body(f"secret/{app}", Secret), self.body(f"app/{app}", App)
        pools = asks.pools if asks is not None else ()
        return (frozenset(secret.boxes) if secret is not None else None, pools, app if pools else "")

    def apps(self) -> list[str]:
        return [path.removeprefix("app/") for path in self.documents if path.startswith("app/")]
