"""A machine's first words: it makes its keys, and asks the hosts that its user data names until one has enrolled it.

Runs once, before the daemon, from the agent whose hash an operator signed (machines/userdata.py). Blocks.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from skerry.agent.files import HostFiles
from skerry.agent.upgrade import write_sums
from skerry.errors import BadInput, NotInTime
from skerry.mesh.tls import fingerprint
from skerry.outside import UNREADABLE
from skerry.trust import joining
from skerry.trust.identity import Signer

ANSWER_S = 60.0  # the provider is asked meanwhile
DIAL_S = 10.0
AGAIN_S = 2.0
ANSWER_BYTES = 64 << 20


class Asked(msgspec.Struct, frozen=True):
    """What user data holds. `meet`: (address, fingerprint) of the hosts to ask."""

    cloud: str
    slot: str
    meet: list[tuple[str, str]]
    token: str
    limit_s: float
    bundle: str = ""
    secret: str = ""


def enrol(files: HostFiles, raw: bytes) -> bytes:
    """What `join` takes, once a host gives it. Raises BadInput, NotInTime."""
    try:
        asked = msgspec.json.decode(raw, type=Asked)
    except UNREADABLE as error:
        raise BadInput("this machine asked nobody", f"its user data can't be read: {error}") from None
    own = files.make_keys()
    keys = joining.Keys(own.signing, own.sealing, own.wireguard, own.certificate)
    signer = Signer(files.seed("signing"))
    program = Path(sys.executable).parent.parent
    if asked.bundle and (program / ".bundle").is_file():
        write_sums(program)
    end_s = time.monotonic() + asked.limit_s
    why = "it was told of no host"
    while True:
        for address, pinned in asked.meet:
            try:
                answer = _ask(asked, signer, keys, address, pinned)
            except (OSError, ValueError) as error:
                why = f"{address}: {error}"
                continue
            if "join" in answer:
                return json.dumps(answer["join"]).encode()
            told = answer.get("error")
            told = told if isinstance(told, dict) else {}
            why = f"{address}: {told.get('what', 'it has to wait')}: {told.get('why', '')}"
        if time.monotonic() > end_s:
            raise NotInTime(f"this machine did not become {asked.slot}", why, "its keeper returns it")
        time.sleep(AGAIN_S)


def _ask(asked: Asked, signer: Signer, keys: joining.Keys, address: str, pinned: str) -> dict[str, Any]:
    """One host's answer. Nothing is said before its certificate is the one that was named. Raises OSError, ValueError."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection((host.strip("[]"), int(port)), DIAL_S) as plain, context.wrap_socket(plain) as line:
        if fingerprint(line.getpeercert(True) or b"") != pinned:
            raise ValueError("another certificate answers there")
        line.settimeout(ANSWER_S)
        file = line.makefile("rwb")
        nonce = str(_said(file.readline(4096)).get("nonce", ""))
        asking = joining.ask(
            signer, asked.cloud, asked.slot, keys, token=asked.token, secret=asked.secret, nonce=nonce, door=pinned
        )
        file.write(msgspec.json.encode(joining.Line(enrol=asking)) + b"\n")
        file.flush()
        return _said(file.readline(ANSWER_BYTES))


def _said(line: bytes) -> dict[str, Any]:
    """One object. Raises ValueError, whatever came."""
    try:
        said = json.loads(line)
    except RecursionError as error:
        raise ValueError("it answered something else") from error
    if not isinstance(said, dict):
        raise ValueError("it answered something else")
    return said
