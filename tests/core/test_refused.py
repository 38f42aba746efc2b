"""Images that the lint refuses, as one core decides about them: never started, nothing stopped for them, and said to everybody."""

from __future__ import annotations

import msgspec
import pytest

from skerry.core import effects as do
from skerry.core import events as ev
from skerry.core.facts import Decline, Verdict
from skerry.core.intent import Service, init_of
from skerry.core.node import NodeCore
from skerry.core.records import Document, Slot
from skerry.sim import documents as docs

ME = "node/vps-1"
WEB = Service(replicas=1)
SLOT = Slot("shop", "web", 0)
SHELL = {"shell": "bin/dash is a shell", "editor": "bin/vim is an editor"}
ALLOWS = msgspec.structs.replace(WEB, allow={"shell": "the report calls sh", "editor": "why not"})


class Node:
    """One core alone, with what it answers taken as done at once."""

    def __init__(self) -> None:
        self.core = NodeCore()
        self.now = 100.0
        self.all: list[do.Effect] = []
        self.step(ev.Booted(node=ME, boot=2, cpus=2.0, memory_bytes=1 << 30, clock=1e9))
        self.take(docs.node("vps-1"))

    def step(self, event: ev.Event, later_s: float = 0.0) -> list[do.Effect]:
        self.now += later_s
        effects = self.core.step(event, self.now)
        self.all += effects
        for effect in effects:
            if isinstance(effect, do.Start):
                self.step(ev.ContainerStarted(effect.slot, effect.spec, "10.77.1.2", f"c{len(self.all)}"))
            elif isinstance(effect, do.Stop):
                self.step(ev.ContainerStopped(effect.slot, effect.spec, effect.container))
        return effects

    def take(self, *records: Document) -> None:
        for record in records:
            self.step(ev.RecordAccepted(record=record))

    def images(self, **found: dict[str, str]) -> None:
        """These are here (by the word of `docs.image_of`), with what the lint found in them."""
        for word, what in found.items():
            self.step(ev.ImageReady(docs.image_of(word), 0.0, what))

    def pass_s(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.step(ev.Timer(), 0.25)

    def said(self, kind: str) -> list[str]:
        return [effect.reason for effect in self.all if isinstance(effect, do.Note) and effect.kind == kind]

    def published(self, kind: str) -> list[object]:
        return [
            effect.body for effect in self.all if isinstance(effect, do.Publish) and effect.kind == kind and effect.body
        ]

    @property
    def started(self) -> list[str]:
        return [effect.image for effect in self.all if isinstance(effect, do.Start)]


def wanted(service: Service = WEB) -> list[Document]:
    return [docs.release("shop", {"web": "one"}), docs.app("shop", {"web": service})]


def test_a_refused_image_is_never_started_and_nobody_claims_it() -> None:
    node = Node()
    node.images(one=SHELL)
    node.take(*wanted())
    node.pass_s(60)
    assert node.started == [] and node.published("claim") == []
    (why,) = {decline.reason for decline in node.published("decline") if isinstance(decline, Decline)}
    assert why == "its image was refused: bin/dash is a shell; also editor"
    assert any(isinstance(verdict, Verdict) for verdict in node.published("verdict"))
    row = next(row for row in node.core.rows() if row.slot == str(SLOT))
    assert row.failed and why in row.verdict and why in node.core.explain(SLOT).awaits
    assert len(node.said("declined")) <= 4, "it steps back for twice as long each time"


def test_what_the_app_allows_starts_and_its_reason_is_shown() -> None:
    node = Node()
    node.images(one=SHELL)
    node.take(*wanted(ALLOWS))
    node.pass_s(3)
    assert node.started == [docs.image_of("one")]
    row = next(row for row in node.core.rows() if row.slot == str(SLOT))
    assert row.healthy and row.allows == ALLOWS.allow


def test_an_image_that_comes_after_its_slot_was_claimed_is_refused_as_well() -> None:
    node = Node()
    node.take(*wanted())
    node.pass_s(3)
    assert node.published("claim") and not node.started
    node.images(one=SHELL)
    node.pass_s(3)
    assert node.started == [] and node.said("released")


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_a_refused_version_stops_nothing_and_is_turned_back(order: str) -> None:
    service = msgspec.structs.replace(WEB, update=msgspec.structs.replace(WEB.update, order=order))
    node = Node()
    node.images(one={}, two=SHELL)
    first = wanted(service)
    node.take(*first)
    node.pass_s(10)
    node.take(docs.release("shop", {"web": "two"}, version=2, fallback=first[0].hash))
    node.pass_s(10)
    assert node.started == [docs.image_of("one")]
    assert not [effect for effect in node.all if isinstance(effect, do.Stop)]
    assert len(node.said("turned-back")) == 1 and "bin/dash is a shell" in node.said("turned-back")[0]


def test_an_init_image_may_have_its_declared_shell_and_a_service_may_not() -> None:
    setup = {"setup-shell": "bin/dash is a shell"}
    for found, starts in (
        ({"db": {}, "init": setup}, True),
        ({"db": setup, "init": {}}, False),
        ({"db": {}, "init": SHELL}, False),
    ):
        node = Node()
        node.images(**found)
        agreed = msgspec.structs.replace(WEB, init=True)
        node.take(docs.release("shop", {"web": "db", init_of("web"): "init"}), docs.app("shop", {"web": agreed}))
        node.pass_s(3)
        assert bool(node.started) is starts, found


def test_a_release_alone_can_not_bring_an_init_image() -> None:
    """Who may change code, CI, has no say in what runs beside it, perhaps with a shell."""
    node = Node()
    node.images(db={}, init={"setup-shell": "bin/dash is a shell"})
    node.take(docs.release("shop", {"web": "db", init_of("web"): "init"}), docs.app("shop", {"web": WEB}))
    node.pass_s(3)
    assert not node.started
