"""Machines that a person brings: nothing is rented, and what is wanted is told as the command to run."""

from __future__ import annotations

from typing import ClassVar

from skerry.errors import BadInput, Refusal
from skerry.machines.contract import Billing, NoSuchServer, Order, Server, Size

ADDRESS = "ADDRESS"


class BringOne(Refusal):
    """A machine is wanted, and a person has to bring it."""

    code = "machine-wanted"


class Manual:
    """It takes neither token nor endpoint. Machines are as they are brought: there are no sizes, prices or orders."""

    name: ClassVar[str] = "manual"
    billing: ClassVar[Billing] = Billing(step_s=1.0, least_s=0.0)
    least_scopes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, token: str, endpoint: str, options: dict[str, str]) -> None:
        if token or endpoint:
            raise BadInput("machines that a person brings need no token and no endpoint", "", "leave them out")

    def check(self) -> list[str]:
        return []

    def sizes(self) -> list[Size]:
        return []

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
    """What a person runs, with the address of the machine that was brought. The slot is in the order's own name and tag."""
    pool = next(tag for tag in order.tags if tag.startswith("skerry-pool:")).partition("-")[2].partition("-")[2]
    return f"skerry host add root@{ADDRESS} --slot {pool}/{order.name.rpartition('-')[2]}"
