"""`skerry host`: the machines of a cloud. Parse, one call, show."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from skerry.cli import run, voters
from skerry.cli.options import Duration, Pair, Size, timeout
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.sizes import size as in_words

CHANGES = (0, 1, 2, 3, 4, 5)


@click.group(name="host")
def command() -> None:
    """Join, list, drain, upgrade and remove hosts."""


command.add_command(voters.command)


def ssh_options(function: Any) -> Any:
    """Gives `ssh`: what the client's functions take of it by name. `ssh`'s own configuration is used; these only add to it."""

    @functools.wraps(function)
    def by_ssh(
        *args: Any, ssh_config: Path | None, identity: Path | None, jump: str, host_keys: tuple[str, ...], **more: Any
    ) -> Any:
        ssh = {"ssh_config": ssh_config, "identity": identity, "jump": jump, "host_keys": host_keys}
        return function(*args, ssh=ssh, **more)

    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = (
        click.option("--ssh-config", type=file, default=None, metavar="FILE", help="Instead of ~/.ssh/config."),
        click.option("--identity", type=file, default=None, metavar="FILE", help="The private key for ssh."),
        click.option("-J", "--jump", default="", metavar="USER@HOST", help="The host on the way, as ssh's -J."),
        click.option("--host-key", "host_keys", multiple=True, metavar="SHA256:...",
                     help="Its key's fingerprint, where nobody is there to be asked; repeatable."),
    )  # fmt: skip
    for option in reversed(options):
        by_ssh = option(by_ssh)
    return by_ssh


@declare(
    command,
    "add",
    example="skerry host add root@198.51.100.7 --label disk=ssd --zone a\n"
    "skerry host add debian@10.0.0.8:2222 --jump root@198.51.100.7 --host-key SHA256:8xGQ…",
    codes=CHANGES,
)
@click.argument("target")
@click.option("--name", default=None, help="Its name in the cloud; else its own host name.")
@click.option(
    "--label", "labels", type=Pair(), multiple=True, metavar="NAME=VALUE", help="For placement constraints; repeatable."
)
@click.option("--zone", default="", help="Hosts of one zone fail together; replicas are spread over zones.")
@click.option(
    "--slot", default="", metavar="POOL/NUMBER", help="Join it as that machine of a pool, instead of a fixed host."
)
@click.option("--voter-only", is_flag=True, help="It votes about leases (skerry host voters) and runs nothing.")
@click.option("--address", default=None, metavar="ADDRESS", help="Where other hosts reach it, if not where ssh does.")
@click.option("--readmit", is_flag=True, help="Let a host back in that was removed or expelled and kept its keys.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="30s",
    show_default=True,
    help="How long its agent may take to start.",
)
@ssh_options
def add(
    terminal: Terminal,
    target: str,
    name: str | None,
    labels: tuple[tuple[str, str], ...],
    zone: str,
    slot: str,
    voter_only: bool,
    address: str | None,
    readmit: bool,
    timeout_s: float,
    ssh: dict[str, Any],
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Join the machine behind TARGET (root@ADDRESS) by one SSH session.

    Another user than root needs sudo without a password. A host's key that is not known yet is shown at the terminal, and asked
    for. What would stand in the way says skerry doctor --host.

    Run again it changes nothing and mends a broken agent. SSH is not used afterwards.
    """
    if voter_only and slot:
        raise click.UsageError("a pool's machine comes and goes: it can't vote")
    from skerry.client import join

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: join.add(
            session,
            target,
            name=name,
            labels=dict(labels),
            zone=zone,
            slot=slot,
            voter_only=voter_only,
            **ssh,
            address=address,
            readmit=readmit,
            timeout_s=timeout_s,
            progress=terminal.say,
        ),
    )
    for closed in result["unreachable_from"]:
        terminal.warn(f"not reached from {closed}")
    name, ports = result["name"], " and ".join(result["open_ports"])
    done = "has joined" if result["new"] else f"is mended: {', '.join(result['done'])}" if result["done"] else "is well"
    terminal.answer(result, f"{name} {done}\nopen to all hosts and operators, in every firewall before it: {ports}")


