"""`skerry machine sizes`: what providers have to rent, side by side. Parse, one call, show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import Size, passphrase_file
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.cli.provider_token import token_file, tokens_of

PRICES = ("name", "provider", "region", "cpus", "memory_bytes", "usd_month", "usd_hour", "fit")


@declare(
    name="sizes",
    example="skerry machine sizes --provider digitalocean --cpus 2 --memory 4g --price 30\nskerry machine sizes --pool burst",
    cloud=False,
)
@click.option("--provider", "providers", multiple=True, metavar="NAME[=URL]", help="Whose; repeatable.")
@click.option("--pool", "pool_name", default="", metavar="NAME", help="What this pool's providers offer it now.")
@click.option("--cpus", type=click.FloatRange(0), default=0.0, metavar="N", help="At least so many.")
@click.option("--memory", type=Size(), default=0, metavar="SIZE", help="At least so much (2g).")
@click.option("--price", type=click.FloatRange(0), default=0.0, metavar="USD", help="At most so much a month.")
@click.option("--regions", default=None, metavar="A,B", help="In one of these.")
@click.option("--all", "all_", is_flag=True, help="What doesn't fit, too.")
@click.option(
    "--cloud", default="", metavar="NAME", help="With --pool: whose; else $SKERRY_CLOUD, else the selected one."
)
@passphrase_file
@token_file
def command(
    terminal: Terminal,
    providers: tuple[str, ...],
    pool_name: str,
    cpus: float,
    memory: int,
    price: float,
    regions: str | None,
    all_: bool,
    cloud: str,
    passphrase_file: str | None,
    token_file: Path | None,
) -> None:
    """List what providers have to rent and what it costs now, the cheapest that fits first.

    With --pool the providers, tokens and needs are those that operators signed.
    """
    import asyncio

    from skerry.client import offers, pools
    from skerry.core.intent import Pool

    if bool(providers) is bool(pool_name):
        raise click.UsageError("say either --pool, or --provider once or several times")
    if pool_name:

        async def work(session: Any) -> list[offers.Fit]:
            return await pools.prices(session, pool_name, warn=terminal.warn)

        rows = run.in_cloud(terminal, cloud, passphrase_file, work)
    else:
        own = offers.offers_said(providers, "", "", {})
        wanted = Pool(max=1, network="10.77.0.0/16", cpus=cpus, memory_bytes=memory, price_usd_month=price,
                      regions=tuple(filter(None, (regions or "").split(","))), **own)  # fmt: skip
        token = tokens_of(wanted, token_file)
        rows = offers.compare(wanted, asyncio.run(offers.price_lists(wanted, token, warn=terminal.warn)))
    shown = [row.row() for row in rows if row.fit or all_]
    terminal.rows(shown, PRICES, empty="nothing that fits: ask for less, or see --all")
