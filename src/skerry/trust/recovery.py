"""What must survive the loss of an operator's machine: all keys and the chain of roots, under a passphrase.

Bytes in, bytes out: where the file lies is the client's business. The format is age (pyrage) with a passphrase around
JSON. age draws its own salt and keys: the one place in trust where randomness comes from inside a library.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.outside import UNREADABLE
from skerry.trust import passphrase as under
from skerry.trust.identity import SEED_BYTES, Signer
from skerry.trust.refusals import CannotOpen

FORMAT = "skerry-recovery-1"
CONTENT_BYTES = 16 << 20


class OperatorKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`seed`: of the signing key; `sealing`: the X25519 secret. Base64 in JSON."""

    name: str
    seed: bytes
    sealing: bytes

    def __repr__(self) -> str:
        return f"OperatorKeys({self.name}, …)"  # never the secrets


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`roots`: the envelopes' exact bytes, first root first. `documents`: further envelopes (policy, enrolments) to
    begin with.

    `addresses`: host:port where the cloud was last seen.
    """

    format: str = FORMAT
    cloud: str
    name: str
    root_seeds: tuple[bytes, ...]
    operators: tuple[OperatorKeys, ...]
    roots: tuple[bytes, ...]
    documents: tuple[bytes, ...] = ()
    addresses: tuple[str, ...] = ()

    def root_signers(self) -> list[Signer]:
        return [Signer(seed) for seed in self.root_seeds]

    def __repr__(self) -> str:
        return f"Recovery({self.name}, {self.cloud[:12]}, …)"


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Recovery)


def lock(recovery: Recovery, passphrase: str) -> bytes:
    """The recovery file. Takes about a second: the passphrase is stretched by scrypt. An empty passphrase is our own
    bug.
    """
    return under.lock(msgspec.json.encode(recovery), passphrase)


def unlock(data: bytes, passphrase: str) -> Recovery:
    """Raises CannotOpen."""
    if len(data) > CONTENT_BYTES:
        raise CannotOpen("the recovery file was not opened", "it is too big for one", "give the file that init wrote")
    try:
        found = _decoder.decode(under.unlock(data, passphrase))
    except under.NotOpened as error:
        raise CannotOpen("the recovery file was not opened", error.why, error.fix) from None
    except (ValueError, *UNREADABLE):
        raise CannotOpen(
            "the recovery file was not opened", "it holds something else", "give the file that init wrote"
        ) from None
    assert isinstance(found, Recovery)
    seeds = (*found.root_seeds, *(operator.seed for operator in found.operators))
    if found.format != FORMAT or any(len(seed) != SEED_BYTES for seed in seeds):
        raise CannotOpen("the recovery file was not opened", "it is of another version", "use the skerry that wrote it")
    return found