@declare(command, "ls", example="skerry host ls --json")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the hosts, as the first one that answers sees them."""
    from skerry.client import views

    rows = run.in_cloud(terminal, cloud, passphrase_file, views.host_ls)
    terminal.rows(
        rows,
        (
            "name",
            "state",
            "address",
            "labels",
            "capacity",
            "free",
            *(["votes"] if any(row["votes"] for row in rows) else []),
        ),
        empty="no host yet: skerry host add root@ADDRESS",
    )


@declare(command, "rm", example="skerry host rm vps-2 --purge", codes=CHANGES)
@click.argument("name")
@click.option("--purge", is_flag=True, help="Also delete its volumes and keys.")
@click.option(
    "--target", default=None, metavar="USER@ADDRESS", help="Where ssh reaches it, if not at root@ its address."
)
@ssh_options
def rm(
    terminal: Terminal,
    name: str,
    purge: bool,
    target: str | None,
    ssh: dict[str, Any],
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Take host NAME out of the cloud and leave the machine as it was before."""
    from skerry.client import leave

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: leave.rm(session, name, purge, target=target, **ssh, progress=terminal.say),
    )
    _warn_of_data(terminal, result)
    _warn_of_tokens(terminal, result)
    kept = f"\nstill on it: {', '.join(result['kept'])} (gone with --purge)" if result["kept"] else ""
    terminal.answer(result, f"{name} is removed{kept}")


@declare(command, "drain", example="skerry host drain vps-2 --timeout 60", codes=CHANGES)
@click.argument("name")
@timeout("120s")
def drain(terminal: Terminal, name: str, timeout_s: float, cloud: str, passphrase_file: str | None) -> None:
    """Move every replica off host NAME; undo with `skerry host undrain NAME`."""
    from skerry.client import drain

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: drain.drain(session, name, timeout_s, progress=terminal.say),
        changes=True,
    )
    left = result.get("left", [])
    terminal.answer(result, f"{name} is drained" + (f"; these stay with their data: {', '.join(left)}" if left else ""))


@declare(command, "undrain", example="skerry host undrain vps-2", codes=CHANGES)
@click.argument("name")
def undrain(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Let host NAME take replicas again."""
    from skerry.client import drain

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: drain.undrain(session, name), changes=True)
    terminal.answer(result, f"{name} takes replicas again")


@declare(
    command,
    "label",
    example="skerry host label vps-2 disk=ssd --zone b\nskerry host label vps-2 --remove disk",
    codes=CHANGES,
)
@click.argument("name")
@click.argument("labels", nargs=-1, type=Pair(), metavar="[LABEL=VALUE]...")
@click.option("--remove", "without", multiple=True, metavar="LABEL", help="Take a label away; repeatable.")
@click.option("--zone", default=None, metavar="ZONE", help='Hosts of one zone fail together; "" for a zone of its own.')
def label(
    terminal: Terminal,
    name: str,
    labels: tuple[tuple[str, str], ...],
    without: tuple[str, ...],
    zone: str | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Give host NAME labels, or another zone: constraints and preferences of services ask for them.

    Replicas move as these ask, the new one healthy before the old one stops.
    """
    if not labels and not without and zone is None:
        raise click.UsageError("say which label, or --zone")
    from skerry.client.labels import set_labels

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: set_labels(session, name, dict(labels), without=without, zone=zone),
        changes=True,
    )
    said = [f"{key}={value}" for key, value in sorted(result["labels"].items())]
    said += [f"zone {result['zone']}"] if result["zone"] else []
    terminal.answer(result, f"{name}: {', '.join(said) or 'no label'}")


@declare(command, "budget", example="skerry host budget vps-2 20g", codes=CHANGES)
@click.argument("name")
@click.argument("size", type=Size())
def budget(terminal: Terminal, name: str, size: int, cloud: str, passphrase_file: str | None) -> None:
    """Let images take SIZE (20g, 500m) of host NAME's disk; 0: a fifth of it, as without this command.

    What is not in use goes first, the oldest before the others; an image that doesn't fit even then runs elsewhere.
    """
    from skerry.client.budget import set_budget

    result = run.in_cloud(
        terminal, cloud, passphrase_file, lambda session: set_budget(session, name, size), changes=True
    )
    terminal.answer(result, f"images on {name} may take {in_words(size) if size else 'a fifth of its disk'}")


