"""`skerry-agent`: what runs on a host. People use `skerry`, never this.

skerry-agent keys  --state DIR           make the host's keys if there are none; print the public ones as JSON
skerry-agent enrol --state DIR           ask to become a pool's machine, as the JSON on standard input says, and join
skerry-agent join  --state DIR [--adopt] take the host into a cloud; the JSON on standard input says which
skerry-agent run   --state DIR           the daemon (systemd starts it)
skerry-agent purge --state DIR           end all containers, take away every rule, interface and mount of ours
skerry-agent guard --state DIR           try the agent that an upgrade brought; go back unless it rejoins in time
skerry-agent unit                        print skerry.service as this version wants it
skerry-agent handover --state DIR        for `host adopt`, which asks on stdin: what it holds, runs and can open
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from skerry.agent.files import HostFiles, Membership
from skerry.agent.handover import held
from skerry.core.intent import Node
from skerry.core.records import Fact
from skerry.errors import BadInput, SkerryError, TrustRefusal
from skerry.outside import UNREADABLE
from skerry.store.records import RecordStore
from skerry.trust.accept import AlreadyHeld, Stale, Trusted


class Join(msgspec.Struct, forbid_unknown_fields=True):
    """What `skerry host add` hands over: the pinned cloud, this node's path, and the records that a node starts with."""

    cloud: str
    node: str
    records: list[str]  # base64 envelopes: roots in order, policy, nodes, the rest
    network: str = "10.77.0.0/16"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="skerry-agent", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["join", *VERBS])
    parser.add_argument("--state", type=Path, default=Path("/var/lib/skerry"))
    parser.add_argument("--run", type=Path, default=Path("/run/skerry"), dest="run_dir")
    parser.add_argument("--adopt", action="store_true", help="join: replace the cloud that the host belongs to")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    files = HostFiles(options.state, options.run_dir)
    try:
        if options.verb == "join":
            join(files, sys.stdin.buffer.read(16 << 20), adopt=options.adopt)
        else:
            VERBS[options.verb](files)
    except SkerryError as error:
        print(msgspec.json.encode({"error": error.as_dict()}).decode(), file=sys.stderr)
        return error.exit_code
    return 0


# Each imports what it needs: the daemon is the largest, and none of the others shall wait for it.


def _keys(files: HostFiles) -> None:
    files.state.mkdir(parents=True, exist_ok=True)
    print(msgspec.json.encode(files.make_keys()).decode())


def _run(files: HostFiles) -> None:
    from skerry.agent.diary import kept
    from skerry.agent.running import run

    with kept(files.own_logs()[-1]):
        asyncio.run(run(files))


def _enrol(files: HostFiles) -> None:
    from skerry.agent.renting.enrol import enrol

    files.state.mkdir(parents=True, exist_ok=True)
    join(files, enrol(files, sys.stdin.buffer.read(1 << 20)))


def _purge(files: HostFiles) -> None:
    from skerry.agent.host import purge

    asyncio.run(purge(files))


def _guard(files: HostFiles) -> None:
    from skerry.agent.guard import guard

    guard(files)


def _unit(files: HostFiles) -> None:
    from skerry.agent.upgrade import version_here
    from skerry.machines.install import unit_text

    sys.stdout.write(unit_text(version_here()).decode())


def _handover(files: HostFiles) -> None:
    from skerry.agent.handover import Asked, handover

    try:
        asked = msgspec.json.decode(sys.stdin.buffer.read(1024), type=Asked)
    except UNREADABLE as error:
        raise BadInput("nothing was handed over", str(error), "use one version of skerry") from None
    print(msgspec.json.encode(handover(files, asked)).decode())


def join(files: HostFiles, data: bytes, *, adopt: bool = False) -> None:
    """Verify what was handed over against the pinned cloud before anything is written. Raises BadInput, TrustRefusal, OtherCloud."""
    try:
        asked = msgspec.json.decode(data, type=Join)
        raws = [base64.b64decode(text, validate=True) for text in asked.records]
    except (ValueError, *UNREADABLE) as error:
        raise BadInput(
            "the host was not joined", f"what was handed over can't be read: {error}", "use one version of skerry"
        ) from None
    membership = files.membership()
    comes_back = membership is not None and membership.cloud == asked.cloud
    # A host that is mended may know more than who mends it: nothing that it holds is replaced by something older.
    trusted = held(files, asked.cloud) if comes_back else Trusted(asked.cloud)
    accepted = []
    refused: TrustRefusal | None = None
    for raw in raws:
        try:
            record = trusted.judge(raw, now_s=time.time(), source="")
        except (AlreadyHeld, Stale):
            continue
        except TrustRefusal as refusal:  # such as an app whose signer lost the key: it doesn't keep a host out
            refused = refused or refusal
            continue
        trusted.commit(record, raw, time.time())
        accepted.append((record, raw))
    enrolment = trusted.nodes.get(asked.node)
    if enrolment is None and refused is not None:
        raise refused
    if enrolment is None or not isinstance(enrolment.body, Node) or enrolment.body.signing != files.make_keys().signing:
        raise BadInput(
            "the host was not joined",
            f"the enrolment {asked.node} is not for this host's keys",
            "run skerry host add again",
        )
    files.join(Membership(asked.cloud, asked.node, asked.network), adopt=adopt)
    if adopt and not comes_back:
        for path in files.state.glob("records.sqlite*"):  # another cloud's; the start count lies beside it and stays
            path.unlink()
    store = RecordStore(files.state)
    for record, raw in accepted:
        if isinstance(record, Fact) or trusted.heads().get(record.id, ("", "", ""))[2] == record.hash:
            store.put(record.id, raw, hash=record.hash, sync=True)
        else:
            store.keep(record.hash, raw)  # an earlier root of the chain
    store.close()


VERBS: dict[str, Callable[[HostFiles], None]] = {
    "keys": _keys, "run": _run, "purge": _purge, "guard": _guard, "unit": _unit,
    "handover": _handover, "enrol": _enrol,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
