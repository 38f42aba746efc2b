"""Where a command finds a provider's token: a file, the environment, or the terminal. Never on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from skerry.core.intent import Pool


def token_file(function: Any) -> Any:
    return click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        metavar="FILE",
        help="Holds the provider's token (of several: lines NAME=TOKEN); else $<PROVIDER>_TOKEN (such as $DIGITALOCEAN_TOKEN), "
        "else you are asked.",
    )(function)


def firewall_token(function: Any) -> Any:
    return click.option(
        "--firewall-token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        default=None,
        metavar="FILE",
        help="Holds a token that may change firewalls, used for this alone; else the pool's own has to.",
    )(function)


def token_of(provider: str, file: Path | None, name: str = "") -> str:
    """`name`: of an offer, where several are asked. Raises NoPassphrase where one is needed and nobody can be asked."""
    from skerry.client.keys import NoPassphrase
    from skerry.machines.providers import needs_token

    if file is not None:
        return file.read_text().strip()
    name = name or provider
    variable = f"{name.upper().replace('-', '_')}_TOKEN"
    if token := os.environ.get(variable, "").strip():
        return token
    if not needs_token(provider):
        return ""
    if not sys.stdin.isatty():
        raise NoPassphrase(
            f"no token for {name}", "there is no terminal to ask at", f"set ${variable}, or give --token-file"
        )
    return str(click.prompt(f"token of {name}", hide_input=True, err=True)).strip()


def tokens_of(wanted: Pool, file: Path | None) -> str:
    """Of all its providers, as they are sealed. Raises NoPassphrase, BadInput."""
    from skerry.client.offers import tokens_said
    from skerry.trust.seal import token_text

    if not wanted.others:
        return token_of(wanted.provider, file)
    if file is not None:
        return tokens_said(wanted, "", file.read_text().strip())
    return token_text({name: token_of(offer.provider, None, name) for name, offer in wanted.offers().items()})


def asked_for(file: Path | None) -> Callable[[str], str]:
    """Only once it turns out that one is needed, and for which provider."""
    return lambda provider: token_of(provider, file)