@declare(command, "upgrade", example="skerry host upgrade --all", codes=CHANGES)
@click.argument("names", nargs=-1)
@click.option("--all", "all_hosts", is_flag=True, help="Every host, one at a time.")
@click.option(
    "--limit",
    "limit_s",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long the new agent has to rejoin.",
)
def upgrade(
    terminal: Terminal,
    names: tuple[str, ...],
    all_hosts: bool,
    limit_s: float,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Give hosts NAMES the agent that this skerry ships; containers run on.

    A host takes only the agent that its signed enrolment names. If that has not rejoined within the limit, the host goes
    back to the one before, by itself, and the hosts after it are left alone.
    """
    if bool(names) == all_hosts:
        raise click.UsageError("name the hosts, or say --all")
    from skerry.client.upgrade import upgrade as work

    rows = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: work(session, list(names), limit_s=limit_s, progress=terminal.say),
        changes=True,
    )
    terminal.rows(rows, ("name", "from", "to"), empty="no host")


@declare(command, "expel", example="skerry host expel vps-2", codes=CHANGES)
@click.argument("name")
def expel(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Cut a captured host NAME off everywhere; lists the secrets that it could read."""
    from skerry.client import leave

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: leave.expel(session, name), changes=True)
    _warn_of_data(terminal, result)
    _warn_of_tokens(terminal, result)
    if result["voted"]:
        terminal.warn(
            "it votes about the leases of exclusive slots, and may grant them twice: skerry host voters set, without it"
        )
    if machines := result["machines_it_enrolled"]:
        terminal.warn(f"it let these in: {', '.join(machines)}; in doubt: skerry machine rm {machines[0]} --now")
    if receivers := result["receivers_it_could_read"]:
        terminal.warn(
            f"it knows how alerts reach {', '.join(receivers)}: give new addresses, skerry alert add NAME --replace"
        )
    if late := result["not_yet_known_to"]:
        terminal.warn(
            f"{', '.join(late)} did not yet say that they know: they learn it from the others; see skerry host ls"
        )
    secrets = result["secrets_it_could_read"]
    advice = f"\nchange what these apps keep secret: {', '.join(secrets)}" if secrets else ""
    known = f" (known to {', '.join(result['known_to'])})" if result["known_to"] else ""
    terminal.answer(result, f"{name} is expelled: no host talks to it any more{known}{advice}")


def _warn_of_data(terminal: Terminal, result: dict[str, Any]) -> None:
    if lost := result["without_their_data"]:
        terminal.warn(f"{', '.join(lost)} had data there, and nowhere else: elsewhere it begins empty")


def _warn_of_tokens(terminal: Terminal, result: dict[str, Any]) -> None:
    if pools := result["tokens_it_could_read"]:
        from skerry.client.keeping import renew_token

        terminal.warn(f"it kept {', '.join(pools)}, and knows {renew_token(pools[0])}")
    if pools := result["keys_of_its_own"]:
        terminal.warn(f"it kept {', '.join(pools)} with keys of its own: take them away at the provider")
    for pool in result["without_keeper"]:
        terminal.warn(f"no host keeps {pool} any more: skerry machine pool set {pool} --keepers HOST")


@declare(command, "adopt", example="skerry host adopt root@198.51.100.7 root@198.51.100.8", codes=CHANGES)
@click.argument("targets", nargs=-1, required=True)
@ssh_options
def adopt(
    terminal: Terminal,
    targets: tuple[str, ...],
    ssh: dict[str, Any],
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Take over the hosts behind TARGETS by SSH alone, whatever cloud they are in; their apps run on.

    For clouds whose keys are lost. SSH access as root is the proof. Name all hosts of the old cloud at once.
    """
    from skerry.client.adopt import adopt as work

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        changes=True,
        work=lambda session: work(session, targets, **ssh, progress=terminal.say),
    )
    apps = f", with {', '.join(result['apps'])}" if result["apps"] else ""
    terminal.answer(result, f"{', '.join(result['hosts'])}: adopted{apps}")
