"""`skerry image audit`: known vulnerabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table

LEVELS = ("any", "low", "medium", "high", "critical")


@declare(
    name="audit",
    example="skerry image audit guestbook.web --db debian.json --db pypi-all.zip\n"
    "skerry image audit guestbook.web --db debian.json --fail-on high",
    codes=(0, 1, 2),
    cloud=False,
)
@click.argument("image", type=IMAGE)
@click.option(
    "--db",
    "databases",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    metavar="FILE",
    help="What is known: an OSV export (zip or JSON), or the JSON of Debian's security tracker. May be given again.",
)
@click.option("--fail-on", type=click.Choice(LEVELS), default=None, help="Exit with 1 for a finding as bad as that.")
def command(terminal: Terminal, image: str, databases: tuple[Path, ...], fail_on: str | None) -> int:
    """Compare the packages of IMAGE with lists of known vulnerabilities that you bring.

    Only packages with files in the image count. Nothing is fetched, so it is as new as the files are. `any` also counts what
    nobody has rated yet.
    """
    from skerry.client.library.auditing import at_least, audit

    images = store()
    found = audit(images, images.find(image, terminal.say), databases)
    terminal.answer(found, _text(found))
    if not found["complete"]:
        terminal.warn("this image was not built here: packages that it does not name itself are not in this list")
    return 1 if fail_on and at_least(found, fail_on) else 0


def _text(found: dict[str, Any]) -> str:
    if not found["findings"]:
        return f"nothing known about its {found['packages']} packages in these lists"
    columns = ("severity", "id", "package", "version", "fixed", "summary")
    rows = [row | {"fixed": row["fixed"] or ("perhaps" if row["doubtful"] else "")} for row in found["findings"]]
    rows = [row | {"summary": row["summary"][:80]} for row in rows]
    counts = ", ".join(f"{count} {severity}" for severity, count in found["counts"].items())
    return f"{table(rows, columns)}\n\n{len(rows)} findings in {found['packages']} packages: {counts}"
