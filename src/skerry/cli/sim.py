"""`skerry sim`: what would have happened, on this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, table

POLICIES = ("skerry", "plain", "kubernetes", "fixed_peak", "oracle")
COLUMNS = ("policy", "paid_ratio", "late_share", "changes_per_day")


@click.group(name="sim")
def command() -> None:
    """Try the cloud's own rules on what you have, without a cloud."""


@declare(
    command, name="elastic", example="skerry sim elastic trace.csv --plot frontier.png", codes=(0, 1, 2), cloud=False
)
@click.argument("trace", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--capacity",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Requests a minute that a machine serves; else a tenth of the highest minute.",
)
@click.option(
    "--start",
    "start_s",
    type=Duration(),
    default="2m",
    show_default=True,
    help="From asking for a machine to its serving.",
)
@click.option(
    "--target",
    type=click.FloatRange(0.1, 2.0),
    default=1.0,
    show_default=True,
    help="Share of that which a machine shall have to do, by Skerry's rule.",
)
@click.option(
    "--down",
    "down_s",
    type=Duration(),
    default="20m",
    show_default=True,
    help="Not needed for so long, it is given back.",
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw cost against lateness into this PNG."
)
def elastic(
    terminal: Terminal,
    trace: Path,
    capacity: float | None,
    start_s: float,
    target: float,
    down_s: float,
    plot: Path | None,
) -> None:
    """Run the rule by which the cloud grows and shrinks on a load TRACE.

    TRACE is a CSV file with the columns minute,requests and a line for each minute. Beside it: the plain rule, Kubernetes by its
    defaults, always enough for the highest minute, and a rule that knows the next 3 minutes. paid_ratio: machine-minutes
    paid ÷ just enough; late_share: requests over capacity ÷ all.
    """
    from skerry.sim.elastic import compare
    from skerry.sim.elastic import plot as plotting
    from skerry.sim.elastic import trace as traces

    start, down = _minutes(start_s, "--start", 0, 25), _minutes(down_s, "--down", 1, 60)
    if plot is not None:
        plotting.check()
    requests = traces.read(trace)
    terms = compare.terms_of(requests, capacity=capacity or 0.0, start=start)
    found = compare.compare(requests, terms, target=target, down_s=down * 60.0)
    if plot is not None:
        terminal.say("drawing: every policy at several targets")
        plotting.draw(
            plot, f"{trace.name}: {len(requests)} minutes", compare.frontier(requests, terms, down_s=down * 60.0), found
        )
    rows: list[dict[str, Any]] = [{"policy": name, **found[name]} for name in POLICIES]
    for row in rows:
        row["late_share"] = f"{row['late_share']:.4%}"
    terminal.answer(found, table(rows, COLUMNS))


@declare(command, name="run", example="skerry sim run --seeds 1000 --from 200", codes=(0, 1, 2), cloud=False)
@click.option("--seeds", type=click.IntRange(1), default=200, show_default=True, help="How many clouds are lived.")
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--nodes", type=click.IntRange(0, 100), default=0, help="Hosts of each; else each seed draws its own.")
@click.option("--jobs", type=click.IntRange(0, 256), default=0, help="Processes; else one for each processor.")
@click.option(
    "--plan", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Live what this file says instead."
)
@click.option("--story", is_flag=True, help="Tell also what hosts did (of one seed or plan).")
def run(terminal: Terminal, seeds: int, first: int, nodes: int, jobs: int, plan: Path | None, story: bool) -> None:
    """Live random simulated clouds, and look whether what must hold held.

    Each seed draws hosts, network, services, faults, operators and captured hosts, and runs the agent's own rules on virtual time.
    Of the first broken one a story is told, shrunk to what it takes; its plan can be run again. Exit code 1 if any is broken.
    """
    from skerry.sim.lives import told

    if plan is not None or (story and seeds == 1):
        answer, text = told.of_one(plan, first, nodes, story=story)
    else:
        answer, text = told.of_many(first, seeds, nodes=nodes, jobs=jobs, tell=lambda line: terminal.say(line))
    terminal.answer(answer, text)
    if answer["broken"]:
        raise SystemExit(1)


@declare(command, name="report", example="skerry sim report --nodes 3,10,30 --json", codes=(0, 2), cloud=False)
@click.option("--nodes", default="3,10,30", show_default=True, help="Sizes, 1 to 1000 hosts.")
def report(terminal: Terminal, nodes: str) -> None:
    """Measure simulated clouds of several sizes: how fast they converge and heal, what moves, what is sent.

    Times are virtual seconds, memory is what the simulator takes for a host. A hundred hosts take minutes.
    """
    from skerry.sim.lives import report as reporting

    sizes = [int(word) if word.strip().isdigit() else 0 for word in nodes.split(",")]
    if not all(1 <= size <= 1000 for size in sizes):
        raise click.UsageError(f"--nodes is numbers from 1 to 1000 with commas between, not {nodes!r}")
    rows = []
    for size in sizes:
        terminal.say(f"{size} hosts")
        rows += reporting.report([size])
    found = [{field: getattr(row, field) for field in row.__struct_fields__} for row in rows]
    terminal.answer(found, table(found, reporting.Size.__struct_fields__))


def _minutes(seconds: float, option: str, least: int, most: int) -> int:
    """The rule goes by minutes here, as it does for machines."""
    minutes = round(seconds / 60)
    if abs(minutes * 60 - seconds) > 1e-6 or not least <= minutes <= most:
        raise click.UsageError(f"{option} is a whole number of minutes, from {least} to {most}")
    return minutes
