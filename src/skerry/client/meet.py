"""The first talk with a host whose enrolment this machine doesn't hold: after a recovery, or on a CI system.

Nobody vouches for the address. So the certificate that answers is taken for what it is, the enrolment is asked of it, and
only if the cloud's own roots vouch for that enrolment, and it names this very certificate, is the host one of ours.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from skerry.client.home import CloudHome
from skerry.client.identity import read_operator
from skerry.client.keys import KeyMissing, Passphrase
from skerry.core.intent import Node
from skerry.core.records import Document
from skerry.errors import SkerryError, TrustRefusal, Unreachable
from skerry.mesh.dial import Identity, dial
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.outside import UNREADABLE
from skerry.trust.accept import Trusted
from skerry.trust.identity import Signer, private_pem
from skerry.trust.requests import make_request

PORT = 7077
TIMEOUT_S = 5.0


class NotOurs(TrustRefusal):
    """Something answers there, but no signature of this cloud says that it belongs to it."""

    code = "not-ours"


async def meet(cloud: CloudHome, passphrase: Passphrase, addresses: Sequence[str]) -> str:
    """Learn the enrolment of the first host that answers, into the cloud's home; gives its path. Raises Unreachable, NotOurs."""
    reasons = []
    for address in addresses:
        where = address if ":" in address else f"{address}:{PORT}"
        try:
            return await _meet(cloud, passphrase, where)
        except (Unreachable, NotOurs) as error:
            reasons.append(f"{where}: {error.why or error.what}")
            if len(addresses) == 1:
                raise
    raise Unreachable(
        f"no host of cloud {cloud.name} could be met", "; ".join(reasons), "give the address of one: --host ADDRESS"
    )


async def _meet(cloud: CloudHome, passphrase: Passphrase, address: str) -> str:
    content = cloud.read()
    trusted = Trusted(content.id)
    for text in (*content.roots, *content.documents.values()):
        trusted.load(base64.b64decode(text))
    keys = read_operator(cloud, passphrase)
    signer = Signer(keys.seed)
    der = trusted.client_certificates().get(signer.key)
    if der is None:
        raise KeyMissing(
            "no host can be asked", "this key is neither an operator's nor in a role", "see skerry role ls"
        )
    shown = await _certificate(address)
    own = Identity(der, private_pem(keys.seed))
    try:
        stream = await dial([address], shown, own, "/request", TIMEOUT_S)
        try:
            hello = msgspec.json.decode(await recv_bytes(stream, timeout_s=TIMEOUT_S), type=dict[str, Any])
            path = str(hello.get("node", ""))
            asked = {"paths": ["root", "policy", path]}
            raw = make_request(signer, content.id, path, "get", asked, str(hello.get("nonce", "")), time.time())
            await send_bytes(stream, raw)
            frame = msgspec.json.decode(await recv_bytes(stream, timeout_s=TIMEOUT_S))
        finally:
            await stream.close()
    except UNREADABLE as error:
        raise NotOurs(f"{address} is no host of cloud {cloud.name}", "it does not speak as a host does") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("item"), list):
        why = frame["error"].get("what", "") if isinstance(frame, dict) and isinstance(frame.get("error"), dict) else ""
        raise NotOurs(f"{address} gave no enrolment", str(why), "is it a host of this cloud?")
    documents, roots = dict(content.documents), list(content.roots)
    for text in frame["item"][:64]:
        try:
            raw = base64.b64decode(str(text))
            record = trusted.judge(raw, now_s=time.time())
        except (SkerryError, ValueError):
            continue  # older than ours, or not ours: the enrolment is looked for below
        trusted.commit(record, raw)
        if isinstance(record, Document) and record.kind == "root":
            roots.append(base64.b64encode(raw).decode())
        else:
            documents[record.id] = base64.b64encode(raw).decode()
    held = trusted.document(path)
    if held is None or not isinstance(held.body, Node) or base64.b64decode(held.body.certificate) != shown:
        raise NotOurs(
            f"{address} is no host of cloud {cloud.name}",
            "no operator of this cloud has signed an enrolment of the key that answers there",
            "check the address; a host of a lost cloud is taken over by: skerry host adopt root@ADDRESS",
        )
    cloud.write(msgspec.structs.replace(content, roots=tuple(roots), documents=documents))
    return path


async def _certificate(address: str) -> bytes:
    """What answers there shows this certificate (DER). Nothing is believed of it yet."""
    host, _, port = address.rpartition(":")
    try:
        pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"{address} could not be reached", str(error), "check the address and that 7077/tcp is open"
        ) from error
    return ssl.PEM_cert_to_DER_cert(pem)
