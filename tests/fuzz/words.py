"""More places where bytes from others come in: of containers and their kernel, of other tools, of people, of providers.

Each with the good input that its fuzzing begins with. The invariant is that of targets.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from dnslib import DNSRecord

from fuzz.asked import at_once, no_clock
from image.memory import elf_of
from skerry.agent import newcomer
from skerry.agent.renting import enrolling
from skerry.client.compose.healthcheck import NotUnderstood, translate
from skerry.client.compose.interpolate import parse_env
from skerry.client.compose.load import load_text
from skerry.client.copying import Unpacked
from skerry.client.folder.read import FILES, read_folder
from skerry.client.packets import Reader, described
from skerry.client.session import _frame, _shaped
from skerry.client.shortcuts.trace import read_line
from skerry.client.trial import trace, wish
from skerry.errors import BadFormat
from skerry.image import licences
from skerry.image.building.elf import read_elf, stripped
from skerry.image.building.recipe import read_recipe
from skerry.image.building.sources.debian import parse_packages
from skerry.image.building.sources.lock import read_lock
from skerry.image.building.sources.modules import read_package_lock
from skerry.image.building.sources.resolve import parse_relations
from skerry.machines import domains, hostkeys, survey, tables
from skerry.mesh import terminals
from skerry.mesh.dial import split_address
from skerry.net import taken, zone
from skerry.observe import asks, chain, events, host, logs, logstore
from skerry.observe.look import beginning, changes, placing, procfs, sockets
from skerry.runtime import cgroups as trees
from skerry.runtime import conmon
from skerry.runtime.cores.shelf import whole_bytes
from skerry.trust import requests

HERE = Path(__file__).parents[2]


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def files(data: bytes, *names: str) -> tempfile.TemporaryDirectory[str]:
    """A folder that holds these bytes under each of these names."""
    folder = tempfile.TemporaryDirectory()
    for name in names:
        path = Path(folder.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


# -- over the wire


class _Line:
    who = "node/vps-2"

    def __init__(self, data: bytes) -> None:
        self._data = b"\0" + data

    async def recv(self, decode: bool) -> bytes:
        return self._data


def piece_of_a_terminal(data: bytes) -> None:
    with no_clock():
        piece = at_once(terminals.recv(_Line(data), bytes(range(256))))  # type: ignore[arg-type]
    for told in (piece.size, piece.end, piece.text):
        with contextlib.suppress(BadFormat):
            told()


def answer_of_a_host(data: bytes) -> None:
    for shape in (dict[str, Any], list[str], dict[str, str]):
        _shaped(data, _frame(shape), "node/vps-2")


def what_is_handed_over(data: bytes) -> None:
    requests._taken(data, requests._hashes((b"a", b"b")))


def catch_up(data: bytes) -> None:
    newcomer._read(data)


def line_of_a_stranger(data: bytes) -> None:
    enrolling._decoded(data)


def address(data: bytes) -> None:
    split_address(text(data))


def question_to_names(data: bytes) -> None:
    """A datagram of a container, answered or refused."""
    names = zone.Zone()
    names.set({"web.shop.internal": ("10.77.1.2", "x"), "0.web.shop.internal": ("10.77.1.2",)})
    try:
        question = zone.parse(data)
    except ValueError:  # what is none is left unanswered
        return
    names.answer(question, "10.77.1.9")
    zone.refusal(question, 2)


# -- of containers and their kernel


def answer_to_a_probe(data: bytes) -> None:
    asks.judge_http(data)
    asks.judge_redis(data)
    asks.judge_postgres(data[:1], data[1:])
    asks.judge_mysql(data)


def lines_of_a_log(data: bytes) -> None:
    logs.parse_block(data)
    logs.parse_rows(data, "shop.web/0")
    logs.count_lines(data)


def segment_of_logs(data: bytes) -> None:
    with files(data, "segment") as folder:
        file = os.open(f"{folder}/segment", os.O_RDONLY)
        try:
            for head, at in logstore.blocks_of(file, len(data)):
                logstore._read(file, head, at)
        finally:
            os.close(file)


def diary(data: bytes) -> None:
    events.parse_entries(data)
    for line in data.split(b"\n"):
        chain.read_link(line)


def process_stat(data: bytes) -> None:
    procfs.parse_stat(text(data))


def process_status(data: bytes) -> None:
    procfs.parse_status(text(data))


def passwd(data: bytes) -> None:
    procfs.users_of(text(data))


def tables_of_sockets(data: bytes) -> None:
    for kind in ("tcp", "udp6"):
        list(sockets.parse_inet(kind, text(data)))
    list(sockets.parse_unix(text(data)))
    taken.parse_listening(text(data))


def mounts(data: bytes) -> None:
    changes.parse_mounts(text(data))
    trees.parse_trees(text(data))
    host.parse_cgroup_mounts(text(data))


def note_of_volumes(data: bytes) -> None:
    beginning.noted(data)


def plan_of_files(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # which its caller tells
        placing.parse_plan(data)


def core_of_a_process(data: bytes) -> None:
    whole_bytes(data)


def packets_of_a_capture(data: bytes) -> None:
    reader = Reader()
    for at in range(0, len(data), 50):
        list(reader.feed(data[at : at + 50]))


def frame_of_a_packet(data: bytes) -> None:
    described(data)


def line_of_strace(data: bytes) -> None:
    read_line(text(data))
    list(trace.parse_trace(text(data).split("\n"), "1", "/"))


def copy_from_a_host(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Unpacked(Path(folder)).read(io.BytesIO(data))


def word_of_a_monitor(data: bytes) -> None:
    conmon.parse_first_word(data, "x")


# -- of providers and their tools


def domain_of_libvirt(data: bytes) -> None:
    domains.read_domains(text(data))


def keys_of_hosts(data: bytes) -> None:
    hostkeys.read_known(text(data))


def sizes_of_machines(data: bytes) -> None:
    tables.read_sizes(text(data))


def survey_of_a_machine(data: bytes) -> None:
    survey.parse_survey(text(data), now_s=1.0)


# -- of people and their projects


def compose_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        load_text(text(data), Path(folder), environ={"A": "1"}, name="app")


def environment_file(data: bytes) -> None:
    parse_env(text(data))


def healthcheck(data: bytes) -> None:
    with contextlib.suppress(NotUnderstood):  # an error of its own, which the compose reader turns into a mistake
        translate(text(data), frozenset({"web"}))


def folder_of_a_cloud(data: bytes) -> None:
    """The first byte says which file."""
    names = [*FILES, "apps/web/compose.yaml", ".env"]
    with files(data[1:], names[(data[0] if data else 0) % len(names)]) as folder:
        read_folder(Path(folder), {"A": "1"})


def recipe_of_a_project(data: bytes) -> None:
    with files(data, "skerry.toml") as folder:
        read_recipe(Path(folder))


def lock_of_ours(data: bytes) -> None:
    with files(data, "skerry.lock") as folder:
        read_lock(Path(folder) / "skerry.lock", "web")


def lock_of_npm(data: bytes) -> None:
    with files(data, "package-lock.json") as folder:
        (Path(folder) / "package.json").write_bytes(b'{"name":"a","dependencies":{"b":"1"}}')
        read_package_lock(Path(folder))


def index_of_debian(data: bytes) -> None:
    for package in parse_packages(text(data), "main"):
        parse_relations(str(getattr(package, "depends", "")))


def relations_of_debian(data: bytes) -> None:
    parse_relations(text(data))


def licence_of_a_package(data: bytes) -> None:
    licences.of_debian(data)
    licences.of_wheel(data)


def program_of_an_image(data: bytes) -> None:
    """For what it needs, and then without what no system reads."""
    read_elf(data)
    read_elf(stripped(data))


def wish_of_a_trial(data: bytes) -> None:
    wish.parse_port(text(data))


def folder_of_a_trial(data: bytes) -> None:
    wish.parse_folder(text(data))


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind in (
            ("a", tarfile.DIRTYPE),
            ("a/b", tarfile.REGTYPE),
            ("a/l", tarfile.SYMTYPE),
            ("x" * 150, tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "b" if kind == tarfile.SYMTYPE else ""
            info.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


INET = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1\n"
)
CRI = b"2026-11-23T22:05:24.600969944+00:00 stdout F text\n2026-11-23T22:05:24.700969944+00:00 stderr P part\n"
COMPOSE = b"""name: app
services:
  web:
    image: x.tar
    ports: ["8080:80"]
    environment: {A: "${A:-b}", B: "$$c"}
    healthcheck: {test: curl -f http://localhost/, interval: 1s}
    volumes: ["data:/data"]
    deploy: {replicas: 2, update_config: {order: start-first}, resources: {limits: {memory: 64m, cpus: "0.5"}}}
    x-skerry: {drain: 2s}
volumes: {data: {}}
"""

# target -> the good input that it begins with
WORDS: dict[Callable[[bytes], None], list[bytes]] = {
    piece_of_a_terminal: [b"\x01abc", b"\x05[10,20]", b'\x07{"code":0}', b'\x06"word"'],
    answer_of_a_host: [b'{"item":{"a":[1,2]}}', b'{"error":{"code":"x"}}', b'{"item":["a"]}'],
    what_is_handed_over: [msgspec.msgpack.encode((b"a", b"b"))],
    catch_up: [msgspec.msgpack.encode([b"a", b"b"])],
    line_of_a_stranger: [b'{"bundle":{"hash":"ab","token":"t","slot":"burst/0"}}', b'{"enrol":{}}'],
    address: [b"198.51.100.7:7077", b"[2001:db8::7]:7077"],
    question_to_names: [
        DNSRecord.question("web.shop.internal").pack(),
        DNSRecord.question("example.org", "AAAA").pack(),
    ],
    answer_to_a_probe: [b"HTTP/1.1 200 OK\r\n", b"+PONG\r\n", b"R\0\0\0\0", b"\x0a8.0.1\0"],
    lines_of_a_log: [CRI],
    segment_of_logs: [logstore.pack(CRI)],
    diary: [b'{"time":1.0,"kind":"up","subject":"vps-1","reason":"x","n":1,"prev":""}\n'],
    process_stat: [Path("/proc/self/stat").read_bytes(), b"1 (a) b)) S 1 " + b"1 " * 50],
    process_status: [b"Name:\tx\nUid:\t1\t1\t1\t1\nNSpid:\t9\t1\n"],
    passwd: [b"root:x:0:0::/:\nweb:x:10001:10001::/www:\n"],
    tables_of_sockets: [
        INET.encode(),
        b"Num RefCount Protocol Flags Type St Inode Path\n0: 00000002 00000000 00010000 0001 01 1 /x\n",
    ],
    mounts: [
        b"22 1 0:20 / /sys rw,nosuid - sysfs sysfs rw\n30 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    ],
    note_of_volumes: [b'["a",1,2]\n'],
    plan_of_files: [b'{"name":"a","things":[{"path":[],"kind":"directory","mode":493}]}'],
    core_of_a_process: [elf_of(("libc.so.6",), "/lib64/ld.so")],
    packets_of_a_capture: [
        struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 1, 2, 14, 14) + b"\0" * 14
    ],
    frame_of_a_packet: [
        b"\0" * 12 + b"\x08\0E" + b"\0" * 8 + b"\x06" + b"\0" * 30,
        b"\0" * 12 + b"\x86\xdd" + b"\0" * 60,
    ],
    line_of_strace: [
        b'12 1700000000.1 openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3 <0.1>',
        b"1 +++ exited with 0 +++",
    ],
    copy_from_a_host: [_tar()],
    word_of_a_monitor: [b'{"data":12}', b'{"data":-1,"message":"no"}'],
    domain_of_libvirt: [b"<domain><name>x</name><metadata/><memory unit='KiB'>1</memory><vcpu>1</vcpu></domain>"],
    keys_of_hosts: [b"198.51.100.7 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==\n"],
    sizes_of_machines: [b"small=1,1g,10g,4;large=2,4g,40g,8"],
    survey_of_a_machine: [
        b"skerry-survey 1\nos debian\nversion 12\narch x86_64\nss LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n"
    ],
    compose_file: [COMPOSE],
    environment_file: [b"A=1\nexport B='x'\n# c\nC=\"\\n\"\n"],
    healthcheck: [
        b"curl -f http://localhost/",
        b"wget -q --spider localhost:80/x || exit 1",
        b"pg_isready -U x",
        b"redis-cli ping",
    ],
    folder_of_a_cloud: [
        b"\0hosts:\n  vps-1: {target: root@198.51.100.7, zone: a, labels: {disk: ssd}, state: draining, images: 2g}\n",
        b"\1pools:\n  burst: {provider: digitalocean, size: s-1vcpu-1gb, min: 0, max: 10, spend: 20, regions: [ams3], down: 30m}\n",
        b"\2roles:\n  ci: {keys: [ci.key], apps: [guestbook]}\n",
        b"\3tools: {}\n",
        b"\4receivers: {}\n",
        b"\5rules: {}\n",
        bytes([len(FILES)]) + COMPOSE.replace(b"name: app", b"name: web"),
    ],
    recipe_of_a_project: [b'[image]\npython = "3.11"\n', b'recipe = "python"\nentrypoint = ["x"]\n'],
    lock_of_ours: [b'{"images":{"web":{"wanted":"x","debs":[],"wheels":[]}}}'],
    lock_of_npm: [
        b'{"lockfileVersion":3,"packages":{"":{"name":"a","dependencies":{"b":"1"}},"node_modules/b":{"version":"1.0.0","integrity":"sha512-'
        + b"A" * 86
        + b'=="}}}'
    ],
    index_of_debian: [
        b"Package: a\nVersion: 1\nArchitecture: amd64\nFilename: a.deb\nSize: 1\nSHA256: "
        + b"ab" * 32
        + b"\nDepends: b (>= 1), c | d\n\n"
    ],
    relations_of_debian: [b"libc6 (>= 2.36), a | b:any (= 1) [amd64] <!x>"],
    licence_of_a_package: [
        b"Files: *\nLicense: MIT\n text\n",
        b"Metadata-Version: 2.1\nLicense: MIT\nClassifier: License :: OSI Approved\n",
    ],
    program_of_an_image: [elf_of(("libc.so.6",), "/lib64/ld.so", calls=("execve",))],
    folder_of_a_trial: [b"/tmp:/b:ro"],
    wish_of_a_trial: [b"8080:80", b"8080:80/udp", b"127.0.0.1:80:80", b"./a:/b:ro"],
}
