"""What a host hands to whoever adopts it: the documents that it holds, the keys to sealed values, and what it runs.

SSH as root is the proof; nobody of the old cloud is asked. Who adopts verifies the documents against the old cloud's roots,
and signs for the new cloud what shall go on running.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from skerry.agent.files import HostFiles
from skerry.core.intent import Secret
from skerry.core.records import Fact
from skerry.errors import TrustRefusal
from skerry.store.records import RecordStore
from skerry.trust import documents, envelope, seal
from skerry.trust.accept import Trusted, load_all
from skerry.trust.identity import Signer

STILL_TRUE = frozenset({"claim", "slot", "saw"})  # of the kinds of facts: what a change of cloud does not change


def held(files: HostFiles, cloud: str) -> Trusted:
    """All that the disk holds of this cloud, verified again."""
    return load_all(cloud, _raws(files))


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The new cloud, and the new operator's public sealing key."""

    cloud: str
    sealing: str


def handover(files: HostFiles, asked: Asked) -> dict[str, Any]:
    """{"cloud", "node", "records", "facts", "boxes"}: envelopes in base64.

    `facts`: what this host said of its slots, said anew to the new cloud, so that nobody takes them for vacant. `boxes`:
    each app's content key, opened to the new operator.
    """
    membership = files.membership()
    if membership is None:
        return {"cloud": "", "node": "", "records": [], "facts": [], "boxes": {}}
    boxes: dict[str, str] = {}
    for document in held(files, membership.cloud).documents():
        if isinstance(document.body, Secret):
            with contextlib.suppress(TrustRefusal):  # not opened to this host
                key = seal.content_key(files.seed("sealing"), membership.node, document)
                box = seal.make_box(key, asked.sealing, secrets.token_bytes(32))
                boxes[document.path.removeprefix("secret/")] = box
    return {
        "cloud": membership.cloud,
        "node": membership.node,
        "records": [base64.b64encode(raw).decode() for raw in _raws(files)],
        "facts": [base64.b64encode(raw).decode() for raw in _facts(files, membership.node, asked.cloud)],
        "boxes": boxes,
    }


def _facts(files: HostFiles, node: str, cloud: str) -> Iterator[bytes]:
    signer = Signer(files.seed("signing"))
    store = RecordStore(files.state)
    own = [raw for id, raw in store.all() if id.startswith(f"{node}|")]
    store.close()
    for raw in own:
        fact = documents.decode(envelope.parse(raw))[1]
        if isinstance(fact, Fact) and fact.kind in STILL_TRUE and fact.body is not None:
            yield documents.sign_fact(signer, cloud, node, fact.kind, fact.key, fact.seq, fact.time, fact.body)


def _raws(files: HostFiles) -> list[bytes]:
    """Documents, earlier roots and fallbacks: facts are of the moment, and have "|" in their ids."""
    store = RecordStore(files.state)
    raws = [raw for _, raw in store.kept()] + [raw for id, raw in store.all() if "|" not in id]
    store.close()
    return raws
