"""The frontier of cost against lateness as a picture. Needs matplotlib, which nothing else does: `skerry[plot]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skerry.errors import BadInput
from skerry.sim.elastic.fleet import Outcome

NAMES = {"skerry": "Skerry", "plain": "plain rule", "kubernetes": "Kubernetes", "oracle": "knows 3 minutes"}
LEAST_LATE = 1e-6  # the axis is logarithmic: nothing late is drawn here


class NoPlotting(BadInput):
    """A picture was asked for, and matplotlib is not installed."""

    code = "no-plotting"


def check() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise NoPlotting(
            "--plot needs matplotlib", str(error), "install it with pip install 'skerry[plot]', or leave --plot out"
        ) from error


def draw(file: Path, title: str, lines: dict[str, list[tuple[float, Outcome]]], points: dict[str, Any]) -> None:
    """`lines`: of each policy (target, outcome); `points`: outcomes of the defaults, as compare() tells them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = {name: f"C{at}" for at, name in enumerate(NAMES)}
    for name, found in lines.items():
        late = [max(outcome.late_share, LEAST_LATE) for _, outcome in found]
        axes.plot(late, [outcome.paid_ratio for _, outcome in found], "-", color=colours[name], lw=1, marker=".")
        for (target, outcome), at in zip(found, late, strict=True):
            axes.annotate(
                f"{target:.0%}", (at, outcome.paid_ratio), fontsize=6, xytext=(3, 3), textcoords="offset points"
            )
    for name, words in NAMES.items():
        paid, share = points[name]["paid_ratio"], points[name]["late_share"]
        told = f"{words}: {paid:.2f} paid, {share:.3%} late"
        axes.plot(max(share, LEAST_LATE), paid, "o", ms=9, color=colours[name], label=told)
    axes.axvline(0.001, color="grey", lw=0.5, ls=":")
    axes.set_xscale("log")
    axes.set_xlabel("requests over capacity ÷ all (the dotted line is 0.1 %)")
    axes.set_ylabel("machine-minutes paid ÷ just enough")
    axes.set_title(title)
    axes.legend()
    axes.grid(alpha=0.2)
    figure.savefig(file, format="png", dpi=120)
