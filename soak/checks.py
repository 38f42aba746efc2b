"""What must hold once the cloud has been left alone for a while. Each check gives sentences about what is wrong: none is good."""

from __future__ import annotations

from typing import Any

from skerry.errors import SkerryError
from soak.cloud import Cloud

# Runs inside a host: what the runtime really has, whatever the agent says.
CONTAINERS = r"""
import json, pathlib, sys
found = []
for record in sorted(pathlib.Path("/run/skerry/containers").glob("*/record.json")):
    found.append(json.loads(record.read_text())["labels"]["slot"])
json.dump(found, sys.stdout)
"""


def well(cloud: Cloud) -> str:
    """All hosts up; every wanted replica healthy, in the wanted version, claimed by one node. What isn't, "" if all is."""
    down = [h["name"] for h in cloud.skerry.json("host", "ls") if h["state"] != "up"]
    if down:
        return f"{', '.join(down)} not up"
    for row in cloud.ps():
        if not row["healthy"] or row["outdated"] or len(row["claims"]) != 1:
            return f"{row['slot']} on {row['node'] or 'nobody'} {row['state']}, claims {row['claims']}: {row['why']}"
        if row["verdict"]:
            return f"{row['slot']}: {row['verdict']}"
    return ""


def alike(cloud: Cloud) -> str:
    """Every host holds the same newest documents, and none older than what an operator was told is accepted."""
    heads = cloud.ask_all("heads")
    for host, answer in heads.items():
        if isinstance(answer, SkerryError):
            return f"{host} does not answer: {answer}"
    first = next(iter(heads))
    for host, held in heads.items():
        for path in sorted({*held, *heads[first]}):
            if held.get(path) != heads[first].get(path):
                return f"{path} is {held.get(path)} on {host} and {heads[first].get(path)} on {first}"
    for path, head in cloud.accepted().items():
        held = heads[first].get(path)
        if held is None or tuple(held[:2]) < (head.epoch, head.version):
            return f"{path} was accepted as version {head.epoch}.{head.version}, and the hosts hold {held}"
    return ""


def one_view(cloud: Cloud) -> str:
    """Every host says the same about every slot."""
    answers = cloud.ask_all("ps", {"subject": ""})
    views: dict[str, dict[str, Any]] = {}
    for host, rows in answers.items():
        if isinstance(rows, SkerryError):
            return f"{host} does not answer: {rows}"
        for row in rows:
            said = (row["node"], row["version"], row["healthy"], tuple(row["claims"]))
            views.setdefault(row["slot"], {})[host] = said
    for slot, said in sorted(views.items()):
        if len(set(said.values())) > 1 or len(said) != len(answers):
            return f"{slot} is seen differently: {said}"
    return ""


def once(cloud: Cloud) -> tuple[str, dict[str, int]]:
    """Each slot has exactly one container in the whole cloud, on the host that ps names. And how many each host has."""
    running: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for host in cloud.names():
        found = cloud.inside(host, CONTAINERS)
        counts[host] = len(found)
        for slot in found:
            running.setdefault(slot, []).append(host)
    wanted = {row["slot"]: row["node"] for row in cloud.ps()}
    for slot in sorted({*running, *wanted}):
        if running.get(slot) != [wanted.get(slot)]:
            return f"{slot} has containers on {running.get(slot)}; ps says {wanted.get(slot)}", counts
    return "", counts


def lost_entries(cloud: Cloud, written: set[str]) -> str:
    """Entries that a client was told are written, and that the store no longer has."""
    (store,) = [row for row in cloud.ps() if row["service"] == "store"]
    gone = written - set(cloud.entries(store))
    return f"{len(gone)} of {len(written)} entries are lost: {sorted(gone)[:5]}" if gone else ""
