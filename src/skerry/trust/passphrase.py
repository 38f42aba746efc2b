"""Bytes under a passphrase, as age files (https://age-encryption.org/v1) that other tools can open.

The passphrase is stretched by scrypt, for as long as one second of the machine that locks. rage takes a quick look at how fast
a machine is before it opens, and refuses what would take it more than sixteen seconds. That look is over in a millisecond or two,
so who is busy just then seems slow: it is taken again, many times, before a file is called too much for this machine
(rage's issue 642).
"""

from __future__ import annotations

LOOKS = 100


class NotOpened(Exception):
    """`why`, and what to do. That a passphrase is wrong and that a file is damaged can't be told apart."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


def lock(data: bytes, passphrase: str) -> bytes:
    """Takes about a second. An empty passphrase is our own bug."""
    import pyrage

    if not passphrase:
        raise ValueError("what looks locked has a passphrase")
    return bytes(pyrage.passphrase.encrypt(data, passphrase))


def unlock(data: bytes, passphrase: str) -> bytes:
    """Raises NotOpened."""
    import pyrage

    for _ in range(LOOKS):
        try:
            return bytes(pyrage.passphrase.decrypt(data, passphrase))
        except pyrage.DecryptError as error:
            if not str(error).startswith("Excessive work"):
                raise NotOpened("the passphrase is not this file's, or the file is damaged", "try again") from None
    raise NotOpened(
        "it was locked on a machine so much faster that this one would take long to open it",
        "try again when this machine has less to do, or on a faster one; `age --decrypt` opens it as well",
    )
