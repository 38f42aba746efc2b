"""Every place where bytes from others come in, as a function of these bytes. The invariant of all of them: what is wrong with
them is told by a SkerryError; any other exception is a bug of ours. Hypothesis (test_targets) and atheris (`make fuzz`) drive them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from agent.small import archive
from fuzz import corpus
from fuzz.asked import ASKED, at_once, no_clock
from fuzz.packed import PACKED
from fuzz.words import WORDS
from image.memory import SimpleObjects, elf_of, file_entry
from skerry.agent.streams import Heads, _decode
from skerry.core import messages as m
from skerry.core.gossip import Gossip
from skerry.core.intent import Alert, Pool, Receiver, Secret, Tools
from skerry.errors import SkerryError
from skerry.image import bundle
from skerry.image.archive import import_archive
from skerry.image.audit.database import read_database
from skerry.image.audit.known import findings, keys_of
from skerry.image.building.sources.needs import Asked, requirements_of
from skerry.image.bundle import Version, make_bundle, open_bundle
from skerry.image.lint import secrets
from skerry.image.lint.programs import facts_of
from skerry.image.manifest import HEADER, Entry, parse_tree, tree_of
from skerry.image.oci import ImageConfig, assemble, parse_config, parse_manifest
from skerry.image.origin import Origin, Part
from skerry.image.packages import parts_in
from skerry.image.packs import pack, pack_documents, unpack, unpack_documents
from skerry.image.sbom import sbom
from skerry.lab.ocean import Pace, Simulator
from skerry.machines.digitalocean import DigitalOcean
from skerry.mesh import carrying, streams
from skerry.observe import promtext
from skerry.trust import accept, drafts, envelope, requests
from skerry.trust.accept import AlreadyHeld, Trusted
from skerry.trust.requests import judge_request, make_request
from trust.world import (
    CLOUD,
    HOSTS,
    IMAGE,
    ROOT,
    T0,
    Host,
    app_body,
    cloud_of_three,
    enrol,
    fact,
    policy,
    release_body,
    sign,
    signer,
    up,
)

POOL = Pool(provider="manual", max=3, network="10.78.0.0/22", keepers={"node/vps-1": signer("keeper").key})
RECEIVER = Alert(
    receiver=Receiver(kind="webhook", at="example.com"),
    boxes={signer("anna").key: base64.b64encode(bytes(80)).decode()},
)
KINDS = ("root", "policy", "node", "app", "release", "secret", "fact", "pool", "alert", "tools")


def parse_envelope(data: bytes) -> None:
    envelope.parse(data)


@functools.cache
def _cloud() -> Host:
    """Judging changes nothing in it but rates, and no time passes there: each source is new."""
    return cloud_of_three()


def _judged(data: bytes, **how: Any) -> Any:
    trusted = _cloud().trusted
    trusted._links = trusted._rates = _NO_RATES  # type: ignore[assignment]
    return trusted.judge(data, now_s=_cloud().now_s, **how)


class _Unmetered:
    def charge(self, source: str, now_s: float, many: int = 1) -> None:
        pass


_NO_RATES = _Unmetered()


@contextlib.contextmanager
def _all_signed() -> Iterator[None]:
    """Signatures are good: what is strange is what somebody has signed. So none need be made, which would take most of the time."""
    before = accept.verify
    accept.verify = requests.verify = lambda key, message, signature: True  # type: ignore[attr-defined]
    try:
        yield
    finally:
        accept.verify = requests.verify = before  # type: ignore[attr-defined]


def _by(kind: str, payload: bytes, *names: str) -> bytes:
    signatures = tuple(envelope.Signature(signer(name).key, b"") for name in names)
    return msgspec.json.encode(envelope.Envelope(payload, envelope.payload_type(kind), signatures))


def record_from_a_neighbour(data: bytes) -> None:
    _judged(data, source="node/vps-2")


def record_from_a_client(data: bytes) -> None:
    _judged(data, from_client=True)


def document_signed_by_an_operator(data: bytes) -> None:
    """The first byte says which kind; the rest is the payload, signed by both operators and the root keys: all doors open."""
    kind = KINDS[(data[:1] or b"\0")[0] % len(KINDS)]
    raw = _by(kind, data[1:], *("anna", "ben", "root-a", "root-b")[: 1 if kind == "fact" else 4])
    with _all_signed():
        _judged(raw)
        host = cloud_of_three()  # only now: it takes much longer than to refuse most
        record = host.trusted.judge(raw, now_s=host.now_s)
        host.trusted.commit(record, raw)
        again = Trusted(CLOUD)  # what was taken once can be loaded from disk
        for held in (*host.trusted._raw.values(), raw):
            with contextlib.suppress(AlreadyHeld):
                again.load(held)


def fact_of_a_captured_host(data: bytes) -> None:
    raw = _by("fact", data, "vps-2")
    with _all_signed():
        _judged(raw, source="node/vps-2")
        host = cloud_of_three()
        host.trusted.commit(host.trusted.judge(raw, now_s=host.now_s, source="node/vps-2"), raw)


def message_of_a_neighbour(data: bytes) -> None:
    message = m.decode(data)
    gossip = Gossip("node/vps-1")
    gossip.accepted("app/web", "0" * 16, "", 1.0)
    gossip.link_up("node/vps-2", 1.0)
    for send in gossip.heard("node/vps-2", message, 2.0):
        if not hasattr(send, "ids"):
            m.encode(send.message)


def request(data: bytes) -> None:
    judge_request(data, _cloud().trusted, node="node/vps-1", nonce="n" * 32, now_s=T0)


def request_signed_by_an_operator(data: bytes) -> None:
    with _all_signed():
        judge_request(_by("request", data, "anna"), _cloud().trusted, node="node/vps-1", nonce="n" * 32, now_s=T0)


def heads_of_a_new_host(data: bytes) -> None:
    _decode(data, Heads)


def draft(data: bytes) -> None:
    drafts.read(_decode(data, list[bytes]), _cloud().trusted)


class _Line:
    """A stream from which one frame comes."""

    who = "node/vps-2"

    def __init__(self, frame: bytes) -> None:
        self._frame = frame

    async def recv(self, decode: bool) -> bytes:
        return self._frame


def objects_message(data: bytes) -> None:
    with no_clock():
        at_once(streams._recv(_Line(data), 1.0, *streams._Any.__args__))  # type: ignore[arg-type]


def oci_manifest(data: bytes) -> None:
    parse_manifest(data)


def oci_config(data: bytes) -> None:
    parse_config(data)


def tree_manifest(data: bytes) -> None:
    parse_tree(data)


def image_archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.tar"
        path.write_bytes(data)
        import_archive(path, SimpleObjects(Path(directory) / "objects"))


def layer_of_an_image(data: bytes) -> None:
    """The layer alone is strange: manifest and config are good, digests fit."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.tar"
        archive(path, b"", layer=data)
        import_archive(path, SimpleObjects(Path(directory) / "objects"))


