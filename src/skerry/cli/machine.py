"""`skerry machine`: the machines that the cloud rents, and the pools by which operators say how many. Parse, one call, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.machine_acts import command as acts
from skerry.cli.machine_image import command as image
from skerry.cli.machine_sizes import PRICES
from skerry.cli.machine_sizes import command as sizes
from skerry.cli.options import Duration, Pair, Size, timeout
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.cli.provider_token import asked_for, firewall_token, token_file, tokens_of

if TYPE_CHECKING:
    from skerry.client.walls import Firewall

CHANGES = (0, 1, 2, 3, 4, 5)
COLUMNS = ("slot", "state", "address", "provider", "size", "region", "usd_hour", "keeper", "why")


@click.group(name="machine")
def command() -> None:
    """Rent, list and return machines by pools."""


@command.group(name="pool")
def pool() -> None:
    """Say how many machines may be rented, where, and for how much."""


firewall = click.option(
    "--firewall", is_flag=True, help="Close all ports but 7077 at the provider; again is harmless, and mends it."
)


def _names(text: str | None) -> tuple[str, ...] | None:
    """ "a,b" -> ("a", "b"); "none" -> (); None stays."""
    if text is None:
        return None
    return () if text == "none" else tuple(part for part in text.split(",") if part)


LIMITS = (
    click.option("--spend", "spend_usd_month", type=click.FloatRange(0), default=None, metavar="USD",
                 help="The most that all of them may cost in a month."),
    click.option("--regions", default=None, metavar="A,B", help="Where, in order of preference; a machine's is its zone."),
    click.option("--creates-per-hour", type=click.IntRange(1, 1000), default=None, metavar="N", help="Not faster than that."),
    click.option("--down", "down_s", type=Duration(), default=None, help="Not needed for so long, a machine is given back."),
    click.option("--join", "join_s", type=Duration(), default=None, help="A machine that has not joined by then has failed."),
    click.option("--drain", "drain_s", type=Duration(), default=None, help="How long its replicas have to leave it."),
    click.option("--age", "age_s", type=Duration(), default=None, help="None is given back younger than that."),
    click.option("--grace", "grace_s", type=Duration(), default=None,
                 help="One of ours that belongs to no slot is returned after that."),
    click.option("--image", default=None, metavar="NAME", help="Its system, as the provider calls it."),
    click.option("--keepers", default=None, metavar="A,B|none", help="Fixed hosts that rent; none: operators do it by hand."),
)  # fmt: skip


def limits(function: Any) -> Any:
    for option in reversed(LIMITS):
        function = option(function)
    return function


@declare(
    pool,
    "add",
    example="skerry machine pool add burst --provider digitalocean --size s-1vcpu-1gb --min 0 --max 10 --spend 20\n"
    "skerry machine pool add burst --provider digitalocean --cpus 2 --memory 2g --price 20 --max 4 --regions ams3,fra1\n"
    "skerry machine pool add burst --provider digitalocean --provider libvirt=qemu+ssh://root@box/system --cpus 2 --max 4",
    codes=CHANGES,
)
@click.argument("name")
@click.option(
    "--provider",
    "providers",
    required=True,
    multiple=True,
    metavar="NAME[=URL]",
    help="Such as digitalocean, libvirt, manual; of several the cheapest that has one.",
)
@click.option("--size", default="", metavar="NAME", help="The provider's name of a size; else what follows decides.")
@click.option(
    "--cpus", type=click.FloatRange(0), default=0.0, metavar="N", help="At least so many, the cheapest that fits."
)
@click.option("--memory", type=Size(), default=0, metavar="SIZE", help="At least so much (2g).")
@click.option("--price", type=click.FloatRange(0), default=0.0, metavar="USD", help="At most so much a month for one.")
@click.option("--min", "least", type=click.IntRange(0), default=0, show_default=True, help="Always so many.")
@click.option("--max", "most", type=click.IntRange(0), required=True, help="Never more.")
@click.option("--endpoint", default="", metavar="URL", help="Instead of the provider's own; of a hypervisor its URI.")
@click.option(
    "--option",
    "options",
    type=Pair(),
    multiple=True,
    metavar="NAME=VALUE",
    help="For this provider; repeatable. For a further one its name goes before it: libvirt.image=…",
)
@click.option("--label", "labels", type=Pair(), multiple=True, metavar="NAME=VALUE", help="For placement; repeatable.")
@click.option(
    "--weight",
    type=click.IntRange(0, 10_000),
    default=100,
    show_default=True,
    help="Its share of slots; a host has 100.",
)
@firewall
@firewall_token
@click.option("--meeting", default="", metavar="HOST", help="With --keepers none: where machines wait for an operator.")
@limits
@token_file
def pool_add(
    terminal: Terminal,
    name: str,
    providers: tuple[str, ...],
    size: str,
    cpus: float,
    memory: int,
    price: float,
    least: int,
    most: int,
    endpoint: str,
    options: tuple[tuple[str, str], ...],
    labels: tuple[tuple[str, str], ...],
    weight: int,
    firewall: bool,
    firewall_token_file: Path | None,
    meeting: str,
    keepers: str | None,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
    **limits: Any,
) -> None:
    """Let keepers rent machines of pool NAME, within these bounds.

    Everything is looked at before anything is signed: token, sizes, prices. The token is sealed to the keepers and to the
    operators, and is nowhere in clear. With several providers each machine is rented where what it needs is cheapest at that
    time and to be had; without keepers the cheapest one of now is signed alone.
    """
    from skerry.cli.output import table
    from skerry.client import offers, pools
    from skerry.core.intent import Pool
    from skerry.machines.providers import MEETING

    if least > most:
        raise click.UsageError(f"--min {least} is more than --max {most}")
    if not (size or cpus or memory):
        raise click.UsageError("say --size, or what a machine needs: --cpus, --memory")
    if size and len(providers) > 1:
        raise click.UsageError("--size is one provider's word: with several say what a machine needs: --cpus, --memory")
    at = _names(keepers)
    if (at == ()) is not bool(meeting):
        raise click.UsageError("--meeting HOST goes with --keepers none, and with nothing else")
    given = _fields(limits)
    own = offers.offers_said(
        providers,
        endpoint,
        given.pop("image", ""),
        {**dict(options), **({MEETING: meeting} if meeting else {})},
    )
    wanted = Pool(
        max=most, min=least, network="10.77.0.0/16", size=size, cpus=cpus, memory_bytes=memory, price_usd_month=price,
        labels=dict(labels), weight=weight, **own, **given,
    )  # fmt: skip
    token, wall = tokens_of(wanted, token_file), _firewall(firewall, firewall_token_file)
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: pools.add(
            session, name, wanted, token=token, keepers=at, firewall=wall, progress=terminal.say, warn=terminal.warn
        ),
        changes=True,
    )
    by, where = ", ".join(result["keepers"]), ", ".join(result["open_ports"])
    then = f"kept by {by}" if by else f"next: skerry machine up {name}"
    shown = table(result["fits"], PRICES) + "\n" if wanted.others else ""
    terminal.answer(
        result,
        f"{shown}pool {name}: {result['most']}; {then}\n"
        f"open to its machines, in every firewall before {where}: 7078/tcp",
    )


def _firewall(wanted: bool, file: Path | None) -> Firewall | None:
    from skerry.client.walls import Firewall

    if not wanted and file is not None:
        raise click.UsageError("--firewall-token-file goes with --firewall")
    return Firewall(file.read_text().strip() if file is not None else "") if wanted else None


def _fields(limits: dict[str, Any]) -> dict[str, Any]:
    """The pool's fields of the options that were given."""
    given = {field: value for field, value in limits.items() if value is not None}
    if "regions" in given:
        given["regions"] = _names(given["regions"])
    return given


