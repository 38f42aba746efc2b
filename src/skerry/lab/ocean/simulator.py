"""The API itself: one request in, one answer out. Who may ask, how often, what goes wrong on purpose, and then what is asked."""

from __future__ import annotations

import math
import re
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from skerry.lab.ocean import catalog, metadata, orders
from skerry.lab.ocean.droplets import Droplet, Pace
from skerry.lab.ocean.faults import Broken, Fault
from skerry.lab.ocean.firewalls import Firewalls
from skerry.lab.ocean.fleet import FOR_EVER, Ask, Fleet, Machines
from skerry.lab.ocean.limits import Limits, Meter
from skerry.lab.ocean.orders import Refused, unprocessable

BODY_BYTES = 1 << 20
ALL_SCOPES = None
VPC = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str] = {}


class Call(NamedTuple):
    """One request, taken apart. `scopes`: what its token may do; None is everything."""

    query: dict[str, str]
    body: bytes
    scopes: Collection[str] | None
    fault: Fault | None

    def need(self, *scopes: str) -> None:
        for scope in scopes:
            if self.scopes is not None and scope not in self.scopes:
                raise Refused(403, "Forbidden", f"You are missing the required permission {scope}.")


class Simulator:
    """`tokens`: token -> its scopes, or None for all. `control`: who has this one may see and break everything."""

    def __init__(
        self,
        machines: Machines | None = None,
        *,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
        limits: Limits | None = None,
        tokens: Mapping[str, Collection[str] | None] | None = None,
        control: str = "",
        price_factor: float = 1.0,
    ) -> None:
        self.clock = clock
        self.limits = limits or Limits()
        self.tokens = dict(tokens) if tokens is not None else {"dop_v1_lab": ALL_SCOPES}
        self.control = control or secrets.token_hex(16)
        self.fleet = Fleet(machines, clock, pace or Pace())
        self.firewalls = Firewalls()
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()  # "DELETE /v2/droplets": how often that was answered, whatever it said
        self.status = "active"  # of the account
        self.price_factor = price_factor  # on the prices of the catalog
        self.keys: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, str] = {}  # lower case -> as it was first spelled
        self._meters: dict[str, Meter] = {}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """`headers`: names in lower case. Raises Broken where the connection is to end without an answer."""
        with self.fleet.lock:
            self.fleet.settle()
            parts = urlsplit(target)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            token = headers.get("authorization", "").removeprefix("Bearer ")
            shown: dict[str, str] = {}
            try:
                if parts.path.startswith("/control/"):
                    return self._controlled(method, parts.path, token, body)
                return self._answer(method, parts.path, query, token, body, shown)
            except Refused as refused:
                words = {"id": refused.id, "message": refused.message, "request_id": str(uuid.uuid4())}
                return _json(refused.status, words, shown)

    def asked_from(self, address: str, path: str) -> Answer:
        """One request to the metadata service."""
        with self.fleet.lock:
            number = self.fleet.machines.who(address) if self.fleet.machines else None
            droplet = self.fleet.droplets.get(number or 0)
            if number is None:
                droplet = next((each for each in self._there() if each.address == address), None)
            body = metadata.answer(droplet, path) if droplet else None
        return Answer(404, b"not found", {}) if body is None else Answer(200, body, {"content-type": "text/plain"})

    def foreign(
        self, name: str, tags: Collection[str] = (), size: str = "s-1vcpu-1gb", region: str = "ams3"
    ) -> Droplet:
        """One that somebody else made in the same account."""
        with self.fleet.lock:
            return self._add(
                name, orders.Create(size=size, image="debian-12-x64", tags=list(tags)), "debian-12-x64", region
            )

    def destroyed_from_outside(self, number: int) -> None:
        with self.fleet.lock:
            self.fleet.destroy(self.fleet.droplets[number])

    def state(self) -> dict[str, Any]:
        """What a test wants to know and no client is told: all droplets that ever were, what they cost, who was called."""
        with self.fleet.lock:
            self.fleet.settle()
            now = self.clock()
            rows = [
                {
                    "id": each.id,
                    "name": each.name,
                    "tags": each.tags,
                    "size": each.size,
                    "address": each.address,
                    "there": each.destroyed_s == math.inf and not each.vanishes,
                    "state": each.state(now),
                    "created_s": each.created_s,
                    "destroyed_s": None if each.destroyed_s == math.inf else each.destroyed_s,
                    "cost_usd": round(each.cost_usd(now), 6),
                }
                for each in self.fleet.droplets.values()
            ]
            spent = sum(each.cost_usd(now) for each in self.fleet.droplets.values())
            return {"now_s": now, "droplets": rows, "spent_usd": round(spent, 6), "calls": dict(self.calls)}

    def close(self) -> None:
        self.fleet.close()

    def _answer(
        self, method: str, path: str, query: dict[str, str], token: str, body: bytes, shown: dict[str, str]
    ) -> Answer:
        fault = next((each for each in self.faults if each.hits(method, path)), None)
        self.faults = [each for each in self.faults if each.times > 0]
        if fault and fault.kind in ("cut-before", "hang"):
            raise Broken(hang=fault.kind == "hang", done=False)
        if fault and fault.kind == "status":
            if fault.retry_after_s is not None:
                shown["retry-after"] = str(fault.retry_after_s)
            raise Refused(fault.status, "too_many_requests" if fault.status == 429 else "server_error", "on purpose")
        if fault and fault.kind == "garbage":
            return Answer(200, fault.body.encode(), {"content-type": "application/json"})
        if token not in self.tokens:
            raise Refused(401, "Unauthorized", "Unable to authenticate you")
        self._count(token, path, shown)
        for known, pattern, scopes, handler in ROUTES:
            found = pattern.fullmatch(path)
            if known == method and found:
                self.calls[f"{method} {pattern.pattern}"] += 1
                call = Call(query, body, self.tokens[token], fault)
                call.need(*scopes)
                if len(body) > BODY_BYTES:
                    raise Refused(413, "request_too_large", "the body is too large")
                status, value = handler(self, call, *found.groups())
                if fault and fault.kind in ("cut-after", "hang-after"):
                    raise Broken(hang=fault.kind == "hang-after", done=True)
                return Answer(204, b"", shown) if value is None else _json(status, value, shown)
        raise Refused(404, "not_found", "The resource you requested could not be found.")

    def _count(self, token: str, path: str, shown: dict[str, str]) -> None:
        now = self.clock()
        meter = self._meters.setdefault(token, Meter(self.limits))
        wait = meter.refuse(now, keys=path == "/v2/account/keys")
        shown.update(meter.headers(now))
        if wait is not None:
            if wait:
                shown["retry-after"] = str(wait)
            raise Refused(429, "too_many_requests", "API Rate limit exceeded.")

    def _controlled(self, method: str, path: str, token: str, body: bytes) -> Answer:
        if not secrets.compare_digest(token.encode(), self.control.encode()):
            raise Refused(401, "Unauthorized", "this needs the control token")
        match method, path.split("/")[2:]:
            case "GET", ["state"]:
                return _json(200, self.state(), {})
            case "POST", ["faults"]:
                self.faults.append(orders.read(body, Fault))
            case "DELETE", ["faults"]:
                self.faults = []
            case "POST", ["droplets"]:
                order = orders.read(body, orders.Create)
                made = self.foreign(order.name or "other", order.tags or (), order.size, order.region or "ams3")
                return _json(200, {"id": made.id}, {})
            case "DELETE", ["droplets", number] if number.isdecimal() and int(number) in self.fleet.droplets:
                self.destroyed_from_outside(int(number))
            case _:
                raise Refused(404, "not_found", "there is no such control")
        return Answer(204, b"", {})

    def _there(self) -> list[Droplet]:
        now = self.clock()
        return [each for each in self.fleet.droplets.values() if each.there(now)]

    def _droplet(self, number: str) -> Droplet:
        droplet = self.fleet.droplets.get(int(number))
        if droplet is None or not droplet.there(self.clock()):
            raise Refused(404, "not_found", "The resource you were accessing could not be found.")
        return droplet

    def _shown(self, droplet: Droplet) -> dict[str, Any]:
        shown = droplet.shown(self.clock(), self.fleet.busy(droplet))
        return {**shown, "size": self._priced(shown["size"])}

    def _priced(self, size: dict[str, Any]) -> dict[str, Any]:
        prices = {key: round(size[key] * self.price_factor, 5) for key in ("price_monthly", "price_hourly")}
        return {**size, **prices}

    def _page(self, call: Call, key: str, rows: list[Any], path: str) -> tuple[int, dict[str, Any]]:
        def number(name: str, least: int, most: int, default: int) -> int:
            text = call.query.get(name, str(default))
            if not text.isdecimal() or not least <= int(text) <= most:
                raise unprocessable(f"{name} must be a number from {least} to {most}")
            return int(text)

        size = number("per_page", 1, 200, 20)
        page = number("page", 1, 1 << 31, 1)
        last = max(1, -(-len(rows) // size))
        links = {}
        for name, other in (("first", 1), ("prev", page - 1), ("next", page + 1), ("last", last)):
            if 1 <= other <= last and (page > 1 if name in ("first", "prev") else page < last):
                links[name] = f"https://api.digitalocean.com{path}?page={other}&per_page={size}"
        shown = rows[(page - 1) * size : page * size]
        return 200, {key: shown, "links": {"pages": links} if links else {}, "meta": {"total": len(rows)}}

    def list_droplets(self, call: Call) -> tuple[int, Any]:
        name, tag = call.query.get("name", "").lower(), call.query.get("tag_name", "").lower()
        if name and tag:
            raise Refused(400, "bad_request", "name and tag_name can't be given together")
        if tag:
            call.need("tag:read")
        now = self.clock()
        found = [each for each in self.fleet.droplets.values() if each.listed(now, tag)]
        if name:
            found = [each for each in found if each.name.lower() == name]
        if tag:
            found = [each for each in found if tag in (one.lower() for one in each.tags)]
        newest_first = sorted(found, key=lambda each: -each.id)
        return self._page(call, "droplets", [self._shown(each) for each in newest_first], "/v2/droplets")

    def create_droplets(self, call: Call) -> tuple[int, Any]:
        order = orders.read(call.body, orders.Create)
        call.need("image:read", *(["tag:create"] if order.tags else []), *(["ssh_key:read"] if order.ssh_keys else []))
        call.need(*(["vpc:read"] if order.vpc_uuid else []))
        known = {str(key[field]) for key in self.keys.values() for field in ("id", "fingerprint")}
        names, image, region = orders.check(order, known, {VPC})
        if self.status == "locked":
            raise Refused(403, "Forbidden", "Your account is locked: there is a problem with your payment method.")
        room = self.limits.droplets - sum(each.destroyed_s == math.inf for each in self._there())
        if room < (1 if order.names else len(names)):
            raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")
        made = [self._add(name, order, image, region, call.fault) for name in names[:room]]  # of several some may fail
        links = []
        for each in made:
            action = next(one for one in self.fleet.actions.values() if one.droplet == each.id)
            links.append(
                {"id": action.id, "rel": "create", "href": f"https://api.digitalocean.com/v2/actions/{action.id}"}
            )
        answer: dict[str, Any] = {"links": {"actions": links}}
        shown = [{**self._shown(each), "tags": []} for each in made]
        return 202, answer | ({"droplets": shown} if order.names is not None else {"droplet": shown[0]})

    def _add(self, name: str, order: orders.Create, image: str, region: str, fault: Fault | None = None) -> Droplet:
        now, pace = self.clock(), self.fleet.pace
        droplet = Droplet(
            id=self.fleet.next_number(),
            name=name,
            region=region,
            size=order.size,
            image=image,
            user_data=order.user_data or "",
            tags=[self.tags.setdefault(tag.lower(), tag) for tag in order.tags or ()],
            created_s=now,
            active_s=math.inf,
            lists_s=now + pace.lists_s,
            tags_s=now + pace.tags_s,
            vpc=order.vpc_uuid or VPC,
        )
        kind = fault.kind if fault else ""
        droplet.vanishes = kind == "vanish"
        droplet.clock_s = fault.clock_s if fault and kind == "clock" else 0.0
        self.fleet.add(droplet, stuck=kind == "stuck")
        return droplet

    def destroy_by_tag(self, call: Call) -> tuple[int, Any]:
        call.need("tag:read")
        tag = call.query.get("tag_name", "").lower()
        if not tag:
            raise Refused(400, "bad_request", "tag_name must be given")
        for droplet in self._there():
            if tag in (one.lower() for one in droplet.tags):
                self.fleet.destroy(droplet)
        return 204, None

    def get_droplet(self, call: Call, number: str) -> tuple[int, Any]:
        return 200, {"droplet": self._shown(self._droplet(number))}

    def destroy_droplet(self, call: Call, number: str) -> tuple[int, Any]:
        droplet = self._droplet(number)
        if droplet.destroyed_s < math.inf:
            raise Refused(404, "not_found", "The resource you were accessing could not be found.")
        self.fleet.destroy(droplet)
        return 204, None

    def list_actions(self, call: Call, number: str) -> tuple[int, Any]:
        droplet, now = self._droplet(number), self.clock()
        rows = [each.shown(now) for each in self.fleet.actions.values() if each.droplet == droplet.id]
        return self._page(call, "actions", rows[::-1], f"/v2/droplets/{number}/actions")

    def start_action(self, call: Call, number: str) -> tuple[int, Any]:
        droplet, ask = self._droplet(number), orders.read(call.body, Ask)
        call.need(*(["droplet:admin"] if ask.type in FOR_EVER else []))
        if ask.type == "resize":
            call.need("droplet:create")
            row = catalog.size(ask.size)
            if row is None:
                raise unprocessable("You specified an invalid size for Droplet creation.")
            if not row.available or droplet.region not in row.regions:
                raise unprocessable("Size is not available in this region.")
        if ask.type == "rename" and not orders.NAME.fullmatch(ask.name):
            raise unprocessable("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
        if ask.type == "snapshot":
            call.need("image:create")
        return 201, {"action": self.fleet.act(droplet, ask).shown(self.clock())}

    def get_action(self, call: Call, *numbers: str) -> tuple[int, Any]:
        action = self.fleet.actions.get(int(numbers[-1]))
        if action is None or (len(numbers) == 2 and action.droplet != int(numbers[0])):
            raise Refused(404, "not_found", "The resource you were accessing could not be found.")
        return 200, {"action": action.shown(self.clock())}

    def account(self, call: Call) -> tuple[int, Any]:
        about = {
            "droplet_limit": self.limits.droplets,
            "floating_ip_limit": 3,
            "email": "lab@example.com",
            "name": "The lab",
            "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
            "email_verified": True,
            "status": self.status,
            "status_message": "",
            "team": {"uuid": "5df3e3004a17e242b7c20ca6c9fc25b701a47ece", "name": "The lab"},
        }
        return 200, {"account": about}

    def list_keys(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "ssh_keys", list(self.keys.values()), "/v2/account/keys")

    def list_sizes(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "sizes", [self._priced(row.shown()) for row in catalog.SIZES], "/v2/sizes")

    def list_regions(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "regions", [catalog.region(slug) for slug in catalog.REGIONS], "/v2/regions")

    def list_images(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "images", [catalog.image(slug) for slug in catalog.IMAGES], "/v2/images")

    def list_vpcs(self, call: Call) -> tuple[int, Any]:
        vpc: dict[str, Any] = {
            "id": VPC,
            "urn": f"do:vpc:{VPC}",
            "name": "default-ams3",
            "region": "ams3",
            "ip_range": "10.110.0.0/20",
        }
        vpc |= {"description": "", "default": True, "created_at": "2026-01-05T12:00:00Z"}
        return self._page(call, "vpcs", [vpc], "/v2/vpcs")

    def list_tags(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "tags", [self._tag(tag) for tag in self.tags.values()], "/v2/tags")

    def create_tag(self, call: Call) -> tuple[int, Any]:
        name = orders.read(call.body, dict[str, Any]).get("name")
        if not isinstance(name, str):
            raise unprocessable("Name can't be blank")
        orders.check_tag(name)
        return 201, {"tag": self._tag(self.tags.setdefault(name.lower(), name))}

    def _tag(self, tag: str) -> dict[str, Any]:
        tagged = {"count": sum(tag in each.tags for each in self._there())}
        return {"name": tag, "resources": {**tagged, "droplets": tagged}}

    def list_firewalls(self, call: Call) -> tuple[int, Any]:
        return self._page(call, "firewalls", self.firewalls.rows(), "/v2/firewalls")

    def create_firewall(self, call: Call) -> tuple[int, Any]:
        return 202, {"firewall": self.firewalls.add(call.body, self.tags, self.clock())}

    def change_firewall(self, call: Call, id: str) -> tuple[int, Any]:
        return 200, {"firewall": self.firewalls.change(id, call.body, self.tags, self.clock())}

    def delete_firewall(self, call: Call, id: str) -> tuple[int, Any]:
        self.firewalls.remove(id)
        return 204, None


Handler = Callable[..., tuple[int, Any]]
_ROUTES: tuple[tuple[str, str, tuple[str, ...], Handler], ...] = (
    ("GET", "/v2/droplets", ("droplet:read",), Simulator.list_droplets),
    ("POST", "/v2/droplets", ("droplet:create",), Simulator.create_droplets),
    ("DELETE", "/v2/droplets", ("droplet:delete",), Simulator.destroy_by_tag),
    ("GET", "/v2/droplets/(\\d{1,18})", ("droplet:read",), Simulator.get_droplet),
    ("DELETE", "/v2/droplets/(\\d{1,18})", ("droplet:delete",), Simulator.destroy_droplet),
    ("GET", "/v2/droplets/(\\d{1,18})/actions", ("droplet:read",), Simulator.list_actions),
    ("POST", "/v2/droplets/(\\d{1,18})/actions", ("droplet:update",), Simulator.start_action),
    ("GET", "/v2/droplets/(\\d{1,18})/actions/(\\d{1,18})", ("droplet:read",), Simulator.get_action),
    ("GET", "/v2/actions/(\\d{1,18})", ("actions:read",), Simulator.get_action),
    ("GET", "/v2/account", ("account:read",), Simulator.account),
    ("GET", "/v2/account/keys", ("ssh_key:read",), Simulator.list_keys),
    ("GET", "/v2/sizes", ("sizes:read", "regions:read"), Simulator.list_sizes),
    ("GET", "/v2/regions", ("regions:read",), Simulator.list_regions),
    ("GET", "/v2/images", ("image:read",), Simulator.list_images),
    ("GET", "/v2/vpcs", ("vpc:read",), Simulator.list_vpcs),
    ("GET", "/v2/tags", ("tag:read",), Simulator.list_tags),
    ("POST", "/v2/tags", ("tag:create",), Simulator.create_tag),
    ("GET", "/v2/firewalls", ("firewall:read",), Simulator.list_firewalls),
    ("POST", "/v2/firewalls", ("firewall:create",), Simulator.create_firewall),
    ("PUT", "/v2/firewalls/([0-9a-f-]{36})", ("firewall:update",), Simulator.change_firewall),
    ("DELETE", "/v2/firewalls/([0-9a-f-]{36})", ("firewall:delete",), Simulator.delete_firewall),
)
ROUTES = tuple((method, re.compile(path), scopes, handler) for method, path, scopes, handler in _ROUTES)


def _json(status: int, value: Any, headers: dict[str, str]) -> Answer:
    return Answer(status, msgspec.json.encode(value), {**headers, "content-type": "application/json; charset=utf-8"})