LOCKS = Path(__file__).parents[1] / "image" / "locks"


def _lock_of_another_tool(name: str, project: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / name).write_bytes(data)
        (Path(directory) / "pyproject.toml").write_bytes((LOCKS / project / "pyproject.toml").read_bytes())
        requirements_of(Path(directory), Asked(name))


def lock_of_uv(data: bytes) -> None:
    _lock_of_another_tool("uv.lock", "uv", data)


def lock_of_poetry(data: bytes) -> None:
    _lock_of_another_tool("poetry.lock", "poetry", data)


def lock_of_pip(data: bytes) -> None:
    _lock_of_another_tool("pylock.toml", "uv", data)


def requirements_text(data: bytes) -> None:
    _lock_of_another_tool("requirements.txt", "uv", data)


def pyproject(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "pyproject.toml").write_bytes(data)
        requirements_of(Path(directory), Asked())


def known_vulnerabilities(data: bytes) -> None:
    """A user's file: an export of OSV or of Debian's tracker, against packages that it may name."""
    parts = keys_of(
        [
            Part(ecosystem="pypi", name="x", version="1", files=("x",)),
            Part(ecosystem="deb", name="y", version="1", files=("y",)),
        ]
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "db"
        path.write_bytes(data)
        findings(read_database(path, parts.keys()), parts)


def package_databases_of_an_image(data: bytes) -> None:
    """The same bytes at the place of each database that is read."""
    names = (
        "var/lib/dpkg/status", "var/lib/dpkg/info/a.list", "lib/apk/db/installed", "x/a.dist-info/METADATA",
        "x/a.dist-info/RECORD", "node_modules/a/package.json",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        objects = SimpleObjects(Path(directory))
        objects.put(data)
        parts, unread = parts_in(tree_of(file_entry(name, data) for name in names), objects.read)
        json.dumps(sbom("sha256:" + "0" * 64, "", Origin(how="imported", when_s=0.0, parts=parts, findings=unread)))


def file_of_an_image(data: bytes) -> None:
    """What the lint reads of programs and texts, whatever they are."""
    facts_of(data)
    for path in (".env", ".npmrc", ".git-credentials", ".docker/config.json"):
        secrets.in_named(path, lambda: data)


def carrying_message(data: bytes) -> None:
    carrying.told(data, "node/vps-2", *carrying.AnyMessage.__args__)


def pack_of_files(data: bytes) -> None:
    unpack(data, [3, 0, 5])


def documents_of_an_image(data: bytes) -> None:
    unpack_documents(data, _versions()[2])


def bundle_of_a_peer(data: bytes) -> None:
    _, old, new, read = _versions()
    for patch in open_bundle(data, old, new, read).patches:
        patch.apply(read(patch.old))


def body_of_a_bundle(data: bytes) -> None:
    """It is packed by us, so that what is inside is strange and not only the packing."""
    made, old, new, read = _versions()
    parts = msgspec.msgpack.decode(made, type=bundle._Bundle)
    packed = bundle._pack(data, bundle._dictionary(old, parts.known, read), 1)
    open_bundle(msgspec.msgpack.encode(msgspec.structs.replace(parts, body=packed)), old, new, read)


def answer_of_digitalocean(data: bytes) -> None:
    """The first byte says to what."""
    answer = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(data[1:])))
    provider = DigitalOcean("t", "http://127.0.0.1", {}, transport=answer)
    asked: tuple[Callable[[], object], ...] = (provider.list, lambda: provider.get("3164441"), provider.sizes)
    asked[(data[0] if data else 0) % len(asked)]()


