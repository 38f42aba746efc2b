"""What might grow on a host, measured inside of it, and the bounds in which each must stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Runs inside a host, with the host's own Python: what there is for each container, and what the agent takes.
MEASURE = r"""
import json, os, pathlib, sqlite3, subprocess, sys
def out(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout
def size(place):
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(place) for name in names)
def entries(place):
    return len(os.listdir(place)) if os.path.isdir(place) else 0
pid = out("systemctl", "show", "skerry", "-p", "MainPID", "--value").strip()
rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().split("\n")
pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
names = {}
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit():
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        state = stat[stat.rindex(")") + 2]
        names[name] = names.get(name, 0) + 1
        if state == "Z":
            names["zombie"] = names.get("zombie", 0) + 1
mounts = pathlib.Path("/proc/1/mountinfo").read_text().split("\n")
state = pathlib.Path("/var/lib/skerry")
database = sqlite3.connect(f"file:{state}/records.sqlite?mode=ro", uri=True)
records = database.execute("SELECT count(*) FROM records").fetchone()[0]
kept = database.execute("SELECT count(*) FROM kept").fetchone()[0]
json.dump({
    "pid": int(pid), "pss_kb": pss, "fds": entries(f"/proc/{pid}/fd"), "threads": entries(f"/proc/{pid}/task"),
    "conmon": names.get("conmon", 0), "zombies": names.get("zombie", 0), "processes": sum(names.values()),
    "mounts": sum("skerry" in line for line in mounts),
    "links": len(json.loads(out("ip", "-j", "link", "show"))),
    "routes": len(json.loads(out("ip", "-j", "-4", "route", "show"))),
    "nft_lines": len(out("nft", "list", "ruleset").split("\n")),
    "cgroups": sum(1 for tree in pathlib.Path("/sys/fs/cgroup").iterdir() if (tree / "skerry").is_dir() and not tree.is_symlink()
                   for _ in os.walk(tree / "skerry")),
    "trees": sum(1 for tree in pathlib.Path("/sys/fs/cgroup").iterdir() if (tree / "skerry").is_dir() and not tree.is_symlink()),
    "records": records, "kept": kept, "images": entries(state / "images"), "log_folders": entries(state / "logs"),
    "container_folders": entries("/run/skerry/containers"),
    "images_bytes": size(state / "images"), "objects_bytes": size(state / "objects"), "logs_bytes": size(state / "logs"),
    "events_bytes": size(state / "events"), "database_bytes": size(state) - sum(size(e) for e in state.iterdir() if e.is_dir()),
}, sys.stdout)
"""

PER_CONTAINER = ("conmon", "mounts", "links", "container_folders")  # grow with containers and with nothing else
GROWTH = {
    "pss_kb": 16 << 10,
    "fds": 24,
    "threads": 8,
    "routes": 8,
    "records": 120,
    "kept": 40,
    "zombies": 4,
    "nft_lines": 60,
}
PSS_MAX_KB = 80 << 10
LOGS_MAX = 120  # the agent remembers 100 ended containers, and their logs
EVENTS_MAX_BYTES = 24 << 20  # 8 MiB of its own bound, and what it keeps beside
IMAGE_KEPT_S = 600.0  # core.timing.forget_image_s


def records_of(hosts: int, slots: int) -> int:
    """As many as there can be: each host's facts about each slot, its words as a witness, its votes; and the documents."""
    return hosts * (3 * slots + 6) + hosts * (hosts - 1) * (slots + 1) + hosts + 8


@dataclass
class Leaks:
    """`base`: by host, from the first quiet moment. `worst`: the highest figure of each kind that was ever seen."""

    base: dict[str, dict[str, Any]] = field(default_factory=dict)
    worst: dict[str, int] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def judge(self, host: str, now: dict[str, Any], containers: int, images_max: int, records_max: int) -> list[str]:
        """What has grown beyond its bound, in sentences. `containers`: that run there now."""
        now = {**now, "containers": containers}
        self.last[host] = now
        for kind, value in now.items():
            self.worst[kind] = max(self.worst.get(kind, 0), value)
        base = self.base.setdefault(host, now)
        wrong = []
        if now["conmon"] != containers:
            wrong.append(f"{host} has {now['conmon']} monitors for {containers} containers")
        if now["container_folders"] != containers:
            wrong.append(f"{host} has {now['container_folders']} folders for {containers} containers")
        if now["cgroups"] > now["trees"] * (
            containers + 2
        ):  # each tree: /skerry, /skerry/mon and one for each container
            wrong.append(f"{host} has {now['cgroups']} cgroups in {now['trees']} trees for {containers} containers")
        for kind in ("mounts", "links"):
            if now[kind] > base[kind] + self._each(kind) * max(0, containers - base["containers"]):
                wrong.append(
                    f"{host}: {kind} {now[kind]} for {containers} containers, at first {base[kind]} for {base['containers']}"
                )
        for kind, more in GROWTH.items():
            if now[kind] > base[kind] + more:
                wrong.append(f"{host}: {kind} grew from {base[kind]} to {now[kind]}")
        if now["records"] > records_max:
            wrong.append(f"{host} holds {now['records']} records; so many slots on so few hosts make {records_max}")
        if now["pss_kb"] > PSS_MAX_KB:
            wrong.append(f"{host}: the agent takes {now['pss_kb'] >> 10} MB")
        if now["images"] > images_max:
            wrong.append(f"{host} keeps {now['images']} images; {images_max} are in use or new")
        if now["log_folders"] > LOGS_MAX + containers:
            wrong.append(f"{host} keeps logs of {now['log_folders']} containers")
        if now["events_bytes"] > EVENTS_MAX_BYTES:
            wrong.append(f"{host}: events take {now['events_bytes'] >> 20} MiB")
        return wrong

    def _each(self, kind: str) -> int:
        return {"mounts": 3, "links": 1}[kind]
