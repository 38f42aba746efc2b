"""A host before it joins (`doctor --host`): what it is, what stands in the way, what reaches it. Nothing is changed anywhere."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skerry.client.home import KnownHost
from skerry.machines.errors import RemoteFailed
from skerry.machines.ssh import Ssh
from skerry.machines.survey import PORT, judge, survey

REACH_LIMIT_S = 3.0
OPEN_FIX = f"let {PORT}/tcp and {PORT}/udp in, on it and in its provider's firewall"

Row = dict[str, Any]


def look(
    target: str,
    *,
    cloud: str = "",
    hosts: Mapping[str, KnownHost] | None = None,
    ssh_config: Path | None = None,
    identity: Path | None = None,
    jump: str = "",
    host_keys: Sequence[str] = (),
) -> list[Row]:
    """Rows of {check, ok, detail, fix}. `cloud`: id of the one to join; `hosts`: its hosts, by name. Raises as Ssh does."""
    with Ssh(target, config=ssh_config, identity=identity, jump=jump, host_keys=host_keys) as ssh:
        found = survey(ssh)
        what, *notes = found.lines()
        rows = [_row("host", what)]
        rows += [_row("found", note) for note in notes]
        problems = judge(found, cloud=cloud)
        rows += [_row("in the way", problem.why, fix=problem.fix, ok=False) for problem in problems]
        if not problems:
            there = bool(found.skerry_cloud) and found.skerry_cloud == cloud
            rows.append(_row("may join", f"is {found.skerry_node} already" if there else f"skerry host add {target}"))
        if not jump:
            rows.append(_from_here(ssh.address()))
        rows += [_from_there(ssh, name, host) for name, host in sorted((hosts or {}).items()) if host.addresses]
    return rows


def _row(check: str, detail: str, *, fix: str = "", ok: bool = True) -> Row:
    return {"check": check, "ok": ok, "detail": detail, "fix": fix}


def _from_here(address: str) -> Row:
    """Before it has joined nobody listens there: a refusal shows that no firewall stands before it. Nothing can show that of UDP."""
    check = f"{PORT}/tcp from here"
    try:
        socket.create_connection((address, PORT), timeout=REACH_LIMIT_S).close()
    except ConnectionRefusedError:
        return _row(check, "nothing in the way, and nobody listens yet")
    except OSError as error:
        return _row(check, f"{address}: {error}", fix=OPEN_FIX, ok=False)
    return _row(check, "somebody listens")


def _from_there(ssh: Ssh, name: str, host: KnownHost) -> Row:
    """Whether the host reaches one of the cloud's: it dials out, so that this is enough for links."""
    address, _, port = host.addresses[0].rpartition(":")
    check = f"{name} from there"
    argv = ["timeout", f"{REACH_LIMIT_S:.0f}", "bash", "-c", ': <"/dev/tcp/$0/$1"', address.strip("[]"), port]
    try:
        ssh.run(argv, timeout_s=REACH_LIMIT_S * 3)
    except RemoteFailed as failed:
        if failed.exit_status == 127:
            return _row(check, "can't be tried: it has no bash")
        why = failed.stderr.splitlines()[-1] if failed.stderr else f"no answer within {REACH_LIMIT_S:.0f} s"
        return _row(check, f"{host.addresses[0]}: {why}", fix=f"let it out to {port}/tcp and {port}/udp", ok=False)
    return _row(check, f"reaches {host.addresses[0]}")
