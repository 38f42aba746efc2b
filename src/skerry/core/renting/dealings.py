"""What core and a provider of machines say to one another. Pure values: names, tags and tokens are made by whoever carries them out.

Each call is answered by its event or by ProviderFailed; one that is never answered is given up after a while, and what it did
is looked up.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from skerry.core.effects import Effect
from skerry.core.events import Event
from skerry.core.intent import Node
from skerry.core.records import MachineSlot


class Rented(msgspec.Struct, frozen=True):
    """A machine as the provider tells it. `slot`: by its name, "" for a name that is none of ours; `tagged`: bears our cloud's tag.

    `offer`: which of the pool's providers has it; the ids of further ones begin with that name.
    """

    id: str
    slot: str
    name: str
    tagged: bool
    state: Literal["new", "active", "off", "gone"]
    address: str = ""
    size: str = ""
    region: str = ""
    price_usd_hour: float = 0.0
    created: float = 0.0  # unix seconds, by the provider's clock
    busy: bool = False
    tags: tuple[str, ...] = ()
    offer: str = ""


class Kind(msgspec.Struct, frozen=True):
    """A size of machine that a provider has, and its price. `regions`: where; () everywhere."""

    name: str
    cpus: float
    memory_bytes: int
    price_usd_hour: float
    price_usd_month: float
    regions: tuple[str, ...] = ()
    offer: str = ""


# --- effects ----------------------------------------------------------------------------------------------------------


class ListMachines(Effect, frozen=True, kw_only=True):
    """Answered by MachinesListed. `slot`: only those of its name; "": all that bear the cloud's tag."""

    pool: str
    slot: str = ""


class ListKinds(Effect, frozen=True, kw_only=True):
    """Answered by KindsListed."""

    pool: str


class CreateMachine(Effect, frozen=True, kw_only=True):
    """Draw a one-time token, tell its hash by CreateBegun, then ask for a machine. Answered by MachineCreated."""

    slot: MachineSlot
    size: str
    region: str
    offer: str = ""
    token_s: float  # so long the token is good


class DestroyMachine(Effect, frozen=True, kw_only=True):
    """By id, after its name and tags were looked at once more. Gone already is done. Answered by MachineDestroyed."""

    pool: str
    id: str
    name: str
    tags: tuple[str, ...] = ()  # as they were listed; () before that: what we gave it


class Enrol(Effect, frozen=True, kw_only=True):
    """Sign this as the next version of `path` with the keeper's key. It comes back as RecordAccepted, or is asked anew."""

    path: str
    body: Node


# --- events -----------------------------------------------------------------------------------------------------------


class MachinesListed(Event, frozen=True):
    """`silent`: offers that gave no answer, and why; of a pool with one provider that is a ProviderFailed."""

    pool: str
    slot: str
    machines: tuple[Rented, ...]
    silent: dict[str, str] = {}


class KindsListed(Event, frozen=True):
    """What is paid is time rounded up to `step_s`, at least `least_s`, and at least `least_usd` for each machine: the dearest terms
    of all offers. `silent`: as in MachinesListed.
    """

    pool: str
    kinds: tuple[Kind, ...]
    least_s: float = 0.0
    step_s: float = 1.0
    least_usd: float = 0.0
    silent: dict[str, str] = {}


class CreateBegun(Event, frozen=True):
    """The call is about to be made. What core publishes of it is on disk before anybody is asked. `token`: its SHA-256."""

    slot: MachineSlot
    token: str


class MachineCreated(Event, frozen=True):
    """It was promised: it may take long, and it may vanish."""

    slot: MachineSlot
    machine: Rented


class MachineDestroyed(Event, frozen=True):
    """The provider took the order; whether it is gone shows the next list."""

    pool: str
    id: str


class ProviderFailed(Event, frozen=True):
    """`act`: what was asked, `subject`: the slot, the id, or "". `acted`: whether it was done all the same.

    `whole`: the reason lies with the account or the provider, not with this order: nothing else will go better (denied, quota,
    too many calls). `after_s`: no further call before. `lasting`: the same again will be refused again. `offer`: of a create.
    """

    pool: str
    act: Literal["list", "kinds", "create", "destroy"]
    subject: str
    code: str
    why: str
    acted: Literal["yes", "no", "unknown"] = "unknown"
    whole: bool = False
    lasting: bool = False
    after_s: float = 0.0
    offer: str = ""
