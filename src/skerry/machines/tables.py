"""Sizes as an operator writes them down, for providers that have no price list of their own. Pure."""

from __future__ import annotations

import re

from skerry.errors import BadInput
from skerry.machines.contract import Size

HOURS = 730.0  # of a month
_SIZE = re.compile(
    r"([A-Za-z0-9_.-]{1,40})=([0-9]{1,3}),([0-9]{1,6}[mgt]),([0-9]{1,6}[mgt])(?:,([0-9]{1,6}(?:\.[0-9]{1,4})?))?"
)
_UNITS = {"m": 20, "g": 30, "t": 40}


def read_sizes(text: str) -> list[Size]:
    """`name=cpus,memory,disk[,USD a month]`, with a semicolon between. Raises BadInput."""
    sizes: list[Size] = []
    for part in text.split(";"):
        match = _SIZE.fullmatch(part.strip())
        if match is None or any(size.name == match[1] for size in sizes):
            raise BadInput(
                f"{part!r} is no size",
                "or one of that name is there already",
                "sizes=small=1,1g,10g,4;large=2,4g,40g,8",
            )
        month = float(match[5] or 0)
        memory, disk = (int(match[n][:-1]) << _UNITS[match[n][-1]] for n in (3, 4))
        sizes.append(Size(match[1], float(match[2]), memory, disk, month / HOURS, month))
    return sizes
