"""`skerry lab`: whole small machines on this one, joined to a cloud of their own. Needs Linux and root."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.lab.lab import Lab, Machine

CODES = (0, 1, 2, 5)
COLUMNS = ("name", "state", "address", "pid")


@click.group(name="lab")
def command() -> None:
    """Run whole small machines here, to try and to test."""


def lab_option(function: Any) -> Any:
    """Gives `name`. What an error says to type is of that lab, too: `skerry lab down` alone would be another one's end."""

    @functools.wraps(function)
    def of_lab(*args: Any, name: str, **more: Any) -> Any:
        try:
            return function(*args, name=name, **more)
        except SkerryError as error:
            if name != "lab" and "--lab" not in error.fix:
                error.fix = re.sub(r"skerry lab [a-z]+", rf"\g<0> --lab {name}", error.fix)
            raise

    return click.option(
        "--lab", "name", default="lab", show_default=True, metavar="NAME", help="Several fit side by side."
    )(of_lab)


def _lab(name: str) -> Lab:
    from skerry.lab.lab import Lab

    return Lab(name)


def _rows(machines: list[Machine]) -> list[dict[str, Any]]:
    import msgspec

    return [msgspec.to_builtins(machine) for machine in machines]


@declare(command, "up", example="skerry lab up --hosts 5", codes=(0, 1, 2, 4, 5), cloud=False)
@lab_option
@click.option("--hosts", type=click.IntRange(1, 100), default=3, show_default=True, help="How many machines.")
@click.option(
    "--base",
    type=click.Choice(["host", "minimal"]),
    default="host",
    show_default=True,
    help="This machine's system, or a fresh Debian with next to nothing.",
)
@click.option("--bare", is_flag=True, help="Machines only: make no cloud, join nothing.")
def up(terminal: Terminal, name: str, hosts: int, base: str, bare: bool) -> None:
    """Boot machines and join them to a cloud of the lab's name.

    The cloud is selected only if none is selected yet.
    """
    lab = _lab(name)
    if not bare:
        _check_can_join(name)
    _end_by_exception()
    terminal.say(f"booting {hosts} machine{'s'[: hosts - 1]}")
    machines = lab.up(hosts, base)
    if not bare:
        try:
            _join(terminal, lab, machines)
        except BaseException:
            terminal.say("the lab is taken down again")
            _remove_cloud(name, lab.down())
            raise
    terminal.rows(_rows(lab.status()), COLUMNS)


def _check_can_join(name: str) -> None:
    """What would be missed only after all machines have booted."""
    from skerry.client.bundle import find_bundle
    from skerry.client.home import CloudExists

    if name in run.home().clouds():
        raise CloudExists(
            f"lab {name} was not started",
            "there is a cloud of that name on this machine",
            f"remove it with `skerry lab down --lab {name}`, or choose another --lab",
        )
    find_bundle()