def figures_of_an_application(data: bytes) -> None:
    """Never more series than were asked for, each a number."""
    found = promtext.read(data.decode("utf-8", "replace"), (), 8)
    assert len(found.samples) <= 8
    assert all(isinstance(sample.value, float) for sample in found.samples)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        parse_envelope, record_from_a_neighbour, record_from_a_client, document_signed_by_an_operator,
        fact_of_a_captured_host, message_of_a_neighbour, request, request_signed_by_an_operator, heads_of_a_new_host,
        draft, objects_message, oci_manifest, oci_config, tree_manifest, image_archive, layer_of_an_image,
        known_vulnerabilities, package_databases_of_an_image,
        file_of_an_image,
        carrying_message, pack_of_files, documents_of_an_image, bundle_of_a_peer, body_of_a_bundle,
        figures_of_an_application,
        lock_of_uv, lock_of_poetry, lock_of_pip, requirements_text, pyproject, answer_of_digitalocean, *WORDS, *ASKED, *PACKED,
    )
}  # fmt: skip


def run(name: str, data: bytes) -> bool:
    """Whether the bytes were taken. Raises what no bytes may make it raise."""
    try:
        TARGETS[name](data)
    except SkerryError:
        return False
    return True


def begin_with(name: str) -> list[bytes]:
    """Seeds, and what the corpus in git has."""
    return [*seeds(name), *corpus.read(name)]


