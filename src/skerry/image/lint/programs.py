"""What a program is, whatever it is called: by what it calls, the libraries it wants, and texts that only it has.

Pure but for the bytes that it is given, which come from others: every offset is checked, nothing is believed. A program
that was made to be missed is missed; that a renamed one is found is what can be had. Source: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap

import msgspec

from skerry.image.lint import secrets

Data = bytes | mmap
WINDOW_BYTES = 4 << 20  # one search holds the interpreter's lock: no longer than a few milliseconds
OVERLAP_BYTES = 4 << 10

# One of each: an init process such as tini hands a terminal over and starts programs as well, but makes no pipes.
JOB_CONTROL = (
    (b"tcsetpgrp",),
    (b"pipe", b"pipe2"),
    (b"execve", b"execv", b"execvp", b"execvpe", b"posix_spawn", b"posix_spawnp", b"fexecve", b"execl", b"execlp"),
)
WATCHES = (b"ptrace", b"process_vm_readv", b"process_vm_writev")
CAPTURES = (b"pcap_open_live", b"pcap_create", b"pcap_activate")
LIBRARIES = {
    b"libapt-p": "package-manager",  # libapt-pkg, libapt-private
    b"librpm.": "package-manager",
    b"libapk.": "package-manager",
    b"libalpm.": "package-manager",
    b"libpcap.": "network-tool",
    b"libpython": "interpreter",
    b"libperl.": "interpreter",
    b"libruby": "interpreter",
    b"liblldb": "debugger",
}
# Texts that a program has under whatever name, mostly the environment variables that it alone reads. Each costs a pass over
# all programs of an image, so this is no place for what a library tells as well.
TEXTS = {
    b"BusyBox v": ("shell", "BusyBox"),
    b"GNU bash, version": ("shell", "bash"),
    b"toybox %s": ("shell", "toybox"),
    b"Stand-alone shell": ("shell", "sash"),
    b"OpenSSH_2*,OpenSSH_3*": ("remote-login", "OpenSSH"),  # whom it is lenient with; its own version others name, too
    b"SSH-2.0-dropbear": ("remote-login", "dropbear"),
    b"DPKG_ADMINDIR": ("package-manager", "dpkg"),
    b"COLLECT_GCC": ("compiler", "gcc"),
    b"Tiny C Compiler": ("compiler", "tcc"),
    b"MAKELEVEL": ("compiler", "make"),
    b"CURL_HOME": ("network-tool", "curl"),
    b"WGETRC": ("network-tool", "wget"),
    b"SOCAT_": ("network-tool", "socat"),
    b"usage: nc [": ("network-tool", "netcat"),
    b"nc [-options] hostname": ("network-tool", "netcat"),
    b"VIMRUNTIME": ("editor", "vim"),
    b"PERL5LIB": ("interpreter", "perl"),
    b"PYTHONHOME": ("interpreter", "Python"),
    b"LUA_INIT": ("interpreter", "Lua"),
    b"NODE_REPL_HISTORY": ("interpreter", "Node"),
    b"PHPRC": ("interpreter", "PHP"),
}
# Commands that a shell has within itself; no other program has all of these.
BUILTINS = (b"getopts\0", b"unset\0", b"umask\0", b"export\0")


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What one file's content says about it, whatever its path. `form`: "elf" (a program, not a library), "script" or "".

    `traits`: (kind, words) of what it seems to be. `secret`: the rule that a secret in it broke.
    """

    form: str = ""
    traits: tuple[tuple[str, str], ...] = ()
    secret: str = ""


NOTHING = Facts()


class _Elf(msgspec.Struct):
    is_program: bool
    names: bytes  # its dynamic strings; none of a library that can be run: they name what it has, not what it calls
    needed: list[bytes]
    parts: list[tuple[int, int]]  # (start, end) of what holds its texts


def facts_of(data: Data) -> Facts:
    """Look at a file. Never raises, whatever the bytes are."""
    if data[:4] == b"\x7fELF":
        elf = _read(data)
        if elf is None or not elf.is_program:
            return NOTHING
        return Facts("elf", tuple(_traits(data, elf)), secrets.in_program(data))
    secret = secrets.in_file(data)
    form = "script" if data[:2] == b"#!" else ""
    return Facts(form, (), secret) if form or secret else NOTHING


