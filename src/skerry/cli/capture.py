"""`skerry capture`: a container's packets, from outside."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from skerry.cli import run
from skerry.cli.options import Duration, Size
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, clean
from skerry.cli.streams import clock


@declare(
    name="capture",
    example="skerry capture web/1 --filter 'tcp port 80'\nskerry capture web/1 -w out.pcap --seconds 30",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("slot")
@click.option(
    "-w",
    "--write",
    "into",
    type=click.Path(path_type=Path, allow_dash=True),
    default=None,
    help="Into this file; -: to stdout.",
)
@click.option(
    "--filter",
    "words",
    default="",
    metavar="EXPR",
    help="As tcpdump has it, such as 'port 80'; made by the tcpdump of this machine.",
)
@click.option("--seconds", type=Duration(), default="60s", show_default=True, help="How long, at most an hour.")
@click.option("--packets", type=click.IntRange(0, 10_000_000), default=0, help="How many; 0: as many as come.")
@click.option("--limit", type=Size(), default="256m", show_default=True, help="How many bytes of them.")
@click.option(
    "--snap",
    "snap_bytes",
    type=click.IntRange(64, 1 << 18),
    default=1 << 18,
    show_default=True,
    help="How many bytes of each.",
)
def command(
    terminal: Terminal,
    slot: str,
    into: Path | None,
    words: str,
    seconds: float,
    packets: int,
    limit: int,
    snap_bytes: int,
    cloud: str,
    passphrase_file: str | None,
) -> None:
    """Show the packets of SLOT, or write them to a file.

    Unseen: they are read at the host's end of its wire; all operators see the event. Ends at a limit, or when you interrupt it.
    With --json a line is a packet.
    """
    from skerry.client import capturing, looking
    from skerry.client.session import Session

    captured = capturing.Capture()

    async def work(session: Session) -> None:
        steps = await capturing.compiled(words)
        place = await looking.find(session, slot)
        args = {"seconds": seconds, "packets": packets, "limit": limit, "snap_bytes": snap_bytes, "filter": steps}
        async with aclosing(captured.data(session, place, args)) as pieces:
            if into is not None:
                await _write(pieces, into)
            elif terminal.as_json or not capturing.tcpdump():
                await _show(terminal, pieces)
            else:
                await capturing.through_tcpdump(pieces, lambda line: terminal.line(None, clean(line)))

    try:
        run.in_cloud(terminal, cloud, passphrase_file, work)
    except KeyboardInterrupt:  # as it is meant to end
        captured.figures["why"] = "you ended it"
    figures = captured.figures
    terminal.say(f"{figures.get('packets', 0)} packets, {figures.get('lost', 0)} lost; ended: {figures.get('why', '')}")
    if terminal.as_json and into is not None and str(into) != "-":
        terminal.answer({**figures, "to": str(into)}, "")


async def _write(pieces: AsyncGenerator[bytes], into: Path) -> None:
    with sys.stdout.buffer if str(into) == "-" else into.open("wb") as file:
        async for piece in pieces:
            file.write(piece)
            file.flush()


async def _show(terminal: Terminal, pieces: AsyncGenerator[bytes]) -> None:
    from skerry.client.packets import Reader

    reader = Reader()
    async for piece in pieces:
        for packet in reader.feed(piece):
            terminal.line(packet, _line(packet))


def _line(packet: dict[str, Any]) -> str:
    way = f"{packet['from']} > {packet['to']} " if "from" in packet else ""
    more = " ".join(f"[{packet[key]}]" for key in ("flags", "type") if packet.get(key))
    return clean(
        f"{clock(packet['time'])} {packet['protocol']} {way}{more} {packet['size_bytes']} bytes".replace("  ", " ")
    )
