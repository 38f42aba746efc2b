"""What an ELF file asks for: its loader, its libraries, where it looks for them, what it calls. Reads bytes, decides
nothing.
"""

from __future__ import annotations

import io
import re
from itertools import islice
from typing import Any

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

_SONAME = re.compile(rb"lib[A-Za-z0-9_+.-]{1,60}\.so(?:\.[0-9]+){1,3}(?=\0)")
_CALLS = re.compile(
    rb"\0(system|popen|execve|execv|execvp|tcsetpgrp|tcsetattr|ptrace|process_vm_readv|pcap_open_live)(?=\0)"
)

_LOCALE = re.compile(rb"(?:set|new)locale(?=\0)")  # without the NUL before: linkers share the ends of names


class Elf(msgspec.Struct, frozen=True):
    """`interpreter` is "" for a library or a static program. `rpath` is inherited by the libraries of libraries,
    `runpath` is not. `calls`: names of interest in its dynamic strings. `hints`: library names found as plain text,
    which it may open by itself. `locale`: it can ask for another locale than plain C."""

    machine: str
    bits: int
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    calls: tuple[str, ...]
    hints: tuple[str, ...]
    locale: bool = False


SEGMENTS_MAX = 256  # real ones have a dozen
TAGS_MAX = 8192
_DAMAGED = (
    ELFError,
    ValueError,
    AssertionError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
)  # what its reader raises


def is_elf(data: bytes) -> bool:
    return data[:4] == b"\x7fELF"


def read_elf(data: bytes) -> Elf | None:
    """Read an ELF program or library; None for anything else, also for one that is damaged."""
    if not is_elf(data):
        return None
    try:
        file = ELFFile(io.BytesIO(data))
        interpreter = ""
        tags: dict[str, list[str]] = {"DT_NEEDED": [], "DT_RPATH": [], "DT_RUNPATH": []}
        strings = b""
        segment: Any  # pyelftools has no types for its segments
        for segment in _segments(file):
            if segment["p_type"] == "PT_INTERP":
                interpreter = segment.get_interp_name()
            elif segment["p_type"] == "PT_DYNAMIC":
                start = size = 0
                for tag in islice(segment.iter_tags(), TAGS_MAX):
                    if tag.entry.d_tag in tags:
                        tags[tag.entry.d_tag].append(getattr(tag, tag.entry.d_tag[3:].lower()))
                    elif tag.entry.d_tag == "DT_STRTAB":
                        start = next(iter(file.address_offsets(tag.entry.d_val)), 0)
                    elif tag.entry.d_tag == "DT_STRSZ":
                        size = tag.entry.d_val
                strings = data[start : start + size]
        machine, bits = file["e_machine"], file.elfclass
    except _DAMAGED:
        return None
    needed = tuple(tags["DT_NEEDED"])
    hints = {name.decode() for name in _SONAME.findall(data)} - set(needed)
    return Elf(
        machine=machine,
        bits=bits,
        interpreter=interpreter,
        needed=needed,
        rpath=_paths(tags["DT_RPATH"]),
        runpath=_paths(tags["DT_RUNPATH"]),
        calls=tuple(sorted({name.decode() for name in _CALLS.findall(strings)})),
        hints=tuple(sorted(hints)),
        locale=bool(_LOCALE.search(strings)),
    )


def _segments(file: ELFFile) -> Any:
    """Raises ELFError for more than there can be: a header of 100 bytes may say 65,535, all at one place."""
    if file.num_segments() > SEGMENTS_MAX:
        raise ELFError(f"it has {file.num_segments()} segments")
    return file.iter_segments()


def _paths(values: list[str]) -> tuple[str, ...]:
    return tuple(path for value in values for path in value.split(":") if path)


def stripped(data: bytes) -> bytes:
    """The same ELF file without what a running system never reads: sections, symbols for debuggers. Others are given
    back as they are.

    Everything after the last loaded segment is cut off, and the section table's place in the header is cleared.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        return data
    try:
        file = ELFFile(io.BytesIO(data))
        end = max(segment["p_offset"] + segment["p_filesz"] for segment in _segments(file))
        end = max(end, file["e_phoff"] + file["e_phnum"] * file["e_phentsize"])
    except _DAMAGED:
        return data
    head = bytearray(data[:64])
    head[40:48] = bytes(8)  # e_shoff
    head[60:64] = bytes(4)  # e_shnum, e_shstrndx
    return bytes(head) + data[64:end] if end < len(data) else data
