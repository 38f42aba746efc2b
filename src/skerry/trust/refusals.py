"""Every way in which trust says no. Shapes and sentences only: who raises what, and when, is told where it is raised.

What a caller does with a refusal is told by its type:

- `AlreadyHeld`: drop it silently, the same is here.
- `Stale`: show the sender the record under `id`, which is newer. (`Twin`: same
  number, other content; keep it as evidence.)
- `NotYet`: judged by the root, policy and enrolments held here, which may be behind. Keep it aside (bounded), and try
  again when one of them changed. `wants` names the path to ask for.
- `FalseSignature`: whoever sent this has not checked it. Close the link.
- `RateExceeded`: passing, later.
- anything else: final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.errors import Passing, TrustRefusal

if TYPE_CHECKING:
    from skerry.core.records import Record


class TooBig(TrustRefusal):
    code = "too-big"


class Malformed(TrustRefusal):
    """Not the bytes that a record is made of."""

    code = "malformed"


class WrongCloud(TrustRefusal):
    code = "wrong-cloud"


class OutOfBounds(TrustRefusal):
    """Well formed, but with a value that no document of this kind may have."""

    code = "out-of-bounds"


class AlreadyHeld(TrustRefusal):
    code = "already-held"


class Stale(TrustRefusal):
    """A newer one is held under `id`, of number `held` ((epoch, version) or the sequence): show it to the sender."""

    code = "stale"

    def __init__(self, id: str, offered: tuple[int, int], held: tuple[int, int]) -> None:
        super().__init__(
            what=f"{id} was not accepted",
            why=f"it has the number {offered[0]}.{offered[1]}, and {held[0]}.{held[1]} is held here",
            fix="look at what is held now, and sign again with a higher number",
        )
        self.id = id
        self.offered = offered
        self.held = held


class Twin(Stale):
    """Well signed, of the same number as what is held, but it loses. `record` is evidence: two were signed as one."""

    code = "same-number"

    def __init__(self, id: str, number: tuple[int, int], record: Record) -> None:
        super().__init__(id, number, number)
        self.why = f"another one with the number {number[0]}.{number[1]} was signed too, and takes precedence"
        self.record = record


class RootFork(TrustRefusal):
    """A root that does not follow the one held. Never taken, whoever signed it."""

    code = "root-fork"


class FalseSignature(TrustRefusal):
    """A signature that the key it names did not make. An honest neighbour never passes one on."""

    code = "false-signature"


class NotYet(TrustRefusal):
    """Not acceptable by what is held here. `wants`: the path that may be behind ("root", "policy", "node/vps-1")."""

    code = "not-yet"

    def __init__(self, what: str, why: str = "", fix: str = "", *, wants: str = "policy") -> None:
        super().__init__(what, why, fix)
        self.wants = wants


class UnknownKey(NotYet):
    code = "unknown-key"


class UnknownAuthor(NotYet):
    """A fact of a node that is not enrolled here, or not with this key."""

    code = "unknown-author"


class RoleDoesNotCover(NotYet):
    """The key is known, but no role of its own allows this kind at this path at this time."""

    code = "role-does-not-cover"


class ThresholdNotMet(NotYet):
    code = "threshold-not-met"

    def __init__(self, path: str, role: str, have: int, need: int, *, wants: str = "policy") -> None:
        super().__init__(
            what=f"{path} was not accepted",
            why=f"{have} of the {need} keys that role {role} asks for have signed it",
            fix=f"let another key holder run: skerry sign {path}",
            wants=wants,
        )
        self.have = have
        self.need = need


class OutOfPool(NotYet):
    """A machine's enrolment that its pool, as held here, does not allow."""

    code = "out-of-pool"


class EpochAhead(NotYet):
    code = "epoch-ahead"


class RootAhead(NotYet):
    """A later root than the next one: roots are walked one by one. `prev`: hash of the one before it, to ask for by
    hash.
    """

    code = "root-ahead"

    def __init__(self, offered: int, next_version: int, prev: str) -> None:
        super().__init__(
            what=f"root {offered} was not accepted",
            why=f"the next root here is {next_version}, and roots are taken one by one",
            fix=f"show root {next_version} first",
            wants="root",
        )
        self.next_version = next_version
        self.prev = prev


class BarredKey(NotYet):
    """An enrolment with a key that an expulsion or the policy has barred."""

    code = "barred-key"


class FromTheFuture(NotYet):
    """Issued more than 5 minutes after the clocks here; acceptable in `wait_s` seconds."""

    code = "from-the-future"

    def __init__(self, path: str, wait_s: float) -> None:
        super().__init__(
            what=f"{path} was not accepted",
            why=f"it was issued {wait_s:.0f} s later than the clocks of the hosts allow",
            fix="set the clock of the machine that signed it, and sign again",
            wants="",
        )
        self.wait_s = wait_s


class EpochMismatch(TrustRefusal):
    """Of an epoch that is over: the key that signed it was taken away, or it was signed before that."""

    code = "epoch-mismatch"


class Expired(TrustRefusal):
    """First seen after its expiry, or after that of the policy or root that would have to allow it."""

    code = "expired"


class PrevMismatch(TrustRefusal):
    """From a client: signed without having seen what is held."""

    code = "prev-mismatch"


class Conflicting(TrustRefusal):
    """From a client: contradicts another document that is held (an address range or key in use)."""

    code = "conflicting"


class EpochNotRaised(TrustRefusal):
    """From a client: a policy that takes a right away and leaves what was signed by it in the same epoch."""

    code = "epoch-not-raised"


class DraftOutdated(TrustRefusal):
    """A draft that waits for signatures rests on documents that were replaced meanwhile."""

    code = "draft-outdated"


class Expelled(TrustRefusal):
    code = "expelled"


class Quota(TrustRefusal):
    """More facts of one node, or more paths, than there may be. `author`: of the facts, whoever brought this one."""

    code = "quota"
    author = ""


class RateExceeded(TrustRefusal, Passing):
    """More than a neighbour may bring, or an author make, in a second. `of_link`: it is the neighbour's; else `author`'s."""

    code = "rate"
    of_link = False
    author = ""


class NotNamed(TrustRefusal):
    """Offered as a fallback, but nothing that is held names it."""

    code = "not-named"


class RequestRefused(TrustRefusal):
    """A signed request for another cloud or node, or with a nonce that was not given on this link."""

    code = "request-refused"


class VerbNotAllowed(TrustRefusal):
    code = "verb-not-allowed"


class CannotOpen(TrustRefusal):
    """A sealed value, box or key file that this key or passphrase does not open."""

    code = "cannot-open"
