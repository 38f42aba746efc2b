"""Droplets of DigitalOcean, and of whatever speaks its API (`skerry lab ocean`).

What is particular there: a create has no idempotency key, names are not unique, 202 is no promise, tags and lists come
late, pages shift while machines come and go, and a token's scopes cover every droplet of its team. So machines are looked
up by name, destroyed by id after name and tag were read once more, and never by tag; a rebuild is another machine, as the
real one needs the scope droplet:admin, with which whoever has the token may take any machine over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import httpx

from skerry.errors import BadInput, Passing, Refusal
from skerry.machines.contract import (
    USER_DATA_BYTES,
    Billing,
    NoCapacity,
    NoSuchServer,
    Order,
    ProviderRefused,
    ProviderSilent,
    QuotaReached,
    Server,
    Size,
    check_same,
)
from skerry.machines.digitalocean_api import Api, Call
from skerry.machines.digitalocean_check import ACCOUNT, NOBODY, warnings
from skerry.machines.digitalocean_shapes import (
    Action,
    Droplet,
    DropletPage,
    Firewall,
    FirewallPage,
    OfAccount,
    OfAction,
    OfDroplet,
    RegionPage,
    Rule,
    SizePage,
    SizeRow,
    Target,
)

ACTION_LIMIT_S = 300.0
POLL_S = 1.0
ANYWHERE = Target(["0.0.0.0/0", "::/0"])
OPTIONS = {"ca", "ssh_keys", "vpc"}


IMAGE = "debian-12-x64"  # where the pool names none


class DigitalOcean:
    """Options: `ca`, a certificate authority as PEM for an endpoint of one's own; `ssh_keys`, numbers or fingerprints with commas
    between; `vpc`, the id of the private network. `pause`, `transport`: for tests."""

    name: ClassVar[str] = "digitalocean"
    billing: ClassVar[Billing] = Billing(step_s=1.0, least_s=60.0, least_usd=0.01)
    least_scopes: ClassVar[tuple[str, ...]] = (
        "account:read", "droplet:create", "droplet:delete", "droplet:read", "image:read", "regions:read", "sizes:read",
        "ssh_key:read", "tag:create", "tag:read",
    )  # fmt: skip
    firewall_scopes: ClassVar[tuple[str, ...]] = (
        "firewall:create",
        "firewall:delete",
        "firewall:read",
        "firewall:update",
    )
    update_scopes: ClassVar[tuple[str, ...]] = ("droplet:update",)  # only to reboot and resize

    def __init__(
        self,
        token: str,
        endpoint: str,
        options: Mapping[str, str],
        *,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        unknown = sorted(set(options) - OPTIONS)
        if unknown:
            raise BadInput(
                f"digitalocean has no option {', '.join(unknown)}", "", f"its options are {', '.join(sorted(OPTIONS))}"
            )
        self._api = Api(token, endpoint, options.get("ca", ""), transport)
        self._keys = [key.strip() for key in options.get("ssh_keys", "").split(",") if key.strip()]
        self._vpc = options.get("vpc", "")
        self._pause = pause

    def sizes(self) -> list[Size]:
        """Those that can be had somewhere, at the price of now."""
        return [row.size() for row in self._sizes() if row.available and row.regions]

    def check(self) -> list[str]:
        """Also what it can't know: whether a machine that the token sees is one that should be out of its reach."""
        return warnings(self._api, self.list, self._keys, self._vpc)

    def list(self, *, name: str = "", tag: str = "") -> list[Server]:
        query: dict[str, str | int] = {"name": name} if name else {"tag_name": tag} if tag else {}
        call = Call(
            "list droplets",
            "GET",
            "/v2/droplets",
            ("droplet:read", "tag:read") if tag else ("droplet:read",),
            query=query,
        )
        found = [
            droplet.server()
            for droplet in self._api.pages(call, DropletPage, lambda page: page.droplets, lambda row: row.id)
        ]
        return [each for each in found if (not name or each.name == name) and (not tag or tag.lower() in each.tags)]

    def get(self, id: str) -> Server:
        return self._get(id).server()

    def create(self, order: Order) -> Server:
        size = len(order.user_data.encode())
        if size > USER_DATA_BYTES:
            raise ProviderRefused(
                f"{order.name} was not created", f"its user data has {size} bytes, and {USER_DATA_BYTES} is the most"
            )
        body: dict[str, Any] = {
            "name": order.name,
            "size": order.size,
            "image": int(order.image) if order.image.isdecimal() else order.image or IMAGE,
            "user_data": order.user_data,
            "tags": list(order.tags),
            "ssh_keys": [int(key) if key.isdecimal() else key for key in self._keys],
            "backups": False,
            "ipv6": False,
            "monitoring": False,
            "with_droplet_agent": False,  # what runs on a machine is what user data says, and nothing else
        }
        body |= ({"region": order.region} if order.region else {}) | ({"vpc_uuid": self._vpc} if self._vpc else {})
        scopes = ("droplet:create", "image:read", "tag:create", *(["ssh_key:read"] if self._keys else []))
        call = Call(
            f"create {order.name} ({order.size} in {order.region or 'any region'})",
            "POST",
            "/v2/droplets",
            (*scopes, "vpc:read") if self._vpc else scopes,
            body=body,
        )
        try:
            return self._api.ask(call, OfDroplet).droplet.server()
        except ProviderRefused as refused:
            raise self._why(order, refused) from None

    def destroy(self, server: Server) -> None:
        try:
            self._ours(server)
            self._api.send(
                Call(
                    f"destroy {server.name}",
                    "DELETE",
                    f"/v2/droplets/{server.id}",
                    ("droplet:delete",),
                    _subject(server.id),
                )
            )
        except NoSuchServer:
            return

    def reboot(self, server: Server) -> None:
        self._ours(server)
        self._act(server, {"type": "reboot"})

    def resize(self, server: Server, size: str) -> None:
        """Off, another size, on; its disk stays as it is, so that the way back is open. Where it broke off it goes on."""
        found = self._ours(server)
        row = next((row for row in self._sizes() if row.slug == size), None)
        if row is None:
            raise ProviderRefused(f"{server.name} was not resized", f"there is no size {size!r} at DigitalOcean")
        if found.size_slug != size:
            if not row.available or found.region.slug not in row.regions:
                raise NoCapacity(
                    f"{server.name} was not resized", f"{size} can't be had in {found.region.slug} just now"
                )
            if found.status == "active":
                self._act(server, {"type": "power_off"})
            try:
                self._act(server, {"type": "resize", "size": size, "disk": False})
            except (Refusal, NoCapacity):
                with contextlib.suppress(Refusal, Passing):  # if it stays off, the next try goes on from there
                    self._act(server, {"type": "power_on"})
                raise
            found = self._get(server.id)
        if found.status == "off":
            self._act(server, {"type": "power_on"})

    def rebuild(self, server: Server, order: Order) -> Server:
        self.destroy(server)
        return self.create(order)

    def ensure_firewall(self, tag: str) -> None:
        """A cloud firewall for all machines with this tag: from outside only Skerry's own port. May be repeated.

        For operators, with a token of theirs: a keeper's has none of these scopes.
        """
        self._api.send(Call(f"make the tag {tag}", "POST", "/v2/tags", ("tag:create",), body={"name": tag}))
        into = [Rule(protocol, "7077", sources=ANYWHERE) for protocol in ("tcp", "udp")]
        out = [Rule(protocol, "0", destinations=ANYWHERE) for protocol in ("tcp", "udp", "icmp")]
        name, there = self._firewall(tag)
        wanted = {"name": name, "inbound_rules": into, "outbound_rules": out, "tags": [tag]}
        if there is None:
            self._api.send(
                Call(f"make the firewall {name}", "POST", "/v2/firewalls", ("firewall:create",), body=wanted)
            )
        elif not _is_as(there, into, out, tag):
            path = f"/v2/firewalls/{there.id}"
            self._api.send(Call(f"change the firewall {name}", "PUT", path, ("firewall:update",), body=wanted))

    def remove_firewall(self, tag: str) -> str:
        """Take it away; gives its name, "" where there was none. With the same token as above."""
        name, there = self._firewall(tag)
        if there is None:
            return ""
        path = f"/v2/firewalls/{there.id}"
        with contextlib.suppress(NoSuchServer):  # another operator was first
            self._api.send(
                Call(f"remove the firewall {name}", "DELETE", path, ("firewall:delete",), f"firewall {name}")
            )
        return name

    def _firewall(self, tag: str) -> tuple[str, Firewall | None]:
        """What it is called, and what is there under that name."""
        name = firewall_of(tag)
        call = Call("list firewalls", "GET", "/v2/firewalls", ("firewall:read",))
        rows = self._api.pages(call, FirewallPage, lambda page: page.firewalls, lambda row: row.id)
        return name, next((row for row in rows if row.name == name), None)

    def _sizes(self) -> Sequence[SizeRow]:
        call = Call("list sizes", "GET", "/v2/sizes", ("sizes:read", "regions:read"))
        return self._api.pages(call, SizePage, lambda page: page.sizes, lambda row: row.slug)

    def _regions(self) -> set[str]:
        call = Call("list regions", "GET", "/v2/regions", ("regions:read",))
        return {row.slug for row in self._api.pages(call, RegionPage, lambda page: page.regions, lambda row: row.slug)}

    def _get(self, id: str) -> Droplet:
        if not id.isascii() or not id.isdecimal() or not 0 < int(id) <= NOBODY:
            raise NoSuchServer(f"there is no {_subject(id)} at DigitalOcean", "its droplets have numbers")
        call = Call(f"look at droplet {id}", "GET", f"/v2/droplets/{id}", ("droplet:read",), _subject(id))
        found = self._api.ask(call, OfDroplet).droplet
        if found.id != int(id):
            raise ProviderSilent(
                "DigitalOcean's answer can't be used", f"droplet {id} was asked for, {found.id} was told"
            )
        return found

    def _ours(self, server: Server) -> Droplet:
        """Look it up once more. Raises NoSuchServer, NotOurs, and ProviderSilent while its tags have not been told."""
        droplet = self._get(server.id)
        found = droplet.server()
        if server.tags and not found.tags and found.name == server.name:
            raise ProviderSilent(f"{server.name} was left alone", "the provider has not told its tags yet")
        check_same(server, found)
        return droplet

    def _act(self, server: Server, body: dict[str, Any]) -> None:
        """Start an action and wait for its end. Raises ProviderSilent if that can't be seen in time."""
        doing, path = f"{body['type']} {server.name}", f"/v2/droplets/{server.id}/actions"
        scopes = ("droplet:update", "droplet:create") if body["type"] == "resize" else ("droplet:update",)
        action = self._api.ask(Call(doing, "POST", path, scopes, _subject(server.id), body=body), OfAction).action
        looks = Call(f"{doing}: look at it", "GET", f"{path}/{action.id}", ("droplet:read",), _subject(server.id))
        for _ in range(int(ACTION_LIMIT_S / POLL_S)):
            if action.status != "in-progress":
                break
            self._pause(POLL_S)
            action = self._look(looks, action)
        if action.status == "errored":
            raise ProviderRefused(f"DigitalOcean failed: {doing}", "the action ended with an error")
        if action.status == "in-progress":
            raise ProviderSilent(
                f"DigitalOcean is not done: {doing}", f"after {ACTION_LIMIT_S:.0f} s it is still at it"
            )

    def _look(self, call: Call, last: Action) -> Action:
        """What passes while one waits is waited for, too."""
        try:
            return self._api.ask(call, OfAction).action
        except Passing:
            return last

    def _why(self, order: Order, refused: ProviderRefused) -> Exception:
        """A refused order whose words say nothing: is it what no order can change just now?"""
        try:
            row = next((row for row in self._sizes() if row.slug == order.size), None)
            known = not order.region or order.region in self._regions()
            if row and known and not (row.available and order.region in (*row.regions, "")):
                return NoCapacity(refused.what, f"{order.size} can't be had in {order.region} just now ({refused.why})")
            account = self._api.ask(ACCOUNT, OfAccount).account
            if len(self.list()) >= account.droplet_limit:
                return QuotaReached(
                    refused.what, f"{account.droplet_limit} droplets are the account's limit ({refused.why})"
                )
        except (Refusal, Passing):  # the first answer stands
            pass
        return refused


def firewall_of(tag: str) -> str:
    return f"skerry-{tag}".replace(":", "-").replace("_", "-")


def _subject(id: str) -> str:
    return f"droplet {id[:40]}"


def _is_as(there: Firewall, into: Sequence[Rule], out: Sequence[Rule], tag: str) -> bool:
    def rules(rows: Sequence[Rule] | None, inbound: bool) -> set[tuple[str, str, tuple[str, ...]]]:
        found = set()
        for row in rows or ():
            target = (row.sources if inbound else row.destinations) or Target()
            found.add(
                (row.protocol, "0" if row.ports in ("all", "0", "") else row.ports, tuple(sorted(target.addresses)))
            )
        return found

    same = rules(there.inbound_rules, True) == rules(into, True) and rules(there.outbound_rules, False) == rules(
        out, False
    )
    return same and tag.lower() in {each.lower() for each in there.tags or ()}
