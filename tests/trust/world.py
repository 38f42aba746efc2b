"""A small cloud in memory, made of fixed seeds, and the hands of everybody who may sign something in it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from skerry.core.facts import FactBody, Up
from skerry.core.intent import App, Node, Policy, Release, Root, Service
from skerry.core.records import Document, Fact
from skerry.errors import TrustRefusal
from skerry.trust import genesis
from skerry.trust.accept import NotYet, Trusted
from skerry.trust.documents import sign_document, sign_fact
from skerry.trust.identity import Signer, certificate, sealing_public, wireguard_public

T0 = 1_800_000_000.0
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
IMAGE = "sha256:" + "ab" * 32
IMAGE_2 = "sha256:" + "cd" * 32


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@cache
def signer(name: str) -> Signer:
    return Signer(seed(name))


@cache
def der(name: str) -> bytes:
    return certificate(seed(name), name, 1)


@cache
def operator(name: str) -> Any:
    return genesis.operator(name, seed(name), seed(name + " sealing"), 1)


ROOT_KEYS = ("root-a", "root-b", "root-c")
OPERATORS = ("anna", "ben")
HOSTS = ("vps-1", "vps-2", "vps-3")


def root_body(**changes: Any) -> Root:
    return Root(
        **{
            "keys": tuple(signer(name).key for name in ROOT_KEYS),
            "threshold": 2,
            "operators": tuple(operator(name) for name in OPERATORS),
            "policy_threshold": 2,
            **changes,
        }
    )


ROOT = sign_document(
    [signer("root-a"), signer("root-b")], "", "root", root_body(), version=1, issued=T0, expires=T0 + 5 * YEAR_S
)
CLOUD = genesis.cloud_of(ROOT)


def sign(path: str, body: Any, by: str | tuple[str, ...] = "anna", **header: Any) -> bytes:
    """A document one day after the first root, unless `header` says otherwise."""
    names = (by,) if isinstance(by, str) else by
    header = {"version": 1, "issued": T0 + DAY_S, "expires": T0 + YEAR_S, "cloud": CLOUD, **header}
    return sign_document([signer(name) for name in names], header.pop("cloud"), path, body, **header)


def policy_body(**changes: Any) -> Policy:
    operators = genesis.operators_role([signer(name).key for name in OPERATORS])
    ci = genesis.ci_role("ci", signer("ci").key, der("ci"), ["web"])
    return Policy(**{"roles": (operators, ci), **changes})


def policy(by: tuple[str, ...] = OPERATORS, *, version: int = 1, prev: str = "", epoch: int = 0, issued: float = T0 + 1,
           expires: float = T0 + YEAR_S, **changes: Any) -> bytes:  # fmt: skip
    return sign(
        "policy", policy_body(**changes), by, version=version, prev=prev, epoch=epoch, issued=issued, expires=expires
    )


def node_body(name: str, *, keys: str = "", **changes: Any) -> Node:
    """`keys`: whose keys it has, its own by default."""
    of = keys or name
    number = int(name.rpartition("-")[2])
    return Node(
        **{
            "signing": signer(of).key,
            "sealing": sealing_public(seed(of + " sealing")),
            "wireguard": wireguard_public(seed(of + " wireguard")),
            "certificate": base64.b64encode(der(of)).decode(),
            "addresses": (f"198.51.100.{number}:7077",),
            "subnet": f"10.77.{number}.0/24",
            "salt": f"salt-{name}",
            **changes,
        }
    )


def enrol(
    name: str,
    by: str | tuple[str, ...] = "anna",
    *,
    keys: str = "",
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    return sign(f"node/{name}", node_body(name, keys=keys, **changes), by, **(header or {}))


def app_body(**changes: Any) -> App:
    return App(**{"services": {"web": Service(replicas=3)}, **changes})


def release_body(image: str = IMAGE, **changes: Any) -> Release:
    return Release(**{"images": {"web": image}, "fits": 1, **changes})


UP = Up(
    root=1, policy=1, heads="", uptime_s=1.0, cpus=2.0, memory_bytes=1 << 30, free_cpus=1.0, free_memory_bytes=1 << 29
)


def fact(
    name: str, kind: str, key: str, seq: tuple[int, int], body: FactBody | None, *, by: str = "", cloud: str = ""
) -> bytes:
    return sign_fact(signer(by or name), cloud or CLOUD, f"node/{name}", kind, key, seq, T0, body)


def up(name: str, n: int = 1, boot: int = 1) -> bytes:
    return fact(name, "up", "", (boot, n), UP)


class Host:
    """A `Trusted` with a clock, which takes records in as the door of an agent does."""

    def __init__(self, *records: bytes, now_s: float = T0 + 2 * DAY_S, cloud: str = CLOUD) -> None:
        self.trusted = Trusted(cloud)
        self.now_s = now_s
        for raw in records:
            self.take(raw)

    def take(
        self, raw: bytes, *, source: str = "", from_client: bool = False, neighbours_s: tuple[float, ...] = ()
    ) -> Any:
        record = self.trusted.judge(
            raw, now_s=self.now_s, source=source, from_client=from_client, neighbours_s=neighbours_s
        )
        return self.trusted.commit(record, raw, self.now_s)

    def refuse(self, raw: bytes, **how: Any) -> TrustRefusal:
        """The refusal of a record; nothing that is held may have changed by it."""
        before = (self.trusted.heads(), self.trusted.fact_heads())
        try:
            self.take(raw, **how)
        except TrustRefusal as refusal:
            assert (self.trusted.heads(), self.trusted.fact_heads()) == before
            assert (refusal.what and refusal.why) or refusal.code == "already-held"
            return refusal
        raise AssertionError("it was accepted")

    def take_all(self, records: list[bytes]) -> None:
        """In this order, trying again what is not yet acceptable until nothing changes: what gossip does in the long run."""
        waiting = list(records)
        while waiting:
            left = []
            for raw in waiting:
                try:
                    self.take(raw)
                except NotYet:
                    left.append(raw)
                except TrustRefusal:
                    pass
            if len(left) == len(waiting):
                return
            waiting = left

    def hash(self, path: str) -> str:
        held = self.trusted.document(path)
        return held.hash if held is not None else ""

    def held(self, path: str) -> Document:
        document = self.trusted.document(path)
        assert document is not None
        return document


def cloud_of_three(**how: Any) -> Host:
    return Host(ROOT, policy(), *(enrol(name) for name in HOSTS), **how)


def read(raw: bytes) -> Document | Fact:
    """A record unverified, as its author knows it."""
    from skerry.trust import documents, envelope

    return documents.decode(envelope.parse(raw))[1]


def hash_of(raw: bytes) -> str:
    return read(raw).hash
