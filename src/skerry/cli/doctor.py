"""`skerry doctor`: the checks that a person would make by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.client.home import Home


@declare(name="doctor", example="skerry doctor")
def command(terminal: Terminal, cloud: str, passphrase_file: str | None) -> int:
    """Check this machine and the cloud for common faults.

    Ends with 1 if something is not well.
    """
    from skerry.client import views

    rows = _machine(run.home())
    if run.home().clouds():
        try:
            rows += run.in_cloud(terminal, cloud, passphrase_file, views.doctor)
        except SkerryError as error:
            rows.append({"check": "cloud", "ok": False, "detail": str(error), "fix": error.fix})
    terminal.answer(rows, table(rows, ("ok", "check", "detail", "fix")))
    return 0 if all(row["ok"] for row in rows) else 1


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
