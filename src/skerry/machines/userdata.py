"""What a rented machine runs at its first boot: a script for cloud-init, as a pure function of signed values and one token.

The script is read by strangers (the provider keeps it, and anybody on the machine can ask for it for ever), so it holds no
secret but a token that is good once, for minutes, and from the machine's own address. It runs nothing that wasn't signed: it
fetches the agent from a keeper whose certificate it pins, and only if the bytes have the hash that the pool's document names;
that agent makes the keys and asks to be enrolled. Only what each cloud-init image has is used: python3 and tar.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import NamedTuple

from skerry.core.intent import Node, Pool
from skerry.core.records import MachineSlot
from skerry.machines.contract import USER_DATA_BYTES
from skerry.machines.providers import MEETING
from skerry.trust.identity import fingerprint

ENROL_PORT = 7078


class MeetingPoint(NamedTuple):
    """Where a machine asks: `address` ("host:7078"), and the SHA-256 (hex) of the certificate that must answer there."""

    address: str
    fingerprint: str


def meeting_points(pool: Pool, nodes: Mapping[str, Node]) -> tuple[MeetingPoint, ...]:
    """The pool's keepers, or its meeting host where it has none. `nodes`: enrolments that are not expelled, by path."""
    paths = sorted(pool.keepers) or [f"node/{pool.options.get(MEETING, '')}"]
    return tuple(
        MeetingPoint(
            f"{nodes[path].addresses[0].rpartition(':')[0]}:{ENROL_PORT}",
            fingerprint(base64.b64decode(nodes[path].certificate)),
        )
        for path in paths
        if path in nodes and nodes[path].addresses
    )


def user_data(
    cloud: str,
    slot: MachineSlot,
    meet: tuple[MeetingPoint, ...],
    *,
    bundle: str,
    token: str,
    secret: str = "",
    limit_s: float,
) -> str:
    """The script for one machine. `bundle`: SHA-256 of the agent, as the pool's document has it; `token`: whose hash the slot's
    `machine` fact holds. `limit_s`: how long it tries. `secret`: without keepers, by which the operator who made it knows the
    machine's keys, though a host between them would change them.
    """
    first = slot.index % max(len(meet), 1)  # each machine begins with another one
    asked = {
        "cloud": cloud,
        "slot": str(slot),
        "meet": [list(point) for point in (*meet[first:], *meet[:first])],
        "bundle": bundle,
        "token": token,
        "secret": secret,
        "limit_s": limit_s,
    }
    script = SCRIPT.replace("@ASKED@", json.dumps(json.dumps(asked, sort_keys=True)))
    if len(script.encode()) > USER_DATA_BYTES:
        raise AssertionError(f"user data of {len(script)} bytes: a pool has few keepers")
    return script


SCRIPT = '''\
#!/usr/bin/python3
# Skerry: takes this machine into the cloud that rented it. Whoever reads this finds no secret: the token is good once, for
# minutes, and from this machine's own address alone.
import hashlib
import json
import os
import socket
import ssl
import subprocess
import time

ASKED = json.loads(@ASKED@)
HOME, STATE, UNIT = "/opt/skerry", "/var/lib/skerry", "/etc/systemd/system/skerry.service"
END_S = time.monotonic() + ASKED["limit_s"]


def say(text):
    print("skerry:", text, flush=True)


def fetch(address, fingerprint, path):
    """The agent from one host into a file; what it is decides its hash, who sends it the certificate."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no authority: the certificate itself is known
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection((host.strip("[]"), int(port)), 10) as plain, context.wrap_socket(plain) as line:
        if hashlib.sha256(line.getpeercert(True)).hexdigest() != fingerprint:
            raise ValueError("another certificate answers there")
        lines = line.makefile("rwb")
        lines.readline(4096)
        ask = {"bundle": {"hash": ASKED["bundle"], "slot": ASKED["slot"], "token": ASKED["token"]}}
        lines.write(json.dumps(ask).encode() + b"\\n")
        lines.flush()
        answer = json.loads(lines.readline(65536))
        if "size" not in answer:
            raise ValueError(answer.get("error", {}).get("what", "it has no agent"))
        digest, left, end_s = hashlib.sha256(), min(int(answer["size"]), 1 << 30), time.monotonic() + 300
        with open(path, "wb") as file:
            while left > 0:
                data = lines.read(min(left, 1 << 18))
                if not data:
                    raise ValueError("it ended in the middle")
                if time.monotonic() > end_s:
                    raise ValueError("it is too slow")
                digest.update(data)
                file.write(data)
                left -= len(data)
    if digest.hexdigest() != ASKED["bundle"]:
        raise ValueError("what it sent is another agent than the pool's")


def agent():
    """The agent's version, unpacked in its place; fetched from whatever host gives it."""
    os.makedirs(HOME, exist_ok=True)
    path, fresh = HOME + "/.first.tar.gz", HOME + "/.first"
    while True:
        for address, fingerprint in ASKED["meet"]:
            try:
                fetch(address, fingerprint, path)
                break
            except (OSError, ValueError) as error:
                say("no agent from %s: %s" % (address, error))
        else:
            if time.monotonic() > END_S:
                raise SystemExit("skerry: nobody gave this machine its agent in time")
            time.sleep(2)
            continue
        break
    subprocess.run(["rm", "-rf", "--", fresh], check=True)
    os.mkdir(fresh)
    subprocess.run(["tar", "-xzf", path, "--no-same-owner", "-C", fresh], check=True)
    (version,) = os.listdir(fresh)
    with open("%s/%s/.bundle" % (fresh, version), "w") as file:
        file.write(ASKED["bundle"] + "\\n")
    if not os.path.isdir("%s/%s" % (HOME, version)):
        os.rename("%s/%s" % (fresh, version), "%s/%s" % (HOME, version))
    subprocess.run(["rm", "-rf", "--", fresh, path], check=True)
    subprocess.run(["ln", "-sfnT", "--", version, HOME + "/current"], check=True)
    return version


def main():
    joined = os.path.exists(STATE + "/node.json")
    version = os.readlink(HOME + "/current") if joined else agent()
    program = "%s/%s/bin/skerry-agent" % (HOME, version)
    if not joined:
        left_s = dict(ASKED, limit_s=max(10.0, END_S - time.monotonic()))
        subprocess.run([program, "enrol", "--state", STATE], input=json.dumps(left_s).encode(), check=True)
    unit = subprocess.run([program, "unit"], stdout=subprocess.PIPE, check=True).stdout
    with open(UNIT + ".new", "wb") as file:
        file.write(unit)
    os.rename(UNIT + ".new", UNIT)
    for words in (["daemon-reload"], ["enable", "skerry.service"], ["start", "--no-block", "skerry.service"]):
        subprocess.run(["systemctl", "--quiet"] + words, check=True)
    say("this is %s now" % ASKED["slot"])


main()
'''
