"""The overview as pages get it: in tables by name, so that only what changes is sent."""

from __future__ import annotations

from typing import Any

from skerry.client.overview import Overview

Snapshot = dict[str, Any]
TABLES = ("hosts", "slots", "figures", "machines", "pools")
DIGITS = 3  # of figures: what nobody could see in a page is no change


def snapshot(overview: Overview) -> Snapshot:
    told = overview.as_dict()
    return {
        "cloud": told["cloud"],
        "trouble": told["lost"],
        "hosts": {row["name"]: row for row in told["hosts"]},
        "slots": {row["slot"]: row for row in told["slots"]},
        "machines": {row["slot"]: row for row in told["machines"]},
        "pools": {row["pool"]: row for row in told["pools"]},
        "figures": {
            subject: {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
            for subject, values in told["figures"].items()
        },
        "warnings": told["warnings"],
        "alerts": [row | {"silenced": row["silenced_until"] > overview.at} for row in told["alerts"]],
        "unknown": told["unknown"],
    }


def difference(before: Snapshot, after: Snapshot) -> Snapshot | None:
    """What `after` has that `before` has not: rows of tables that are new or others, None for those that are gone; None: nothing."""
    told: Snapshot = {}
    for key, value in after.items():
        if key not in TABLES:
            if before.get(key) != value:
                told[key] = value
            continue
        old = before.get(key, {})
        rows = {name: row for name, row in value.items() if old.get(name) != row}
        rows |= dict.fromkeys(old.keys() - value.keys())
        if rows:
            told[key] = rows
    return told or None
