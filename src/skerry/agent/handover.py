"""What a host hands to whoever adopts it: the documents that it holds, and the keys to sealed values, opened to the new operator.

SSH as root is the proof; nobody of the old cloud is asked. Who adopts verifies the documents against the old cloud's roots,
and signs for the new cloud what shall go on running.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from typing import Any

from skerry.agent.files import HostFiles
from skerry.core.intent import Secret
from skerry.errors import TrustRefusal
from skerry.store.records import RecordStore
from skerry.trust import seal
from skerry.trust.accept import Trusted, load_all


def held(files: HostFiles, cloud: str) -> Trusted:
    """All that the disk holds of this cloud, verified again."""
    return load_all(cloud, _raws(files))


def handover(files: HostFiles, sealing: str) -> dict[str, Any]:
    """{"cloud", "node", "records": envelopes in base64, "boxes": {app: its content key, opened to the key `sealing`}}."""
    membership = files.membership()
    if membership is None:
        return {"cloud": "", "node": "", "records": [], "boxes": {}}
    boxes: dict[str, str] = {}
    for document in held(files, membership.cloud).documents():
        if isinstance(document.body, Secret):
            with contextlib.suppress(TrustRefusal):  # not opened to this host
                key = seal.content_key(files.seed("sealing"), membership.node, document)
                box = seal.make_box(key, sealing, secrets.token_bytes(32))
                boxes[document.path.removeprefix("secret/")] = box
    records = [base64.b64encode(raw).decode() for raw in _raws(files)]
    return {"cloud": membership.cloud, "node": membership.node, "records": records, "boxes": boxes}


def _raws(files: HostFiles) -> list[bytes]:
    """Documents, earlier roots and fallbacks: facts are of the moment, and have "|" in their ids."""
    store = RecordStore(files.state)
    raws = [raw for _, raw in store.kept()] + [raw for id, raw in store.all() if "|" not in id]
    store.close()
    return raws