def _traits(data: Data, elf: _Elf) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for text, (kind, name) in TEXTS.items():
        if kind not in found and _holds(data, elf.parts, text):
            found[kind] = f"contains {name}"
    for start, kind in LIBRARIES.items():
        if any(name.startswith(start) for name in elf.needed):
            found.setdefault(kind, f"is linked with {start.decode().rstrip('.')}")
    if not found and all(_holds(data, elf.parts, text) for text in BUILTINS):
        found["shell"] = "has the commands of a shell"
    if _calls(elf, CAPTURES):
        found.setdefault("network-tool", "listens to the network's packets")
    if _calls(elf, WATCHES):
        found.setdefault("debugger", "looks into other processes")
    if not found and all(_calls(elf, some) for some in JOB_CONTROL):
        found["shell"] = "controls jobs, joins programs by pipes and starts them, as a shell does"
    yield from found.items()


def _calls(elf: _Elf, names: tuple[bytes, ...]) -> bool:
    return any(b"\0" + name + b"\0" in elf.names for name in names)


def _holds(data: Data, parts: list[tuple[int, int]], text: bytes) -> bool:
    for start, end in parts:
        for at in range(start, end, WINDOW_BYTES):
            if data.find(text, at, min(end, at + WINDOW_BYTES + OVERLAP_BYTES)) >= 0:
                return True
    return False


_DYNAMIC_MOST = 4096  # entries; a big program has some 60
_NAMES_MOST_BYTES = 16 << 20
_NAME_MOST_BYTES = 256
_TABLE_MOST_BYTES = 65536  # the kernel loads nothing with more of program headers
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _STRSZ, _SONAME, _FLAGS_1, _PIE = 1, 5, 10, 14, 0x6FFFFFFB, 0x08000000


def _read(data: Data) -> _Elf | None:
    """None for what no kernel would run or load."""
    wide, order = data[4:5] == b"\2", "<" if data[5:6] != b"\2" else ">"
    try:
        kind, _machine, _version, entry, table = struct.unpack_from(f"{order}HHI{'QQ' if wide else 'II'}", data, 16)
        size, count = struct.unpack_from(f"{order}HH", data, 54 if wide else 42)
    except struct.error:
        return None
    shape = f"{order}IIQQQQQQ" if wide else f"{order}IIIIIIII"
    if kind not in (2, 3) or size != struct.calcsize(shape) or size * count > _TABLE_MOST_BYTES:
        return None
    if table + size * count > len(data):
        return None
    loads: list[tuple[int, int, int, int]] = []  # address, offset, bytes, flags
    dynamic, has_loader = (0, 0), False
    for n in range(count):
        fields = struct.unpack_from(shape, data, table + n * size)
        if wide:
            type, flags, offset, address, _, length = fields[:6]
        else:
            type, offset, address, _, length, _, flags = fields[:7]
        if type == _LOAD:
            loads.append((address, offset, length, flags))
        elif type == _DYNAMIC:
            dynamic = (offset, length)
        has_loader |= type == _INTERP
    tags = _tags(data, dynamic, order, wide)
    names = _names(data, loads, tags)
    has_name = any(tag == _SONAME for tag, _ in tags)
    needed = [names[at : at + _NAME_MOST_BYTES].partition(b"\0")[0] for tag, at in tags if tag == _NEEDED]
    marked = any(tag == _FLAGS_1 and value & _PIE for tag, value in tags)
    alone = bool(entry) and not has_name and not needed
    # Where texts have a segment of their own, code (flag 1) holds none.
    apart = any(flags & 7 == 4 for *_, flags in loads)
    parts = [
        (offset, min(offset + length, len(data))) for _, offset, length, flags in loads if not (apart and flags & 1)
    ]
    is_program = kind == 2 or has_loader or marked or alone
    return _Elf(is_program, b"" if has_name else names, needed, _merged(parts))


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each byte once: a thousand segments may all name the same place."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted(part for part in parts if part[0] < part[1]):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _tags(data: Data, place: tuple[int, int], order: str, wide: bool) -> list[tuple[int, int]]:
    start, length = place
    block = data[start : start + min(length, _DYNAMIC_MOST * 16)]
    step = 16 if wide else 8
    tags = []
    for tag, value in struct.iter_unpack(f"{order}{'QQ' if wide else 'II'}", block[: len(block) // step * step]):
        if tag == 0:
            break
        tags.append((tag, value))
    return tags


def _names(data: Data, loads: list[tuple[int, int, int, int]], tags: list[tuple[int, int]]) -> bytes:
    found = dict(tags)
    address, size = found.get(_STRTAB, 0), min(found.get(_STRSZ, 0), _NAMES_MOST_BYTES)
    for start, offset, length, _ in loads:
        if start <= address < start + length:
            at = offset + address - start
            return data[at : at + size]
    return b""
