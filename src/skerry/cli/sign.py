"""`skerry sign`: what waits for more signatures than one, and one's own under it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean

if TYPE_CHECKING:
    from skerry.client.session import Session


@declare(name="sign", example="skerry sign\nskerry sign policy", codes=(0, 1, 2, 3, 4))
@click.argument("path", default="")
@click.option("--yes", is_flag=True, help="Do not ask; what it changes is shown all the same.")
@click.option(
    "--root-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="Sign with this root key, too.",
)
def command(
    terminal: Terminal, path: str, yes: bool, root_key: Path | None, cloud: str, passphrase_file: str | None
) -> None:
    """Add your signature to what waits for it.

    Without PATH: what waits, who has signed it, and for what it waits. PATH is a document (`policy`) or a draft's name.
    """
    from skerry.client import signing

    if not path:
        rows = run.in_cloud(terminal, cloud, passphrase_file, signing.ls)
        terminal.rows(rows, ("draft", "paths", "signed_by", "waits"), empty="nothing waits")
        return

    async def work(session: Session) -> dict[str, Any]:
        draft = await signing.find(session, path)
        changes = signing.changes(session, draft)
        terminal.say(f"draft {draft.id}, signed by {', '.join(draft.signed_by(session)) or 'nobody known'}, changes:")
        for row in changes:
            terminal.say(f"  {row['path']}  {row['field']}: {_word(row['old'])} -> {_word(row['new'])}")
        if not yes:
            run.confirm("sign this?")
        keys = run.root_keys(session, root_key) if root_key else ()
        return {**await signing.sign(session, draft, keys), "changes": changes}

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    accepted = f"accepted, kept by {', '.join(n.removeprefix('node/') for n in result.get('kept_by', []))}"
    done = accepted if result["accepted"] else f"signed; {result['waits']}"
    terminal.answer(result, f"{', '.join(result['paths'])}: {done}")


def _word(value: Any) -> str:
    return "nothing" if value in (None, "", [], {}) else clean(value)
