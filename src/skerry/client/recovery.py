"""A cloud's beginning and its rescue: `init`, the recovery file, taking a cloud over from it on another machine.

The recovery file is always encrypted under its own passphrase, since it is the one thing that lies elsewhere. Who gives
none gets one made: 25 letters and digits that no dictionary has, shown once.
"""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from skerry.client.home import CloudFile, CloudHome, Home
from skerry.client.identity import (
    RootKeys,
    new_operator,
    read_key_file,
    read_operator,
    read_root,
    write_operator,
    write_root,
)
from skerry.client.keys import KeyMissing, Passphrase, write_atomically
from skerry.core.intent import Node
from skerry.errors import BadFormat, BadInput
from skerry.outside import UNREADABLE
from skerry.trust import genesis, recovery
from skerry.trust.accept import Trusted
from skerry.trust.identity import SEED_BYTES, Signer
from skerry.trust.recovery import Recovery

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like another
ROOT_LIFE_S = 10 * 365 * 86400.0  # its keys are offline: a year would come and go unnoticed
POLICY_LIFE_S = 365 * 86400.0
FILE_MAX_BYTES = 16 << 20


class Begun(NamedTuple):
    """`passphrase`: of the recovery file, "" if the caller gave it."""

    cloud: CloudHome
    id: str
    recovery_file: Path
    passphrase: str


def make_passphrase() -> str:
    """125 bits in five groups."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(5))


def init(
    home: Home, name: str, *, operator: str, passphrase: str, recovery_file: Path, recovery_passphrase: str = ""
) -> Begun:
    """Make a cloud: root and operator keys apart, the first root and policy, the recovery file. Raises CloudExists.

    `passphrase`: of the keys here, "" for none. The recovery file is written first: a cloud without one is worse than none.
    """
    cloud = home.new_cloud(name)
    if recovery_file.exists():
        raise BadInput(
            f"cloud {name} was not made", f"{recovery_file} is there already", "name another --recovery-file"
        )
    now_s = time.time()
    root_seed = secrets.token_bytes(SEED_BYTES)
    keys, public = new_operator(operator)
    root = genesis.first_root([Signer(root_seed)], [public], issued=now_s, expires=now_s + ROOT_LIFE_S)
    id = genesis.cloud_of(root)
    policy = genesis.first_policy([Signer(keys.seed)], id, issued=now_s, expires=now_s + POLICY_LIFE_S)
    trusted = Trusted(id)  # our own documents go through the same door as everybody's
    for raw in (root, policy):
        trusted.commit(trusted.judge(raw, now_s=now_s), raw)
    made = "" if recovery_passphrase else make_passphrase()
    content = Recovery(
        cloud=id, name=name, root_seeds=(root_seed,), operators=(keys,), roots=(root,), documents=(policy,)
    )
    write_atomically(recovery_file.absolute(), recovery.lock(content, recovery_passphrase or made))
    write_root(cloud, RootKeys((root_seed,)), passphrase)
    write_operator(cloud, keys, passphrase)
    cloud.write(
        CloudFile(id=id, name=name, operator=operator, roots=(_text(root),), documents={"policy": _text(policy)})
    )
    home.select(name)
    return Begun(cloud, id, recovery_file, made)


def export(
    cloud: CloudHome, passphrase: Passphrase, path: Path, recovery_passphrase: str = "", *, root: bool = True
) -> Begun:
    """Write all that this machine knows of the cloud as a new recovery file: keys, roots, documents, hosts' addresses.

    `root`: with the root key, if it is here. For carrying everything to another machine, too.
    """
    content = cloud.read()
    seeds: tuple[bytes, ...] = ()
    if root and cloud.has_key("root"):
        seeds = read_root(cloud, passphrase).seeds
    made = "" if recovery_passphrase else make_passphrase()
    written = Recovery(
        cloud=content.id,
        name=content.name,
        root_seeds=seeds,
        operators=(read_operator(cloud, passphrase),),
        roots=tuple(map(_bytes, content.roots)),
        documents=tuple(map(_bytes, content.documents.values())),
        addresses=tuple(known_addresses(content)),
    )
    write_atomically(path.absolute(), recovery.lock(written, recovery_passphrase or made))
    return Begun(cloud, content.id, path, made)


def recover(
    home: Home, path: Path, recovery_passphrase: str, *, name: str = "", passphrase: str = ""
) -> tuple[CloudHome, Recovery]:
    """Set a cloud up here from its recovery file alone. Raises CannotOpen, CloudExists, and what trust refuses of it.

    `name`: what it is called here, "" for its own. Hosts that the file doesn't know are met by `client.meet`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} can't be read", error.strerror or str(error), "check the path") from error
    found = recovery.unlock(data, recovery_passphrase)
    if not found.operators:
        raise KeyMissing(f"{path} holds no operator key", "", "give the file that `skerry init` or `key export` wrote")
    cloud = home.new_cloud(name or found.name)
    trusted = Trusted(found.cloud)
    documents: dict[str, str] = {}
    for raw in (*found.roots, *found.documents):
        record = trusted.load(raw)
        if raw not in found.roots:
            documents[record.id] = _text(raw)
    if found.root_seeds:
        write_root(cloud, RootKeys(found.root_seeds), passphrase)
    keys = found.operators[0]
    write_operator(cloud, keys, passphrase)
    cloud.write(
        CloudFile(
            id=found.cloud,
            name=cloud.name,
            operator=keys.name,
            roots=tuple(map(_text, found.roots)),
            documents=documents,
        )
    )
    home.select(cloud.name)
    return cloud, found


class PublicCloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `key export --public` writes: signed documents and addresses, no secret. Envelopes in base64."""

    cloud: str
    name: str
    roots: tuple[str, ...]
    documents: dict[str, str]


def export_public(cloud: CloudHome, path: Path) -> None:
    content = cloud.read()
    wanted = {p: text for p, text in content.documents.items() if p == "policy" or p.startswith("node/")}
    public = PublicCloud(cloud=content.id, name=content.name, roots=content.roots, documents=wanted)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(public)) + b"\n")


def join_public(
    home: Home, path: Path, key_file: Path, passphrase: Passphrase, *, name: str = ""
) -> tuple[CloudHome, list[str]]:
    """Set a cloud up for a key that a role names (CI): (its home, addresses to meet). Raises BadFormat, CloudExists."""
    public = _public(path)
    keys = read_key_file(key_file, passphrase)
    cloud = home.new_cloud(name or public.name)
    content = CloudFile(
        id=public.cloud, name=cloud.name, operator=keys.name, roots=public.roots, documents=public.documents
    )
    addresses = known_addresses(content)  # reads and so verifies all of it before anything is written
    cloud.write_key("operator", key_file.read_bytes())  # as it is: what a passphrase guards stays under it
    cloud.write(content)
    home.select(cloud.name)
    return cloud, addresses


def rejoin(home: Home, path: Path, key_file: Path) -> None:
    """The same cloud is here already: what is known of it stays, the key is this one. Raises BadFormat, CloudExists for another."""
    public = _public(path)
    cloud = home.cloud(public.name)
    if cloud.read().id != public.cloud:
        home.new_cloud(public.name)  # it says what is wrong
    cloud.write_key("operator", key_file.read_bytes())
    home.select(cloud.name)


def _public(path: Path) -> PublicCloud:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(FILE_MAX_BYTES), type=PublicCloud)
    except (OSError, *UNREADABLE) as error:
        raise BadFormat(f"{path} is not a cloud", str(error), "give what `skerry key export --public` wrote") from error


def known_addresses(content: CloudFile) -> list[str]:
    """Where the hosts of a cloud were last seen: host:port."""
    trusted = Trusted(content.id)
    for text in (*content.roots, *content.documents.values()):
        trusted.load(_bytes(text))
    return [address for d in trusted.nodes.values() if isinstance(d.body, Node) for address in d.body.addresses]


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
