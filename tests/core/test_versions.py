"""Which pair of documents is wanted, and what is turned back to. See docs/decisions/0003."""

from __future__ import annotations

import itertools

import msgspec

from skerry.core.facts import Claim
from skerry.core.intent import Node, Service, Update, spec_of
from skerry.core.knowledge import Knowledge
from skerry.core.records import Document, Fact
from skerry.core.versions import AppWant, wanted
from skerry.sim import documents as docs

WEB = Service(replicas=2)


def want_of(*documents: Document, failed: str = "") -> AppWant:
    known = Knowledge()
    for document in documents:
        known.accept(document)
    return wanted("shop", known, lambda service, spec: failed)


def image(want: AppWant) -> str:
    return docs.word_of(want.services["web"].image)


A1 = docs.app("shop", {"web": WEB})
R1 = docs.release("shop", {"web": "one"})
R2 = docs.release("shop", {"web": "two"}, version=2, fallback=R1.hash)
A2 = docs.app("shop", {"web": Service(replicas=5, user="7")}, version=2, fallback=A1.hash)
R3 = docs.release("shop", {"web": "three"}, version=3, fits=2, fallback=R1.hash)


def test_the_newest_pair_is_wanted_in_whatever_order_it_comes() -> None:
    for order in itertools.permutations([A1, R1, R2]):
        want = want_of(*order)
        assert (image(want), want.services["web"].versions) == ("two", (1, 2))


def test_a_release_for_an_app_document_that_has_not_come_waits_with_its_fallback() -> None:
    assert image(want_of(A1, R1, R3)) == "one"
    assert not want_of(A1, R3).known
    assert image(want_of(A1, R1, R3, A2)) == "three"


def test_without_either_document_nothing_is_known_and_nothing_is_stopped() -> None:
    assert not want_of().known
    assert not want_of(A1).known
    assert not want_of(R1).known


def test_turning_back_takes_the_app_document_too_but_keeps_the_newest_number_of_replicas() -> None:
    for order in itertools.permutations([A1, R1, A2, R3]):
        want = want_of(*order, failed="it burned")
        assert (image(want), want.services["web"].versions) == ("one", (1, 1))
        assert want.services["web"].service.user == ""
        assert want.services["web"].service.replicas == 5
        assert "it burned" in want.turned_back


def test_a_version_without_a_fallback_stays_wanted() -> None:
    assert image(want_of(A1, R1, failed="it burned")) == "one"


def test_pause_and_continue_do_not_turn_back() -> None:
    for action in ("pause", "continue"):
        app = docs.app("shop", {"web": Service(update=Update(failure_action=action))})  # type: ignore[arg-type]
        assert image(want_of(app, R1, R2, failed="it burned")) == "two"


def test_a_deleted_app_wants_nothing_and_says_so() -> None:
    want = want_of(A1, R1, docs.app("shop", {}, version=2, deleted=True))
    assert want.known and want.deleted and not want.services


def test_scaling_and_the_way_of_an_update_make_no_new_version() -> None:
    same = Service(replicas=9, update=Update(parallelism=3), constraints=("zone==a",))
    assert spec_of(same, "sha256:x") == spec_of(Service(), "sha256:x")
    assert spec_of(Service(user="7"), "sha256:x") != spec_of(Service(), "sha256:x")


def test_both_images_are_kept() -> None:
    assert sorted(docs.word_of(i) for i in want_of(A1, R1, R2).images["web"]) == ["one", "two"]


def test_older_documents_are_kept_up_to_a_bound_and_never_the_named_one_goes() -> None:
    known = Knowledge()
    known.accept(R1)
    for version in range(2, 40):
        known.accept(docs.release("shop", {"web": "x"}, version=version, fallback=R1.hash))
    assert len(known.older["release/shop"]) <= 9
    assert known.by_hash("release/shop", R1.hash) == R1
    assert known.by_hash("release/shop", R3.hash) is None


def test_an_expelled_nodes_facts_are_dropped() -> None:
    known = Knowledge()
    for name in ("vps-1", "vps-2"):
        known.accept(docs.node(name))
        claim = Claim(spec="s", image="i", rank=0, reason="")
        known.accept(Fact(node=f"node/{name}", kind="claim", key="shop.web/0", seq=(1, 1), time=0.0, body=claim))
    enrolment = docs.node("vps-2")
    assert isinstance(enrolment.body, Node)
    gone = msgspec.structs.replace(enrolment.body, state="expelled")
    known.accept(docs.document("node/vps-2", gone, version=2))
    assert set(known.about("claim", "shop.web/0")) == {"node/vps-1"} == set(known.nodes)
