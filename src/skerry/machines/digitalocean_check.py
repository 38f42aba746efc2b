"""What a token may do, found out without doing anything; and what is wrong with its account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from skerry.errors import Refusal
from skerry.machines.contract import ProviderDenied, Server
from skerry.machines.digitalocean_api import Api, Call, ScopeMissing
from skerry.machines.digitalocean_shapes import Account, KeyPage, OfAccount

NOBODY = (1 << 53) - 1  # a droplet that can't be: what a token may do to one can be asked with it
ACCOUNT = Call("read the account", "GET", "/v2/account", ("account:read",))
KEYS = Call("list SSH keys", "GET", "/v2/account/keys", ("ssh_key:read",))
SHOWN = 5
Found = TypeVar("Found")


def warnings(api: Api, see: Callable[[], Sequence[Server]], keys: Sequence[str], vpc: str) -> list[str]:
    """Raises ProviderDenied for a token that can't be used at all."""
    account = _may(lambda: api.ask(ACCOUNT, OfAccount).account)
    found = _may(see)
    if found is None:
        raise ProviderDenied("this token can't be used", "it lacks the scope droplet:read", "give the token that scope")
    lacking = [scope for scope, call in _probes(vpc) if not _allowed(api, call)] + ([] if account else ["account:read"])
    lines = [f"the token lacks {', '.join(sorted(lacking))}"] if lacking else []
    if _allowed(api, _nobody("POST", "/actions", {"type": "password_reset"})):
        lines.append(
            "the token seems to have droplet:admin, with which any droplet can be taken over: leave that scope out"
        )
    if account:
        lines += _of_account(account, len(found))
    lines += _of_others([each for each in found if not any(tag.startswith("skerry:") for tag in each.tags)])
    if keys:
        known = _may(lambda: {text for row in _keys(api) for text in row})
        missing = [key for key in keys if known is not None and key not in known]
        lines += ["the token lacks ssh_key:read"] if known is None else []
        lines += [f"the account has no SSH key {', '.join(missing)}"] if missing else []
    return lines


def _of_account(account: Account, droplets: int) -> list[str]:
    lines = [] if account.status == "active" else [f"the account is {account.status}: {account.status_message[:200]}"]
    if droplets >= account.droplet_limit:
        lines.append(f"the account has {droplets} droplets, and {account.droplet_limit} is its limit")
    return lines


def _of_others(others: Sequence[Server]) -> list[str]:
    if not others:
        return []
    names = ", ".join(f"{each.name} ({', '.join(each.addresses[:1]) or 'no address'})" for each in others[:SHOWN])
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    why = "whoever has it can destroy them: give pools a team of their own"
    return [f"the token also sees machines that Skerry did not rent, {names}{more}; {why}"]


def _keys(api: Api) -> list[tuple[str, str]]:
    rows = api.pages(KEYS, KeyPage, lambda page: page.ssh_keys, lambda row: row.id)
    return [(str(row.id), row.fingerprint) for row in rows]


def _probes(vpc: str) -> list[tuple[str, Call]]:
    """One harmless request for each scope: it reads, or asks for what can't be done and would be refused otherwise, too."""
    reads = {
        "regions:read": "/v2/regions",
        "sizes:read": "/v2/sizes",
        "image:read": "/v2/images",
        "tag:read": "/v2/tags",
    }
    reads |= {"vpc:read": "/v2/vpcs"} if vpc else {}
    probes = [
        (scope, Call(f"probe {scope}", "GET", path, (scope,), query={"per_page": 1})) for scope, path in reads.items()
    ]
    for scope, path in (("droplet:create", "/v2/droplets"), ("tag:create", "/v2/tags")):  # nothing is made of nothing
        probes.append((scope, Call(f"probe {scope}", "POST", path, (scope,), body={})))
    return [*probes, ("droplet:delete", _nobody("DELETE"))]


def _nobody(method: str, path: str = "", body: Any = None) -> Call:
    return Call("probe what it may do", method, f"/v2/droplets/{NOBODY}{path}", (), "such droplet", body=body)


def _may(ask: Callable[[], Found]) -> Found | None:
    """None: a scope is missing. A token that is not taken at all is no matter of scopes."""
    try:
        return ask()
    except ScopeMissing:
        return None


def _allowed(api: Api, call: Call) -> bool:
    try:
        api.send(call)
    except ScopeMissing:
        return False
    except ProviderDenied:
        raise
    except Refusal:
        pass
    return True
