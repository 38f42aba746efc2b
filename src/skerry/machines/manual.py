"""Machines that a person brings: nothing is rented, and what is wanted is told as the command to run."""

from __future__ import annotations

from typing import ClassVar

from skerry.errors import BadInput, Refusal
from skerry.machines.contract import Billing, NoSuchServer, Order, Server, Size
from skerry.machines.tables import read_sizes

ADDRESS = "ADDRESS"
SIZES = "any=1,1g,10g,0"


class BringOne(Refusal):
    """A machine is wanted, and a person has to bring it."""

    code = "machine-wanted"


class Manual:
    """It takes neither token nor endpoint. Of what size machines will be brought, and what they cost, says the option `sizes`."""

    name: ClassVar[str] = "manual"
    billing: ClassVar[Billing] = Billing(step_s=1.0, least_s=0.0)
    least_scopes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, token: str, endpoint: str, options: dict[str, str]) -> None:
        if token or endpoint:
            raise BadInput("machines that a person brings need no token and no endpoint", "", "leave them out")
        if unknown := sorted(set(options) - {"sizes"}):
            raise BadInput(f"manual takes no option {unknown[0]!r}", "", "it has one: sizes")
        self._sizes = read_sizes(options.get("sizes", SIZES))

    def check(self) -> list[str]:
        return []

    def sizes(self) -> list[Size]:
        return self._sizes

    def list(self, *, name: str = "", tag: str = "") -> list[Server]:
        return []

    def get(self, id: str) -> Server:
        raise NoSuchServer(f"there is no machine {id}", "machines of this pool are known by their enrolments alone")

    def create(self, order: Order) -> Server:
        """Raises BringOne with the exact command."""
        raise BringOne(f"{order.name} is wanted", "a person brings the machines of this pool", command_for(order))

    def destroy(self, server: Server) -> None:
        """Who brought it takes it away: for the cloud it is gone with its enrolment."""

    def reboot(self, server: Server) -> None:
        self.get(server.id)

    def resize(self, server: Server, size: str) -> None:
        self.get(server.id)

    def rebuild(self, server: Server, order: Order) -> Server:
        return self.create(order)


def command_for(order: Order) -> str:
    """What a person runs, with the address of the machine that was brought. A name says its slot: sk-<cloud>-<pool>-<index>."""
    pool, _, index = order.name.split("-", 2)[2].rpartition("-")
    return f"skerry host add root@{ADDRESS} --slot {pool}/{index}"
