"""What is seen from outside: of a container, of hosts' diaries, tools images. Plain values, as in values.py."""

from __future__ import annotations

from skerry.sdk.values import Value

ROWS = 10_000
FILE_BYTES = 64 << 20


class Entry(Value, frozen=True):
    """A name in a container's folder. `kind`: file, folder, link, …; `mode`: octal digits; `modified`: unix seconds."""

    name: str
    kind: str = ""
    mode: str = ""
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    disk_bytes: int = 0
    modified: float = 0.0
    target: str = ""
    device: str = ""


class Changed(Entry, frozen=True):
    """What a container has changed since it started. `change`: added, changed, removed; `place`: below which writable folder."""

    change: str = ""
    place: str = ""


class Process(Value, frozen=True):
    """Of a container. `pid`, `parent`: as it counts them, `host_pid`: as the host does. `waits_in`: the kernel's function. `started`:
    unix seconds.
    """

    pid: int
    host_pid: int
    name: str
    command: tuple[str, ...] = ()
    state: str = ""
    uid: int = -1
    user: str = ""
    threads: int = 0
    waits_in: str = ""
    parent: int = 0
    cpu_cores: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    started: float = 0.0


class Socket(Value, frozen=True):
    """Of a container. `waiting_in`, `waiting_out`: bytes that nobody has read, or that the other end hasn't confirmed."""

    kind: str
    local: str = ""
    remote: str = ""
    state: str = ""
    waiting_in: int = 0
    waiting_out: int = 0
    uid: int = 0
    pid: int = 0
    process: str = ""


class Crash(Value, frozen=True):
    """The last one of a slot, kept on `node` for a day. `time`: unix seconds; `log`: the end of its own; `again`: how often it has
    crashed since; `files`: of its last file system, `unkept`: why none are here; `cores`: names of those that are kept.
    """

    slot: str
    node: str
    time: float
    exit_code: int
    oom: bool = False
    log: str = ""
    image: str = ""
    again: int = 0
    files: int = 0
    size_bytes: int = 0
    unkept: str = ""
    cores: tuple[str, ...] = ()


class Break(Value, frozen=True):
    """Where a diary is not what it was: its line, its number (0: unknown), and why."""

    line: int = 0
    n: int = 0
    why: str = ""


class Audited(Value, frozen=True):
    """A host's diary, held against what others remember of it. `ok` None: it did not show it. `entries`: those that
    are kept, numbers `first` to `last`.
    """

    host: str
    ok: bool | None
    why: str = ""
    entries: int = 0
    first: int = 0
    last: int = 0
    head: str = ""
    breaks: tuple[Break, ...] = ()
    checked_with: tuple[str, ...] = ()


class ToolsImage(Value, frozen=True):
    """Tools that hosts may run beside containers. `image` "": Skerry brings them along, and nobody has used them yet. `hosts`: where
    it lies.
    """

    name: str
    image: str = ""
    size_bytes: int | None = None
    about: str = ""
    hosts: tuple[str, ...] = ()


class Tested(Value, frozen=True):
    """What a receiver answered to a test that `host` sent."""

    receiver: str
    kind: str
    ok: bool
    detail: str = ""
    host: str = ""


class Silenced(Value, frozen=True):
    """Nothing is sent of this rule ("": of any) about this subject ("": about any) until then, unix seconds."""

    rule: str = ""
    subject: str = ""
    until: float = 0.0