def seeds(name: str) -> list[bytes]:
    """Good input to begin with: what is a little wrong finds more than what is no input at all."""
    records = [
        ROOT, policy(), enrol("vps-4"), sign("app/web", app_body()), sign("release/web", release_body(IMAGE)),
        sign("secret/web", Secret(key_id="k", boxes={})), up("vps-2"), fact("vps-2", "claim", "web.web/0", (1, 2), None),
    ]  # fmt: skip
    payloads = [envelope.parse(raw).payload for raw in records]
    asked = make_request(signer("anna"), CLOUD, "node/vps-1", "put", {}, "n" * 32, T0, [sign("app/web", app_body())])
    hash = b"\x11" * 32
    by_name: dict[str, list[bytes]] = {
        "document_signed_by_an_operator": [bytes([n % 7]) + payload for n, payload in enumerate(payloads[:6])]
        + [b"\3" + envelope.parse(sign("app/api", app_body())).payload]
        + [
            b"\7" + envelope.parse(sign("pool/burst", POOL)).payload,
            b"\x08" + envelope.parse(sign("alert/ops", RECEIVER)).payload,
        ]
        + [b"\x09" + envelope.parse(sign("tools/base", Tools(image=IMAGE, size_bytes=1, about="x"))).payload],
        "fact_of_a_captured_host": payloads[6:],
        "message_of_a_neighbour": [
            m.encode(message)
            for message in (
                m.Push((b"x",)),
                m.Heads(b"\0" * 16),
                m.Buckets((b"\0" * 16,) * 64),
                m.Ids(1, "", "", {"app/web": "0" * 16}),
                m.Want(("app/web",)),
                m.WantNamed(("ab" * 32,)),
                m.ProbeAsk("node/x"),
                m.ProbeAnswer("node/x", True),
                m.HoldsAsk(1, ("ab" * 32,)),
                m.HoldsAnswer(1, True),
            )
        ],
        "figures_of_an_application": [b'# TYPE a counter\na{b="c\\n"} 1.5e3 17\nb_bucket{le="+Inf"} 2\n'],
        "request": [asked],
        "request_signed_by_an_operator": [
            envelope.parse(make_request(signer("anna"), CLOUD, "node/vps-1", "ps", {}, "n" * 32, T0)).payload
        ],
        "heads_of_a_new_host": [msgspec.msgpack.encode({"root": (0, 1), f"node/{HOSTS[0]}": (0, 1)})],
        "draft": [msgspec.msgpack.encode([sign("app/web", app_body())])],
        "objects_message": [streams._encode(streams._Offer((hash,))), streams._encode(streams._Done())],
        "oci_manifest": [
            b'{"schemaVersion":2,"config":{"digest":"sha256:%b","size":2},"layers":[{"digest":"sha256:%b","size":2}]}'
            % (b"ab" * 32, b"cd" * 32)
        ],
        "oci_config": [b'{"config":{"Env":["A=b"],"Cmd":["x"],"User":"1:1"},"rootfs":{"type":"layers","diff_ids":[]}}'],
        "tree_manifest": [
            HEADER.encode(),
            HEADER.encode() + b"d\t755\tetc\n" + b"f\t644\tetc/x\t" + b"ab" * 32 + b"\t3\n",
        ],
        "file_of_an_image": [
            elf_of(("libc.so.6",), "/lib64/ld.so", calls=("tcsetpgrp", "pipe", "execve")),
            b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEpAIBAAKCAQEA7bq5m0Yt8nPzK1wq" * 4,
        ],
        "image_archive": [_archive()],
        "layer_of_an_image": [_layer()],
        "known_vulnerabilities": [
            b'[{"id":"A","aliases":["B"],"affected":[{"package":{"ecosystem":"PyPI","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":'
            b'[{"introduced":"0"},{"fixed":"2"}]}],"versions":["1"]}],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}]}]',
            b'{"y":{"CVE-1":{"description":"d","releases":{"bookworm":{"status":"resolved","fixed_version":"2","urgency":"low"}}}}}',
            b'{"vulns":[{"id":"A"}]}',
        ],
        "package_databases_of_an_image": [
            b"Package: a\nVersion: 1\nArchitecture: all\nStatus: install ok installed\n\n",
            b"P:a\nV:1\nF:lib\nR:x\n\n",
            b"Name: a\nVersion: 1\nLicense: MIT\n\n",
            b'{"name":"a","version":"1","license":"MIT"}',
        ],
        "carrying_message": [
            msgspec.msgpack.encode(message)
            for message in (
                carrying.About(hash),
                carrying.Has(True, b"\x07"),
                carrying.Ask((carrying.Wish(1), carrying.Wish(2, b"\x01")), False),
                carrying.Portion(3, b"frame"),
                carrying.Packed((carrying.File(hash, 3),), -1, b"abc"),
                carrying.Here(hash, (carrying.Lack(hash, b"\x01"),)),
            )
        ],
        "pack_of_files": [pack([b"abc", b"", b"defgh"])],
        "documents_of_an_image": [_documents()],
        "bundle_of_a_peer": [_versions()[0]],
        "body_of_a_bundle": [_body()],
        "answer_of_digitalocean": _answers(),
        "lock_of_uv": [(LOCKS / "uv" / "uv.lock").read_bytes()],
        "lock_of_poetry": [(LOCKS / "poetry" / "poetry.lock").read_bytes()],
        "lock_of_pip": [(LOCKS / "uv" / "pylock.toml").read_bytes()],
        "requirements_text": [
            b"a>=1 ; python_version > '3'\nb[c]==2  # why\n--pre\n",
            b"a==1 ; os_name == 'posix' \\\n --hash=sha256:" + b"ab" * 32 + b"\n",
        ],
        "pyproject": [(LOCKS / name / "pyproject.toml").read_bytes() for name in ("uv", "poetry-own")],
    }
    return by_name.get(name) or (WORDS | ASKED | PACKED).get(TARGETS[name]) or records