@declare(pool, "set", example="skerry machine pool set burst --max 5 --spend 30", codes=CHANGES)
@click.argument("name")
@click.option("--min", "least", type=click.IntRange(0), default=None, help="Always so many.")
@click.option(
    "--max", "most", type=click.IntRange(0), default=None, help="Never more; 0: none at all, and they go now."
)
@click.option("--size", default=None, metavar="NAME", help="Of machines that are rented from now on.")
@firewall
@firewall_token
@limits
@token_file
def pool_set(
    terminal: Terminal,
    name: str,
    least: int | None,
    most: int | None,
    size: str | None,
    firewall: bool,
    firewall_token_file: Path | None,
    keepers: str | None,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
    **limits: Any,
) -> None:
    """Change the bounds of pool NAME, its provider's token, or who keeps it."""
    from skerry.client import pools

    changes = _fields({"min": least, "max": most, "size": size, **limits})
    token = token_file.read_text().strip() if token_file is not None else ""
    wall = _firewall(firewall, firewall_token_file)
    if not changes and not token and keepers is None and wall is None:
        raise click.UsageError("say what is to be changed")
    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: pools.set_(
            session,
            name,
            changes,
            token=token,
            keepers=_names(keepers),
            firewall=wall,
            progress=terminal.say,
            warn=terminal.warn,
        ),
        changes=True,
    )
    terminal.answer(result, f"pool {name} is changed" + (f": {result['most']}" if "most" in result else ""))


