"""How single values are written: durations, sizes, ports, names, command lines.

Each reader raises ValueError with what is wrong in plain words; who calls it knows the line.
Source: compose specification, "Specifying durations", "byte values".
"""

from __future__ import annotations

import re
import shlex

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(b|k|kb|kib|m|mb|mib|g|gb|gib|t|tb|tib)?", re.IGNORECASE)
_SHIFT = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
DURATION_MAX_S = 30 * 86400.0
SIZE_MAX_BYTES = 1 << 50
PORTS_IN_RANGE_MAX = 100

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # of apps and services: part of host names
WORD = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")  # of volumes, and further names inside an app
HOSTNAME = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,4}"
)

# Linux, Documentation: capabilities(7) and signal(7). Tables, because laptops run other systems.
CAPABILITIES = {
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT",
    "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "WAKE_ALARM",
}  # fmt: skip
SIGNALS = {
    1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1",
    11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD", 18: "CONT", 19:
    "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ", 26: "VTALRM", 27: "PROF", 28:
    "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}  # fmt: skip


def duration_s(text: str) -> float:
    """ "1m30s" -> 90.0."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError(f"{text[:40]!r} is not a duration: write it as 30s, 1m30s or 500ms")
    total = sum(float(part[1]) * _UNITS_S[part[2]] for part in parts)
    if total > DURATION_MAX_S:
        raise ValueError(f"{text[:40]!r} is longer than 30 days")
    return round(total, 6)


def size_bytes(text: str) -> int:
    """ "512m" -> 536870912: units are powers of 1024, as compose has them."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text[:40]!r} is not a size: write it as 512m or 1g")
    size = (
        int(float(match[1]) * (1 << _SHIFT[(match[2] or "b")[0].lower()]))
        if len(match[1]) <= 30
        else SIZE_MAX_BYTES + 1
    )
    if size > SIZE_MAX_BYTES:
        raise ValueError(f"{text[:40]!r} is larger than 1 PiB")
    return size


def cpus(text: str) -> float:
    """Cores, such as "0.5"."""
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?|\.[0-9]{1,6}", text):
        raise ValueError(f"{text[:40]!r} is not a number of cores: write it as 0.5 or 2")
    return float(text)


def port_range(text: str) -> list[int]:
    """ "8000" or "8000-8003" -> the ports."""
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if not match:
        raise ValueError(f"{text[:40]!r} is not a port")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"{text[:40]!r} is not within 1 to 65535")
    if last - first >= PORTS_IN_RANGE_MAX:
        raise ValueError(f"{text[:40]!r} is more than {PORTS_IN_RANGE_MAX} ports")
    return list(range(first, last + 1))


def published_ports(text: str) -> list[tuple[int, int, str]]:
    """The short form "published:target[/protocol]" -> [(published, target, protocol)]."""
    ports, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"protocol {protocol[:20]!r} is not tcp or udp")
    parts = ports.rsplit(":", 2)
    if len(parts) == 1:
        raise ValueError(
            f"{text[:40]!r} has no published port: a free one would be another on each host; "
            f"write {ports[:5]}:{ports[:5]}, or `expose` if only the app itself needs it"
        )
    if len(parts) == 3:
        raise ValueError(
            "an address to listen on is not supported: a published port is open on every host; "
            f"write {parts[1][:5]}:{parts[2][:5]}, or `expose` if only the app itself needs it"
        )
    published, target = port_range(parts[0]), port_range(parts[1])
    if len(published) != len(target):
        raise ValueError(f"the two ranges of {text[:40]!r} differ in length")
    return [(outer, inner, protocol) for outer, inner in zip(published, target, strict=True)]


def words(text: str) -> list[str]:
    """A command line in one string, split as a shell splits words. No shell runs it."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"the command line can't be split: {str(error).lower()}") from error


def signal_name(text: str) -> str:
    """ "TERM", "SIGTERM" or "15" -> "SIGTERM"."""
    name = SIGNALS.get(int(text), "") if re.fullmatch(r"[0-9]{1,2}", text) else text.upper().removeprefix("SIG")
    if name not in SIGNALS.values():
        raise ValueError(f"{text[:40]!r} is not a signal: write it as SIGTERM")
    return f"SIG{name}"


def capability(text: str) -> str:
    """ "net_raw" or "CAP_NET_RAW" -> "CAP_NET_RAW"."""
    name = text.upper().removeprefix("CAP_")
    if name == "ALL":
        raise ValueError("ALL capabilities would undo the isolation: name the ones that are needed")
    if name not in CAPABILITIES:
        raise ValueError(f"{text[:40]!r} is not a capability of Linux")
    return f"CAP_{name}"


def absolute(text: str) -> str:
    """A path inside the container, cleaned of doubled and closing slashes."""
    if not text.startswith("/") or "\0" in text or len(text) > 1000:
        raise ValueError(f"{text[:40]!r} is not an absolute path inside the container")
    steps = [step for step in text.split("/") if step and step != "."]
    if ".." in steps:
        raise ValueError(f"{text[:40]!r} goes up by `..`")
    return "/" + "/".join(steps)


def spread(text: str) -> str:
    """ "node.labels.rack" -> "label.rack"; "zone" (what `host add --zone` said) as it is."""
    if text == "zone":
        return text
    for prefix in ("node.labels.", "label."):
        label = text.removeprefix(prefix)
        if label != text and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", label):
            return f"label.{label}"
    raise ValueError(f"{text[:60]!r} is nothing that hosts differ in: write node.labels.NAME, or zone")


def other_service(text: str) -> str:
    """ "store", or "shop.store" of another app."""
    if not re.fullmatch(r"([a-z0-9][a-z0-9-]{0,62}\.)?[a-z0-9][a-z0-9-]{0,62}", text):
        raise ValueError(f"{text[:60]!r} is not SERVICE or APP.SERVICE")
    return text


def constraint(text: str) -> str:
    """ "node.labels.zone == a" or "label.zone==a" -> "label.zone==a"; "node.hostname!=vps-1" -> "node!=vps-1"."""
    match = re.fullmatch(r"\s*([A-Za-z0-9_.-]+)\s*(==|!=)\s*([A-Za-z0-9_.:/-]{1,100})\s*", text)
    if not match:
        raise ValueError(f"{text[:60]!r} is not a constraint: write node.labels.NAME==VALUE or node.hostname!=NAME")
    subject, operator, value = match.groups()
    if subject in ("node.hostname", "node.id", "node"):
        return f"node{operator}{value}"
    for prefix in ("node.labels.", "label."):
        if subject.startswith(prefix) and len(subject) > len(prefix):
            return f"label.{subject.removeprefix(prefix)}{operator}{value}"
    raise ValueError(
        f"{subject[:40]} is not known of a host: constraints may ask for node.labels.NAME and node.hostname"
    )
