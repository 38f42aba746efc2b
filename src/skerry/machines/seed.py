"""The disk from which cloud-init reads at a machine's first boot (NoCloud), written without a tool. Pure.

ISO 9660 with one folder, as much as Linux needs of it: names in lower case, which the standard has not, arrive as they are.
"""

from __future__ import annotations

import json
import struct

SECTOR = 2048
ROOT = 20  # sectors: 16 the volume, 17 its end, 18 and 19 the path tables, 20 the folder, from 21 on the files


def nocloud(
    *, id: str, name: str, user_data: str, mac: str, address: str = "", gateway: str = "", dns: str = ""
) -> bytes:
    """`id`: cloud-init does its work once for each. `address` ("198.51.100.9/24") "": asked for by DHCP."""
    ethernet: dict[str, object] = {"match": {"macaddress": mac}}
    if address:
        ethernet |= {"addresses": [address]}
        ethernet |= {"routes": [{"to": "0.0.0.0/0", "via": gateway}]} if gateway else {}
        ethernet |= {"nameservers": {"addresses": dns.split()}} if dns else {}
    else:
        ethernet |= {"dhcp4": True}
    return iso(
        {
            "meta-data": json.dumps({"instance-id": id, "local-hostname": name}).encode(),
            "network-config": json.dumps({"version": 2, "ethernets": {"outside": ethernet}}).encode(),
            "user-data": user_data.encode(),
        },
        label="cidata",
    )


def iso(files: dict[str, bytes], *, label: str) -> bytes:
    """Few files, as all must fit into one sector of the folder."""
    body, entries = b"", [_entry(b"\0", ROOT, SECTOR, folder=True), _entry(b"\1", ROOT, SECTOR, folder=True)]
    for name, data in sorted(files.items()):
        entries.append(_entry(f"{name}.;1".encode(), ROOT + 1 + len(body) // SECTOR, len(data)))
        body += _padded(data)
    folder = b"".join(entries)
    if len(folder) > SECTOR:
        raise ValueError(f"{len(files)} files are too many")
    path_table = struct.pack("<BBIH2s", 1, 0, ROOT, 1, b"\0\0")
    sectors = ROOT + 1 + len(body) // SECTOR
    volume = b"".join(
        [
            b"\1CD001\1\0",
            b" " * 32,
            label.encode().ljust(32),
            bytes(8),
            _both32(sectors),
            bytes(32),
            _both16(1) + _both16(1) + _both16(SECTOR),
            _both32(len(path_table)),
            struct.pack("<II", 18, 0) + struct.pack(">II", 19, 0),
            _entry(b"\0", ROOT, SECTOR, folder=True),
            b" " * 623,  # who made it, of which nothing is known
            (b"0" * 16 + b"\0") * 4,  # no dates: the same in gives the same out
            b"\1",
        ]
    )
    end = b"\xffCD001\1"
    tables = [path_table, struct.pack(">BBIH2s", 1, 0, ROOT, 1, b"\0\0")]
    return bytes(16 * SECTOR) + b"".join(map(_padded, [volume, end, *tables, folder])) + body


def _entry(name: bytes, sector: int, size: int, *, folder: bool = False) -> bytes:
    record = b"\0" + _both32(sector) + _both32(size) + bytes(7) + struct.pack("BBB", 2 if folder else 0, 0, 0)
    record += _both16(1) + bytes([len(name)]) + name
    record += b"\0" * (len(record) % 2 == 0)  # an entry's length, this first byte included, is even
    return bytes([len(record) + 1]) + record


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def _both32(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)
