"""Where a command finds a provider's token: a file, the environment, or the terminal. Never on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def token_file(function: Any) -> Any:
    return click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        metavar="FILE",
        help="Holds the provider's token; else $<PROVIDER>_TOKEN (such as $DIGITALOCEAN_TOKEN), else you are asked.",
    )(function)


def firewall_token(function: Any) -> Any:
    return click.option(
        "--firewall-token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        metavar="FILE",
        help="Holds a token that may change firewalls, used for this alone; else the pool's own has to.",
    )(function)


def token_of(provider: str, file: Path | None) -> str:
    """Raises NoPassphrase where one is needed and nobody can be asked."""
    from skerry.client.keys import NoPassphrase
    from skerry.machines.providers import needs_token

    if file is not None:
        return file.read_text().strip()
    variable = f"{provider.upper().replace('-', '_')}_TOKEN"
    if token := os.environ.get(variable, "").strip():
        return token
    if not needs_token(provider):
        return ""
    if not sys.stdin.isatty():
        raise NoPassphrase(
            f"no token for {provider}", "there is no terminal to ask at", f"set ${variable}, or give --token-file"
        )
    return str(click.prompt(f"token of {provider}", hide_input=True, err=True)).strip()


def asked_for(file: Path | None) -> Callable[[str], str]:
    """Only once it turns out that one is needed, and for which provider."""
    return lambda provider: token_of(provider, file)
