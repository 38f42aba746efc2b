"""`skerry status`: is the cloud well?"""

from __future__ import annotations

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean, table


@declare(name="status", example="skerry status")
def command(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """Show whether the cloud is well.

    One line a host, and every replica that is not as it should be.
    """
    from skerry.client import views

    result = run.in_cloud(terminal, cloud, passphrase_file, views.status)
    lines = [f"cloud {result['cloud']}: {result['healthy']} of {result['replicas']} replicas healthy"]
    lines.append(table(result["hosts"], ("name", "state", "address", "free")))
    if result["not_healthy"]:
        lines += ["", table(result["not_healthy"], ("slot", "state", "why"))]
    lines += [f"asked of you: {clean(row['slot'])}: {clean(row['why'])}" for row in result["asked"]]
    lines += [f"{clean(app)}: {clean(why)}" for app, why in result["failed"].items()]
    terminal.answer(result, "\n".join(lines))
