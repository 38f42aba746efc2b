"""Many seeds, side by side: how many are broken, which is the first, and of that one the story.

`python -m skerry.sim.run` is this without the terminal's niceties; `skerry sim run` has them.
"""

from __future__ import annotations

import gc
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import msgspec

from skerry.sim.lives.life import run
from skerry.sim.lives.plan import draw

STORIES = 3  # so many broken seeds are shrunk; of the others the number is told


class Broken(msgspec.Struct, frozen=True):
    seed: int
    wrong: tuple[str, ...]
    again: str  # the command


class Figures(msgspec.Struct, frozen=True):
    """`seconds`: wall time; `cpu_seconds`: of all processes. `first_broken`: its seed."""

    seeds: int
    broken: int
    first_broken: int | None
    seconds: float
    cpu_seconds: float
    again: tuple[Broken, ...] = ()


def live(seed: int, nodes: int) -> tuple[int, tuple[str, ...], float]:
    """One seed: what is wrong with it, and its processor seconds."""
    logging.disable(logging.ERROR)  # hosts say what they refuse
    warnings.simplefilter("ignore", RuntimeWarning)  # questions that were under way when a life ended
    gc.set_threshold(50_000, 20, 50)  # a life makes many small values, of which few go round in circles
    begin_s = time.process_time()
    wrong, _ = run(draw(seed, nodes))
    return seed, tuple(wrong[:20]), time.process_time() - begin_s


def again(seed: int, nodes: int) -> str:
    return f"skerry sim run --seeds 1 --from {seed}" + (f" --nodes {nodes}" if nodes else "")


def run_many(
    first: int, seeds: int, *, nodes: int = 0, jobs: int = 0, tell: Callable[[Broken], object] = lambda broken: None
) -> Figures:
    """`nodes` 0: each seed draws its own. `jobs` 0: as many as there are processors. `tell` hears of each broken one at once."""
    begin_s, cpu_s, found = time.monotonic(), 0.0, []
    for seed, wrong, took_s in _each(range(first, first + seeds), nodes, jobs or len(os.sched_getaffinity(0))):
        cpu_s += took_s
        if wrong:
            found.append(Broken(seed, wrong, again(seed, nodes)))
            tell(found[-1])
    found.sort(key=lambda broken: broken.seed)
    return Figures(
        seeds=seeds, broken=len(found), first_broken=found[0].seed if found else None,
        seconds=round(time.monotonic() - begin_s, 2), cpu_seconds=round(cpu_s, 2), again=tuple(found[:20]),
    )  # fmt: skip


def _each(seeds: range, nodes: int, jobs: int) -> Iterator[tuple[int, tuple[str, ...], float]]:
    if jobs == 1 or len(seeds) == 1:
        for seed in seeds:
            yield live(seed, nodes)
        return
    with ProcessPoolExecutor(jobs) as processes:
        yield from processes.map(live, seeds, [nodes] * len(seeds), chunksize=2)
