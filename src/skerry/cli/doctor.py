"""`skerry doctor`: the checks that a person would make by hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.host import ssh_options
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.client.home import Home


@declare(name="doctor", example="skerry doctor\nskerry doctor --host root@198.51.100.7", codes=(0, 1, 2, 3, 4, 5))
@click.option(
    "--host", "target", default="", metavar="TARGET", help="Look at a machine that may join, and change nothing."
)
@ssh_options
def command(terminal: Terminal, target: str, ssh: dict[str, Any], cloud: str, passphrase_file: str | None) -> int:
    """Check this machine and the cloud for common faults.

    With --host it looks at a machine that is not in the cloud yet: what it is, what stands in the way, what reaches it.
    Ends with 1 if something is not well.
    """
    if target:
        return _told(terminal, _host(target, cloud, ssh))
    if any(ssh.values()):
        raise click.UsageError("the options of ssh go with --host")
    from skerry.client import views

    rows = _machine(run.home())
    if run.home().clouds():
        try:
            rows += run.in_cloud(terminal, cloud, passphrase_file, views.doctor)
        except SkerryError as error:
            rows.append({"check": "cloud", "ok": False, "detail": str(error), "fix": error.fix})
    return _told(terminal, rows)


def _told(terminal: Terminal, rows: list[dict[str, Any]]) -> int:
    terminal.answer(rows, table(rows, ("ok", "check", "detail", "fix")))
    return 0 if all(row["ok"] for row in rows) else 1


def _host(target: str, cloud: str, ssh: dict[str, Any]) -> list[dict[str, Any]]:
    from skerry.client.prospect import look

    home = run.home()
    if not (cloud or os.environ.get("SKERRY_CLOUD") or home.selected()):
        return look(target, **ssh)
    file = home.choose(cloud, os.environ).read()
    return look(target, cloud=file.id, hosts=file.hosts, **ssh)


def _machine(home: Home) -> list[dict[str, Any]]:
    """What this laptop needs."""
    import shutil

    ssh = shutil.which("ssh")
    rows = [
        {
            "check": "ssh",
            "ok": bool(ssh),
            "detail": ssh or "not found",
            "fix": "" if ssh else "install OpenSSH: host add uses it",
        }
    ]
    clouds = home.clouds()
    rows.append(
        {
            "check": "cloud",
            "ok": bool(clouds),
            "detail": ", ".join(clouds) or "none known here",
            "fix": "" if clouds else "skerry init",
        }
    )
    for name in clouds:
        kept = home.cloud(name).has_key("root")
        rows.append(
            {
                "check": f"root key of {name}",
                "ok": not kept,
                "detail": "is on this machine" if kept else "is not on this machine",
                "fix": "put it away: skerry key export --remove-root" if kept else "",
            }
        )
    return rows