@functools.cache
def _versions() -> tuple[bytes, Version, str, Callable[[str], bytes]]:
    """A bundle, the version that it builds on, the image that it leads to, and contents."""
    contents = {
        hashlib.sha256(data).hexdigest(): data
        for data in (b"one", b"two", b"same", bytes(70_000), b"!" + bytes(70_000))
    }
    by_data = {data: hash for hash, data in contents.items()}

    def version(files: dict[str, bytes]) -> Version:
        tree = tree_of(Entry(path, "f", 0o644, sha256=by_data[data], size=len(data)) for path, data in files.items())
        image = assemble(tree, ImageConfig(), contents.__getitem__)
        return Version(image.manifest, image.config, image.tree)

    old = version({"a": b"one", "b": b"same", "l": bytes(70_000)})
    new = version({"a": b"two", "c": b"same", "l": b"!" + bytes(70_000)})
    digest = "sha256:" + hashlib.sha256(new.manifest).hexdigest()
    return make_bundle(old, new, contents.__getitem__), old, digest, contents.__getitem__


def _answers() -> list[bytes]:
    simulator = Simulator(pace=Pace().times(0.0), tokens={"t": None})
    id = simulator.foreign("a", ["t"]).id
    paths = ("/v2/droplets", f"/v2/droplets/{id}", "/v2/sizes")
    headers = {"authorization": "Bearer t"}
    return [bytes([n]) + simulator.answer("GET", path, headers, b"").body for n, path in enumerate(paths)]


def _documents() -> bytes:
    made, old, new, read = _versions()
    files = open_bundle(made, old, new, read)
    manifest = files.files[new.removeprefix("sha256:")]
    refs = parse_manifest(manifest)
    return pack_documents(manifest, files.files[refs.config], files.files[refs.tree])


def _body() -> bytes:
    made, old, _, read = _versions()
    parts = msgspec.msgpack.decode(made, type=bundle._Bundle)
    return bundle._unpack(parts.body, bundle._dictionary(old, parts.known, read), 1 << 20)


def _archive() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "image.tar"
        archive(path, b"an app")
        return path.read_bytes()


def _layer() -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, kind, link in (
            ("etc", tarfile.DIRTYPE, ""), ("etc/x", tarfile.REGTYPE, ""), ("link", tarfile.SYMTYPE, "../../etc/x"),
            ("hard", tarfile.LNKTYPE, "etc/x"), ("etc/.wh.x", tarfile.REGTYPE, ""),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info, io.BytesIO(b""))
    return layer.getvalue()