@declare(pool, "ls", example="skerry machine pool ls --json")
def pool_ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the pools."""
    from skerry.client import pools

    async def work(session: Any) -> list[dict[str, Any]]:
        await session.sync(1)
        return pools.ls(session)

    rows = run.in_cloud(terminal, cloud, passphrase_file, work)
    columns = ("pool", "provider", "min", "max", "size", "spend_usd_month", "keepers")
    terminal.rows(rows, columns, empty="no pool yet: skerry machine pool add")


@declare(pool, "show", example="skerry machine pool show burst")
@click.argument("name")
def pool_show(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Show all that operators signed about pool NAME."""
    from skerry.cli.output import table
    from skerry.client import pools

    async def work(session: Any) -> dict[str, Any]:
        await session.sync(1)
        return pools.show(session, name)

    found = run.in_cloud(terminal, cloud, passphrase_file, work)
    rows = [{"field": field, "value": value} for field, value in found.items() if value not in ("", 0, {}, [], False)]
    terminal.answer(found, table(rows, ("field", "value")))


@declare(pool, "rm", example="skerry machine pool rm burst", codes=CHANGES)
@click.argument("name")
@click.option("--now", is_flag=True, help="Don't drain its machines first.")
@firewall_token
@token_file
@timeout("600s")
def pool_rm(
    terminal: Terminal,
    name: str,
    now: bool,
    timeout_s: float,
    firewall_token_file: Path | None,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Return all machines of pool NAME, and forget it."""
    from skerry.client import machines

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: machines.pool_rm(
            session,
            name,
            token=asked_for(token_file),
            firewall_token=firewall_token_file.read_text().strip() if firewall_token_file is not None else "",
            now=now,
            timeout_s=timeout_s,
            progress=terminal.say,
        ),
        changes=True,
    )
    if wall := result["firewall_left"]:
        terminal.warn(f"its firewall is still at the provider, {wall}: remove it there")
    terminal.answer(result, f"pool {name} is removed")


@declare(command, "ls", example="skerry machine ls burst --json")
@click.argument("pool_name", metavar="[POOL]", required=False, default="")
def ls(terminal: Terminal, pool_name: str, cloud: str, passphrase_file: str | None) -> None:
    """List the machines, of POOL or of all pools, as their keepers tell of them."""
    from skerry.client import machines

    rows = run.in_cloud(terminal, cloud, passphrase_file, lambda session: machines.ls(session, pool_name))
    terminal.rows(rows, COLUMNS, empty="no machine")


@declare(command, "show", example="skerry machine show burst/3")
@click.argument("slot")
def show(terminal: Terminal, slot: str, cloud: str, passphrase_file: str | None) -> None:
    """Show all that is known of machine SLOT."""
    from skerry.cli.output import table
    from skerry.client import machines

    found = run.in_cloud(terminal, cloud, passphrase_file, lambda session: machines.show(session, slot))
    terminal.answer(found, table([{"field": field, "value": found[field]} for field in found], ("field", "value")))


@declare(command, "up", example="skerry machine up burst\nskerry machine up burst/3 --token-file token", codes=CHANGES)
@click.argument("name", metavar="POOL[/NUMBER]")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="600s", show_default=True, help="How long it may take to join."
)
@token_file
def up(
    terminal: Terminal,
    name: str,
    timeout_s: float,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Rent a machine of a pool that no host keeps, from here, and let it in.

    The provider's token is read here and goes nowhere else. A machine that does not join in time is returned.
    """
    from skerry.client import machine_up

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: machine_up.up(
            session, name, token=asked_for(token_file), timeout_s=timeout_s, progress=terminal.say
        ),
        changes=True,
    )
    terminal.answer(
        result, f"{result['slot']} has joined at {result['address']}; return it: skerry machine rm {result['slot']}"
    )


@declare(command, "rm", example="skerry machine rm burst/3", codes=CHANGES)
@click.argument("slot")
@click.option("--now", is_flag=True, help="Don't drain it first.")
@token_file
@timeout("300s")
def rm(
    terminal: Terminal,
    slot: str,
    now: bool,
    timeout_s: float,
    token_file: Path | None,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Drain machine SLOT and return it. Where the load wants it, its keeper rents another one."""
    from skerry.client import machines

    result = run.in_cloud(
        terminal,
        cloud,
        passphrase_file,
        lambda session: machines.rm(
            session, slot, token=asked_for(token_file), now=now, timeout_s=timeout_s, progress=terminal.say
        ),
        changes=True,
    )
    terminal.answer(result, f"{slot} is returned")


@declare(command, "cost", example="skerry machine cost")
def cost(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """Show what the machines of each pool cost."""
    from skerry.client import machines

    rows = run.in_cloud(terminal, cloud, passphrase_file, machines.cost)
    columns = ("pool", "machines", "wanted", "usd_hour", "spent_usd_month", "spend_usd_month", "why")
    terminal.rows(rows, columns, empty="no pool")


command.add_command(image)
command.add_command(sizes)
for each in acts.commands.values():
    command.add_command(each)
