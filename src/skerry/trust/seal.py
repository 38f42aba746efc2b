"""Sealed values: an app's environment under its content key, and that key in boxes for those who may have it.

Source: NaCl secretbox and libsodium's sealed boxes, both by PyNaCl. Nothing random is drawn here: - a value's nonce
is a keyed hash of the value and its name, so equal values of one name seal to equal bytes. That is wanted: the sealed
text is part of what names a version, and a deploy that changes nothing must restart nothing. It shows to who reads
the app's document that a value is the same as before, and its length; nothing more. - a box's ephemeral key is made
of bytes that the caller draws, new ones for each box.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import msgspec
from nacl.bindings import crypto_scalarmult_base
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey, SealedBox
from nacl.secret import SecretBox

from skerry.core.intent import Node, Pool, Secret
from skerry.core.records import Document
from skerry.outside import UNREADABLE
from skerry.trust.refusals import CannotOpen

KEY_BYTES = 32


def seal_value(content_key: bytes, name: str, value: str) -> str:
    """An environment value as the app's document bears it: base64 of nonce and ciphertext. `name`: of the variable."""
    text = value.encode()
    label = name.encode()
    named = b"%d:%b%b" % (len(label), label, text)
    nonce = hashlib.blake2b(named, key=content_key, digest_size=SecretBox.NONCE_SIZE, person=b"skerry-value").digest()
    return base64.b64encode(bytes(SecretBox(content_key).encrypt(text, nonce))).decode()


def open_value(content_key: bytes, sealed: str) -> str:
    """The value. Raises CannotOpen, also for what is not sealed at all."""
    try:
        return SecretBox(content_key).decrypt(base64.b64decode(sealed, validate=True)).decode()
    except (CryptoError, ValueError, TypeError):
        raise CannotOpen(
            "a sealed value was not opened", "it is sealed under another key, or damaged", "deploy again"
        ) from None


def make_box(content_key: bytes, sealing_key: str, ephemeral: bytes) -> str:
    """The content key (or a provider's token) for one holder: base64 of a libsodium sealed box.

    `ephemeral`: 32 fresh random bytes, used once.

    `SealedBox.encrypt` does the same but draws the ephemeral key itself; it opens what this makes.
    """
    secret = PrivateKey(ephemeral)
    public = crypto_scalarmult_base(ephemeral)
    target = bytes.fromhex(sealing_key)
    nonce = hashlib.blake2b(public + target, digest_size=Box.NONCE_SIZE).digest()
    ciphertext = Box(secret, PublicKey(target)).encrypt(content_key, nonce).ciphertext
    return base64.b64encode(public + ciphertext).decode()


def open_token(sealing_secret: bytes, box: str) -> str:
    """A provider's token, as a pool's document holds it for one holder (made by `make_box`). Raises CannotOpen."""
    return _opened(sealing_secret, box, "a provider's token").decode(errors="replace")


def token_text(tokens: Mapping[str, str]) -> str:
    """What is sealed of a pool's tokens, offer -> token: of a pool with one provider the token itself, "" where it needs none."""
    several = {offer: token for offer, token in tokens.items() if token}
    return tokens.get("", "") if set(several) <= {""} else msgspec.json.encode(several, order="sorted").decode()


def tokens_of(pool: Pool, opened: str) -> dict[str, str]:
    """Offer -> token, of what `open_token` gave. Raises CannotOpen."""
    if not pool.others or not opened.startswith("{"):
        return {"": opened}
    try:
        return msgspec.json.decode(opened, type=dict[str, str])
    except UNREADABLE:
        raise CannotOpen(
            "providers' tokens were not opened", "they are no offers with tokens", "seal them again"
        ) from None


def _opened(sealing_secret: bytes, box: str, what: str) -> bytes:
    try:
        return SealedBox(PrivateKey(sealing_secret)).decrypt(base64.b64decode(box, validate=True))
    except (CryptoError, ValueError, TypeError):
        raise CannotOpen(f"{what} was not opened", "its box is for another key, or damaged", "seal it again") from None


def open_box(sealing_secret: bytes, box: str) -> bytes:
    """The content key. `sealing_secret`: the 32 bytes of the holder's sealing key. Raises CannotOpen."""
    key = _opened(sealing_secret, box, "a content key")
    if len(key) != KEY_BYTES:
        raise CannotOpen("a content key was not opened", "what is in the box is no key", "seal it again")
    return key


def content_key(sealing_secret: bytes, holder: str, document: Document | None) -> bytes:
    """The content key that `secret/<app>` holds for `holder` (node path or operator key). Raises CannotOpen."""
    boxes = document.body.boxes if document is not None and isinstance(document.body, Secret) else {}
    if holder not in boxes:
        what = document.path if document is not None else "the app's secret"
        raise CannotOpen(
            "a content key was not opened", f"{what} holds no box for {holder[:80]}", "deploy again: it seals for all"
        )
    return open_box(sealing_secret, boxes[holder])


def seal_environment(key: bytes, values: Mapping[str, str]) -> dict[str, str]:
    return {name: seal_value(key, name, value) for name, value in values.items()}


def open_environment(
    sealing_secret: bytes, holder: str, document: Document | None, sealed: Mapping[str, str]
) -> dict[str, str]:
    """All variables of a service, opened. `document`: the app's `secret/<app>`. Raises CannotOpen."""
    if not sealed:
        return {}
    return open_values(content_key(sealing_secret, holder, document), sealed)


def open_values(key: bytes, sealed: Mapping[str, str]) -> dict[str, str]:
    return {name: open_value(key, value) for name, value in sealed.items()}


def machine_key(sealing_secret: bytes, app: str, enrolment: Node) -> bytes:
    """The content key of an app that a keeper sealed into a machine's enrolment. Raises CannotOpen."""
    box = enrolment.boxes.get(app, "").partition(":")[2]
    if not box:
        raise CannotOpen(
            "a content key was not opened", f"{app} is not opened to this machine", "name its pool in the compose file"
        )
    return open_box(sealing_secret, box)
