"""Letting our traffic through firewalls of others (Docker, ufw, firewalld):

the least of their rules that must be added.

An accept in our own table doesn't help: a packet must pass every table, and one drop suffices. So a chain of others
that drops or rejects by default gets a few rules at its top, marked by a comment, told to the operator, removed by
`purge`. Nothing else of theirs is touched. In iptables' own tables they are rules that iptables itself can show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skerry.net.commands import Binaries, CommandFailed, run_now
from skerry.net.nft import Nft
from skerry.net.ports import Ground

MARK = "skerry"
_LEGACY_CHAINS = {"forward": "FORWARD", "input": "INPUT"}


def wanted_rules(hook: str, ground: Ground) -> list[str]:
    """What must pass:

    forwarded packets of containers and tunnel; of what the host takes in, questions to the gateway, and who is held there.
    """
    veths, tunnel = f'"{ground.veth_prefix}*"', f'"{ground.tunnel}"'
    if hook == "forward":
        return [f"{side} {device} counter accept" for device in (veths, tunnel) for side in ("iifname", "oifname")]
    held = f"ip daddr {ground.gateway} tcp dport {ground.holder} counter accept"
    return [*(f"iifname {device} ip daddr {ground.gateway} counter accept" for device in (veths, tunnel)), held]


def strict_chains(listed: list[dict[str, Any]], ground: Ground) -> Iterator[dict[str, Any]]:
    """Of `list chains`: base chains of others that could stop us.

    Those that accept by policy may still end in a reject.
    """
    for entry in listed:
        chain = entry.get("chain", {})
        if (
            chain.get("type") == "filter"
            and chain.get("hook") in _LEGACY_CHAINS
            and chain.get("family") in ("ip", "inet")
            and (chain["family"], chain.get("table")) != ("ip", ground.table)
        ):
            yield chain


def stops(chain: dict[str, Any], rules: list[dict[str, Any]]) -> bool:
    """Whether what no rule lets through is lost: by policy, or by a last rule that drops or rejects whatever comes."""
    if chain.get("policy") == "drop":
        return True
    last = rules[-1].get("expr", []) if rules else []
    return bool(last) and not any("match" in e for e in last) and any("drop" in e or "reject" in e for e in last)


class Foreign:
    """The firewalls of others on this host, as far as they concern us."""

    def __init__(self, nft: Nft, ground: Ground, binaries: Binaries) -> None:
        self._nft, self._ground, self._binaries = nft, ground, binaries

    async def let_in(self) -> list[str]:
        """Add what is missing; a line for each chain that was changed. Cheap if nothing is (some ms)."""
        return await asyncio.to_thread(self._let_in)

    async def purge(self) -> None:
        await asyncio.to_thread(self._purge)

    def _let_in(self) -> list[str]:
        changed = []
        for chain in strict_chains(self._nft.listed_now("chains"), self._ground):
            rules = self._rules(chain)
            ours = {rule["handle"] for rule in rules if rule.get("comment") == MARK}
            if not stops(chain, [rule for rule in rules if rule["handle"] not in ours]):
                continue
            place, wanted = _place(chain), wanted_rules(chain["hook"], self._ground)
            if len(ours) == len(wanted):
                continue
            self._nft.run_now(
                "".join(f"delete rule {place} handle {handle}\n" for handle in ours)
                + "".join(f'insert rule {place} {rule} comment "{MARK}"\n' for rule in wanted)
            )
            changed.append(f"let containers and tunnel through the firewall chain {place}")
        return changed + self._legacy("-I")

    def _purge(self) -> None:
        for chain in strict_chains(self._nft.listed_now("chains"), self._ground):
            for rule in self._rules(chain):
                if rule.get("comment") == MARK:
                    self._nft.run_now(f"delete rule {_place(chain)} handle {rule['handle']}\n")
        self._legacy("-D")

    def _rules(self, chain: dict[str, Any]) -> list[dict[str, Any]]:
        listed = self._nft.listed_now(f"chain {_place(chain)}")
        return [entry["rule"] for entry in listed if "rule" in entry]

    def _legacy(self, action: str) -> list[str]:
        """Older hosts have iptables without nftables beneath: unseen by nft. `action`: -I or -D."""
        try:
            if "filter" not in Path("/proc/net/ip_tables_names").read_text().split():
                return []
            shown = run_now([self._binaries.iptables_legacy, "-w", "-S"])
        except (OSError, CommandFailed):
            return []
        g, changed = self._ground, []
        for hook, chain in _LEGACY_CHAINS.items():
            if action == "-I" and f"-P {chain} DROP" not in shown:
                continue
            devices = (f"{g.veth_prefix}+", g.tunnel)
            if hook == "input":
                passes = [["-d", f"{g.gateway}/32", "-i", device] for device in devices]
                passes.append(["-d", f"{g.gateway}/32", "-p", "tcp", "-m", "tcp", "--dport", str(g.holder)])
            else:
                passes = [[side, device] for device in devices for side in ("-i", "-o")]
            for rule in passes:
                if (f"-A {chain} {' '.join(rule)} -j ACCEPT" in shown) == (action == "-D"):
                    run_now([self._binaries.iptables_legacy, "-w", action, chain, *rule, "-j", "ACCEPT"])
                    changed.append(f"let containers and tunnel through iptables' chain {chain}")
        return sorted(set(changed))


def _place(chain: dict[str, Any]) -> str:
    return f"{chain['family']} {chain['table']} {chain['name']}"