def _end_by_exception() -> None:
    """SIGTERM, and Ctrl-C also where a shell told us to ignore it, end in the clean-up like any error."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _join(terminal: Terminal, lab: Lab, machines: list[Machine]) -> None:
    from skerry.client import join, recovery

    home = run.home()
    selected = home.selected()
    terminal.cloud(lab.name)
    recovery.init(home, lab.name, operator="lab", passphrase="", recovery_file=lab.directory / "recovery.age")
    if selected:
        home.select(selected)

    for machine in machines:
        run.in_cloud(
            terminal,
            lab.name,
            None,
            lambda session, machine=machine: join.add(  # type: ignore[misc]
                session,
                f"root@{machine.address}",
                name=machine.name,
                ssh_config=lab.ssh_config(),
                progress=terminal.say,
            ),
        )
    if selected:
        terminal.say(f"cloud {selected} stays selected; for the lab: skerry cloud use {lab.name}")
    else:
        terminal.say(f"cloud {lab.name} is ready and selected")
    terminal.say(f"take all of it away: skerry lab down{f' --lab {lab.name}' if lab.name != 'lab' else ''}")


def _remove_cloud(name: str, removed: list[str]) -> list[str]:
    """The lab's cloud goes with it: its keys open nothing any more. Somebody's own cloud of that name is left alone."""
    home = run.home()
    if name in home.clouds() and home.cloud(name).read().operator == "lab":
        home.forget(name)
        return [*removed, f"cloud {name} of this machine's home"]
    return removed


@declare(command, "down", example="skerry lab down", codes=CODES, cloud=False)
@lab_option
@click.option("--all", "every", is_flag=True, help="Every lab of this machine.")
def down(terminal: Terminal, name: str, every: bool) -> None:
    """Take the lab down: machines, disks, network, its cloud. Also after an interruption."""
    names = [name]
    if every:
        from skerry.lab.lab import HOME

        parent = Path(os.environ.get("SKERRY_LAB") or HOME)
        names = [place.name for place in sorted(parent.glob("[!.]*")) if place.is_dir()]
    removed: list[str] = []
    for each in names:
        removed += _remove_cloud(each, _lab(each).down())
    terminal.answer(removed, f"removed {_counts(removed)}" if removed else "there was nothing to remove")


def _counts(removed: list[str]) -> str:
    """ "3 cgroups, 1 interface" of ["cgroup /x", ...]: each of them is in --json."""
    kinds = Counter(what.partition(" ")[0] for what in removed)
    return ", ".join(
        f"{count} {kind}{'' if count == 1 else 'es' if kind[-1] == 's' else 's'}" for kind, count in kinds.items()
    )


@declare(command, "status", example="skerry lab status --json", codes=CODES, cloud=False)
@lab_option
def status(terminal: Terminal, name: str) -> None:
    """List the machines: on, off or cut off; address; pid 1 as seen from here."""
    terminal.rows(_rows(_lab(name).status()), COLUMNS)


@declare(command, "exec", example="skerry lab exec vps-1 -- systemctl status skerry", codes=CODES, cloud=False)
@lab_option
@click.argument("host")
@click.argument("argv", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(terminal: Terminal, name: str, host: str, argv: tuple[str, ...]) -> int:
    """Run a program inside HOST, as root; ends with its exit code."""
    if not terminal.as_json:
        return _lab(name).exec(host, argv, capture=False).returncode
    done = _lab(name).exec(host, argv)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    terminal.answer({"host": host, "exit_code": done.returncode, "stdout": out, "stderr": err}, "")
    return done.returncode


@declare(command, "kill", example="skerry lab kill vps-2", codes=CODES, cloud=False)
@lab_option
@click.argument("host")
def kill(terminal: Terminal, name: str, host: str) -> None:
    """Cut the power of HOST: its link first, then pid 1. What it synced is there at the next boot."""
    _lab(name).kill(host)
    terminal.answer({"name": host, "state": "off"}, f"{host} is off")


@declare(command, "boot", example="skerry lab boot vps-2", codes=CODES, cloud=False)
@lab_option
@click.argument("hosts", nargs=-1, required=True)
def boot(terminal: Terminal, name: str, hosts: tuple[str, ...]) -> None:
    """Switch HOSTS on again, with the disks that they had."""
    terminal.rows(_rows(_lab(name).boot(*hosts)), COLUMNS)


@declare(command, "cut", example="skerry lab cut vps-2", codes=CODES, cloud=False)
@lab_option
@click.argument("host")
def cut(terminal: Terminal, name: str, host: str) -> None:
    """Pull the network cable of HOST; it goes on running."""
    _lab(name).cut(host)
    terminal.answer({"name": host, "state": "cut"}, f"{host} is cut off")


@declare(command, "heal", example="skerry lab heal vps-2", codes=CODES, cloud=False)
@lab_option
@click.argument("host")
def heal(terminal: Terminal, name: str, host: str) -> None:
    """Undo `cut` and `slow` for HOST."""
    _lab(name).heal(host)
    terminal.answer({"name": host, "state": "on"}, f"{host} is as it was")


@declare(command, "slow", example="skerry lab slow vps-2 --rate 10mbit --loss 1%", codes=CODES, cloud=False)
@lab_option
@click.argument("host")
@click.option("--rate", default=None, metavar="RATE", help="Such as 10mbit.")
@click.option("--loss", default=None, metavar="SHARE", help="Such as 1%.")
@click.option("--delay", default=None, metavar="TIME", help="Such as 20ms, where the kernel has netem.")
def slow(terminal: Terminal, name: str, host: str, rate: str | None, loss: str | None, delay: str | None) -> None:
    """Make the network of HOST worse; undo with `skerry lab heal HOST`."""
    if not (rate or loss or delay):
        raise click.UsageError("say --rate, --loss or --delay")
    _lab(name).slow(host, rate=rate, loss=loss, delay=delay)
    terminal.answer({"name": host, "rate": rate, "loss": loss, "delay": delay}, f"{host} is slower now")


@declare(command, "ocean", example="skerry lab ocean --boot 5", codes=CODES, cloud=False)
@lab_option
@click.option(
    "--boot", "boot_s", type=click.FloatRange(0, 3600), default=3.0, show_default=True, help="Seconds to boot."
)
@click.option("--tls", is_flag=True, help="Serve https, under a certificate authority of its own.")
def ocean(terminal: Terminal, name: str, boot_s: float, tls: bool) -> None:
    """Serve DigitalOcean's API to the lab; droplets are further machines of it.

    Lists and tags come late, as there, in the same proportion to the boot. It ends with the lab.
    """
    import msgspec

    from skerry.lab.ocean import Pace
    from skerry.lab.ocean.process import start

    place = start(_lab(name), pace=Pace().times(boot_s / Pace().boot_s), tls=tls)
    text = f"endpoint  {place.endpoint}\ntoken     {place.token}\ncontrol   {place.control}"
    terminal.answer(msgspec.to_builtins(place), text + (f"\n{place.ca.strip()}" if place.ca else ""))
