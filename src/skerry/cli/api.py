"""`skerry api`: the cloud for programs in other languages. Parse, one call, show."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.cli import run
from skerry.cli.options import command as declare
from skerry.cli.options import passphrase_file
from skerry.cli.output import Terminal, age
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.api.tokens import Tokens
    from skerry.client.home import CloudHome

CODES = (0, 1, 2)


class NoFramework(BadInput):
    """What serves the API is not installed."""

    code = "api-not-installed"


class Serving(click.Group):
    """`skerry api` alone, or with options, is `skerry api serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(name="api", cls=Serving)
def command() -> None:
    """Serve the cloud to programs: REST with OpenAPI 3.1."""


def _tokens(chosen: CloudHome, file: Path | None) -> Tokens:
    from skerry.api.tokens import Tokens

    return Tokens(file or chosen.path / "api" / "tokens.json")


TOKEN_FILE = click.option(
    "--token-file", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
    help="Where the hashes of the tokens are; else beside the cloud's keys.",
)  # fmt: skip
CLOUD = click.option(
    "--cloud", default="", metavar="NAME", help="Which cloud; else $SKERRY_CLOUD, else the selected one."
)


@declare(
    command, "serve", codes=CODES, cloud=False,
    example="skerry api serve --listen 127.0.0.1:7080",
)  # fmt: skip
@click.option("--listen", "where", default="127.0.0.1:7080", show_default=True, metavar="ADDRESS:PORT", help="Where.")
@TOKEN_FILE
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="A certificate chain (PEM); needed where others reach the address.")  # fmt: skip
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Its key (PEM).")  # fmt: skip
@click.option("--plain", is_flag=True, help="Without TLS on such an address all the same: something else ends it.")
@click.option(
    "--from-environment", is_flag=True, help="Cloud, key and tokens out of $SKERRY_API_CLOUD, _KEY and _TOKENS."
)
@CLOUD
@passphrase_file
def serve_(
    terminal: Terminal,
    where: str,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain: bool,
    from_environment: bool,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Serve the API with the key of this machine, until it is interrupted.

    Each request needs a token, and can do no more than the key can. Each is one line of JSON on stderr.
    """
    try:
        from skerry.api.serve import from_environment as read_environment
        from skerry.api.serve import listen, serve
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("starlette", "uvicorn")):
            raise
        raise NoFramework(
            "the API is not served", f"{error.name} is not installed", "pip install 'skerry[api]'"
        ) from None
    from skerry.client.home import Home
    from skerry.sdk import AsyncClient

    listening = listen(where, certificate=tls_cert, key=tls_key, plain=plain)
    with tempfile.TemporaryDirectory(prefix="skerry-api-") as folder:
        if from_environment:
            home = Home(Path(os.environ.get("SKERRY_HOME") or folder))
            tokens = read_environment(os.environ, home)
        else:
            home = run.home()
            tokens = _tokens(home.choose(cloud, os.environ), token_file)
        chosen = home.choose(cloud, os.environ)
        if not tokens.all():
            terminal.warn("there is no token yet, so nobody gets an answer: skerry api token add NAME --role read")
        client = AsyncClient(chosen.name, home=home.path, passphrase=run.passphrase(passphrase_file))
        terminal.cloud(chosen.name)

        def ready() -> None:
            terminal.say(f"{listening.url}/v1, described at /v1/openapi.json")

        serve(listening, client, tokens, chosen.path / "api" / "ledger.sqlite", ready=ready)


@declare(command, "openapi", example="skerry api openapi", codes=CODES, cloud=False)
def openapi(terminal: Terminal) -> None:
    """Print the OpenAPI document; no cloud is needed."""
    from skerry.api.openapi import document
    from skerry.api.routes import ROUTES

    terminal.as_json = True
    terminal.answer(document(ROUTES), "")


@command.group(name="token")
def token() -> None:
    """Say who may use the API, and for what."""


@declare(token, "add", example="skerry api token add ci --role deploy:guestbook --days 90", codes=CODES, cloud=False)
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, metavar="ROLE",
              help="read, deploy:APP, machines:POOL or operator; repeatable.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, 3650), default=None, help="How long it is good; else always.")
@TOKEN_FILE
@CLOUD
def add(
    terminal: Terminal, name: str, roles: tuple[str, ...], days: int | None, token_file: Path | None, cloud: str
) -> None:
    """Make a token and print it, for the only time.

    It can never do more than the key of the machine that serves.
    """
    chosen = run.home().choose(cloud, os.environ)
    until_s = time.time() + days * 86400.0 if days else 0.0
    made = _tokens(chosen, token_file).add(name, roles, until_s)
    terminal.answer({"name": name, "roles": sorted(set(roles)), "until_s": until_s, "token": made}, made)


@declare(token, "ls", example="skerry api token ls", codes=CODES, cloud=False)
@TOKEN_FILE
@CLOUD
def ls(terminal: Terminal, token_file: Path | None, cloud: str) -> None:
    """List the tokens; what they are is kept nowhere."""
    chosen = run.home().choose(cloud, os.environ)
    rows = [
        {"name": name, "roles": list(token.roles), "made_s": token.made_s, "until_s": token.until_s}
        for name, token in sorted(_tokens(chosen, token_file).all().items())
    ]
    if terminal.as_json:
        terminal.answer(rows, "")
        return
    shown = [row | {"age": age(row["made_s"]), "over": 0 < row["until_s"] <= time.time()} for row in rows]  # type: ignore[arg-type, operator]
    terminal.rows(shown, ("name", "roles", "age", "over"), empty="no token yet: skerry api token add NAME --role read")


@declare(token, "rm", example="skerry api token rm ci", codes=CODES, cloud=False)
@click.argument("name")
@TOKEN_FILE
@CLOUD
def rm(terminal: Terminal, name: str, token_file: Path | None, cloud: str) -> None:
    """Take a token away, at once also from a server that runs."""
    chosen = run.home().choose(cloud, os.environ)
    _tokens(chosen, token_file).rm(name)
    terminal.answer({"name": name}, f"{name} gets no answer any more")
