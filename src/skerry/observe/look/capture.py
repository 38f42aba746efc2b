"""Packets of a container, read at the host's end of its wire: in its own network nothing is joined, opened or switched.

Out comes the classic pcap format with nanoseconds. A filter runs in the kernel, which checks it; a reader that is too slow loses
packets, which are counted. No promiscuous mode: all that goes over a wire between two ends reaches the end that we sit at.
Sources: packet(7); socket(7) (SO_ATTACH_FILTER, SO_TIMESTAMPNS); linux/if_packet.h (tpacket_auxdata); the pcap file format.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from skerry.observe.look.errors import NothingToSee
from skerry.observe.look.job import Job

HEAD = struct.Struct("<IHHiIII")  # magic, version, zone, accuracy, longest packet, kind of link
RECORD = struct.Struct("<IIII")  # seconds, nanoseconds, bytes that follow, bytes that there were
MAGIC_NS, ETHERNET = 0xA1B23C4D, 1
BUFFER_BYTES = 8 << 20  # in the kernel
BATCH_BYTES = 64 << 10
BATCH_S = 0.1
TOLD_EVERY_S = 1.0
_ETH_P_ALL, _SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 3, 26, 35, 33
_SOL_PACKET, _STATISTICS, _AUXDATA = 263, 6, 8
_TIMESPEC, _AUX = struct.Struct("@qq"), struct.Struct("@III")


def capture(
    job: Job, send: Callable[[bytes], None], send_rows: Callable[[list[dict[str, Any]]], None]
) -> dict[str, Any]:
    """Until one of the job's limits is met, or the wire is gone. A row each second: how many came, how many were lost."""
    taken, lost, sent, why = 0, 0, 0, ""
    batch = bytearray(HEAD.pack(MAGIC_NS, 2, 4, 0, 0, job.snap_bytes, ETHERNET))
    with _open(job) as wire:
        poll = select.poll()
        poll.register(wire, select.POLLIN)
        began_s = told_s = time.monotonic()
        while not why:
            came = poll.poll(BATCH_S * 1000)
            with contextlib.suppress(BlockingIOError):
                while came and len(batch) < BATCH_BYTES:
                    try:
                        record = _one(wire, job.snap_bytes)
                    except OSError as error:
                        if isinstance(error, BlockingIOError):
                            raise
                        why = "its network is gone"
                        break
                    batch += record
                    taken += 1
                    if taken == job.packets:
                        why = "as many as were asked for"
                        break
            now_s = time.monotonic()
            sent += len(batch)
            if batch:
                send(bytes(batch))
                batch.clear()
            if not why and now_s - began_s >= job.seconds:
                why = f"{job.seconds:g} s are over"
            if not why and sent >= job.limit:
                why = f"the limit of {job.limit} bytes"
            if why or now_s - told_s >= TOLD_EVERY_S:
                told_s = now_s
                lost += _lost(wire)
                send_rows([{"packets": taken, "lost": lost}])
    return {"packets": taken, "lost": lost, "size_bytes": sent, "why": why}


def _open(job: Job) -> socket.socket:
    """Takes nothing before the filter is in place: it is bound to no protocol until then."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        if job.filter:
            program = b"".join(struct.pack("@HBBI", *step) for step in job.filter)
            held = ctypes.create_string_buffer(program)
            wire.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(job.filter), ctypes.addressof(held))
            )
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with contextlib.suppress(PermissionError):  # beyond what this host gives to everybody
            wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        wire.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        wire.bind((job.interface, _ETH_P_ALL))
        wire.setblocking(False)
    except OSError as error:
        wire.close()
        raise NothingToSee(
            "no packets can be captured", f"{error.strerror}: {job.interface}", "is the filter right?"
        ) from None
    return wire


def _one(wire: socket.socket, snap_bytes: int) -> bytes:
    """A packet as a record. Raises BlockingIOError where there is none, OSError when the wire is gone."""
    data, notes, _, _ = wire.recvmsg(snap_bytes, 128)
    seconds, nanoseconds, whole = 0, 0, len(data)
    for level, kind, note in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(note)
        elif (level, kind) == (_SOL_PACKET, _AUXDATA):
            whole = _AUX.unpack_from(note)[1]
    return RECORD.pack(seconds & 0xFFFFFFFF, nanoseconds, len(data), max(whole, len(data))) + data


def _lost(wire: socket.socket) -> int:
    """Since the last time that it was asked."""
    _, lost = struct.unpack("@II", wire.getsockopt(_SOL_PACKET, _STATISTICS, 8))
    return int(lost)
