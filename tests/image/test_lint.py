"""What the lint finds and what it lets pass, on trees and files made here. Real packages: test_lint_tools.py."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from image.memory import SimpleObjects, elf_of, tar_of
from skerry.image.building.pile import file_of
from skerry.image.contract import BadImage
from skerry.image.layers import Layers
from skerry.image.lint import names, secrets
from skerry.image.lint.findings import Finding, ImageRefused, by_kind, check
from skerry.image.lint.judge import judge
from skerry.image.lint.own import check_image
from skerry.image.lint.programs import NOTHING, facts_of
from skerry.image.lint.verdicts import Verdicts
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble, encode_config, parse_config

LOADER = "/lib64/ld-linux-x86-64.so.2"
FOREIGN = ImageConfig(entrypoint=("/app",))
KEY = (
    b"-----BEGIN RSA PRIVATE KEY-----\n"
    + b"MIIEpAIBAAKCAQEA7bq5m0Yt8nPzK1wq" * 2
    + b"\n-----END RSA PRIVATE KEY-----\n"
)


def program(*calls: str, needed: tuple[str, ...] = ()) -> bytes:
    return elf_of(needed, LOADER, calls=calls)


def with_text(text: bytes) -> bytes:
    """A program that holds this text where programs hold theirs."""
    return elf_of((), LOADER, calls=(text.decode("latin-1"),))


def found(
    files: dict[str, bytes | str], config: ImageConfig = FOREIGN, *, plain: tuple[str, ...] = ()
) -> list[Finding]:
    """The findings of a tree: path -> content of a program (mode 755 unless in `plain`), or the target of a link."""
    contents: dict[str, bytes] = {}
    entries = []
    for path, what in files.items():
        if isinstance(what, str):
            entries.append(Entry(path, "l", 0o777, link=what))
            continue
        hash = hashlib.sha256(what).hexdigest()
        contents[hash] = what
        entries.append(Entry(path, "f", 0o644 if path in plain else 0o755, sha256=hash, size=len(what)))
    return judge(tree_of(entries), config, lambda hash: facts_of(contents[hash]), contents.__getitem__)


def kinds(files: dict[str, bytes | str], config: ImageConfig = FOREIGN, *, plain: tuple[str, ...] = ()) -> list[str]:
    return [finding.kind for finding in found(files, config, plain=plain)]


NAMED = {
    "shell": "sh bash dash busybox toybox ksh mksh yash fish rc ksh93",
    "remote-login": "sshd dropbear ssh",
    "compiler": "gcc tcc make gcc-12 x86_64-linux-gnu-gcc-12 x86_64-linux-gnu-ld.bfd cc1",
    "package-manager": "dpkg apt-get pip npm pip3.11",
    "debugger": "gdb strace",
    "network-tool": "tcpdump nmap nc socat curl wget nc.openbsd",
    "interpreter": "perl perl5.36.0 python3.11",
    "editor": "vim vim.basic",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMED.items() for name in names.split()])
def test_each_tool_is_found_under_its_own_name(kind: str, name: str) -> None:
    assert kinds({f"usr/bin/{name}": b"x"}) == [kind]
    assert kinds({f"opt/{name}": program()}, plain=(f"opt/{name}",)) in ([kind], []), "without its x bit"
    assert kinds({f"usr/bin/{name}": "../../tool", "tool": program()}) == [kind], "a link that is called so"
    assert kinds({f"usr/share/completions/{name}": b"x"}, plain=(f"usr/share/completions/{name}",)) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("shell", program("tcsetpgrp", "pipe", "execve")),
        ("shell", with_text(b"BusyBox v1.36")),
        ("shell", program("getopts", "unset", "umask", "export")),
        ("debugger", program("ptrace")),
        ("network-tool", program(needed=("libpcap.so.0.8",))),
        ("package-manager", program(needed=("libapt-pkg.so.6.0",))),
        ("interpreter", program(needed=("libpython3.11.so.1.0",))),
    ],
)
def test_a_renamed_tool_is_found_by_what_it_is(kind: str, content: bytes) -> None:
    assert kinds({"usr/bin/app-7": content}) == [kind]
    if kind != "interpreter":
        assert kinds({"data/app-7": content}, plain=("data/app-7",)) == [kind], "the loader runs what has no x bit"


def test_programs_and_libraries_that_are_neither_pass() -> None:
    innocent = {
        "app": program("execve", "pipe", "dup2"),
        "init": program("tcsetpgrp", "execvp"),
        "lib/libx.so": elf_of(),
    }
    assert kinds(innocent, plain=("lib/libx.so",)) == []


def test_one_program_under_many_names_is_a_shell_whether_by_links_or_by_hard_links() -> None:
    applets = ("ls", "cat", "cp", "mv", "rm", "ps")
    assert kinds({"bin/tool": program(), **{f"bin/{name}": "tool" for name in applets}}) == ["shell"]
    assert kinds({f"bin/{name}": program() for name in applets}) == ["shell"]
    assert kinds({"bin/tool": program(), "bin/ls": "tool", "bin/cat": "tool"}) == []


def test_what_only_lost_its_programs_still_has_its_databases() -> None:
    assert kinds({"var/lib/dpkg/status": b""}, plain=("var/lib/dpkg/status",)) == ["database"]
    pip = "usr/lib/python3/dist-packages/pip/__main__.py"
    assert kinds({pip: b""}, plain=(pip,)) == ["package-manager"], "an interpreter runs it without any name"


def test_an_own_image_has_its_declared_programs_and_nothing_else() -> None:
    own = ImageConfig(entrypoint=("/usr/bin/python3.11",), executables=("usr/bin/python3.11",))
    python = program("tcsetpgrp", "pipe", "execve", "PYTHONHOME")
    assert kinds({"usr/bin/python3.11": python}, own) == []
    assert kinds({"usr/bin/python3.11": python, "usr/bin/other": program()}, own) == ["undeclared"]
    shell = ImageConfig(executables=("bin/dash",))
    assert kinds({"bin/dash": program()}, shell) == ["shell"], "not even when it is declared"
    assert kinds({"bin/dash": program()}, ImageConfig(executables=("bin/dash",), init=True)) == ["setup-shell"]
    assert kinds({"bin/dash": program()}, ImageConfig(executables=("bin/app",), init=True)) == ["shell", "undeclared"]


def test_what_an_own_image_declares_goes_with_its_config() -> None:
    for config in (ImageConfig(executables=("a b", "c"), init=True), ImageConfig()):
        again = parse_config(encode_config(config, "sha256:" + "0" * 64))
        assert (again.executables, again.init) == (config.executables, config.init)


def test_the_entry_point_of_a_foreign_image_may_be_an_interpreter_and_no_shell() -> None:
    files: dict[str, bytes | str] = {"usr/bin/python3.11": b"x", "usr/bin/python3": "python3.11", "bin": "usr/bin"}
    for words in (("/usr/bin/python3",), ("/bin/python3", "-m", "x"), ("python3",)):
        assert kinds(files, ImageConfig(entrypoint=words)) == []
        assert kinds(files, ImageConfig(cmd=words)) == []
    assert set(kinds(files, ImageConfig(entrypoint=("/app",)))) == {"interpreter"}
    assert kinds({"bin/sh": b"x"}, ImageConfig(entrypoint=("/bin/sh", "-c", "app"))) == ["shell"]


def test_what_is_allowed_passes_and_the_rest_is_told_with_the_way_out() -> None:
    findings = found({"bin/sh": b"x", "bin/curl": b"x", "bin/x": b"#!/bin/sh\n"})
    with pytest.raises(ImageRefused) as refused:
        check(findings, ("curl", "network-tool"), what="web")
    assert str(refused.value) == "web was refused: bin/sh is a shell"
    assert refused.value.fix == "leave it out of the image, or write x-skerry: allow: {shell: why it is needed}"
    check(findings, ("shell", "network-tool"), what="web")
    assert by_kind(findings) == {"shell": "bin/sh is a shell", "network-tool": "bin/curl is a tool of networks"}
    setup = found({"bin/dash": program()}, ImageConfig(executables=("bin/dash",), init=True))
    check(setup, (), what="web", init=True)
    with pytest.raises(ImageRefused, match="bin/dash is a shell"):
        check(setup, ("shell", "setup-shell"), what="web")


def test_what_a_tree_cannot_hold_is_said_of_the_archive_it_came_in(tmp_path: Path) -> None:
    special, capable, device = (tarfile.TarInfo(name) for name in ("su", "ping", "dev/sda"))
    special.mode, device.type = 0o4755, tarfile.BLKTYPE
    capable.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info in (special, capable, device):
            tar.addfile(info)
    stack = Layers(SimpleObjects(tmp_path))
    stack.add(io.BytesIO(layer.getvalue()))
    told = [(finding.kind, finding.path, finding.refuses) for finding in stack.findings]
    assert told == [("setuid", "su", False), ("capability", "ping", False), ("device", "dev/sda", False)]
    assert [(entry.path, entry.mode) for entry in stack.tree().files()] == [("ping", 0o644), ("su", 0o755)]


# --- secrets ----------------------------------------------------------------------------------------------------------

TOKENS = [
    "AKIA" + "QWERTYUIOPASDF23",
    "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENGbPxRfiCYqwertyuiop1",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "xoxb-" + "123456789012-abcdefGHIJKL0123",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dcXYZ",
    "dop_v1_" + "0123456789abcdef" * 4,
    "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2,
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_found_and_never_shown(token: str) -> None:
    token = token[:74] if token.startswith("AGE") else token
    findings = found({"app/settings.py": f"KEY = '{token}'\n".encode()}, plain=("app/settings.py",))
    assert [finding.kind for finding in findings] == ["secret"]
    assert token not in str(findings[0]) and token[8:] not in str(findings[0])


@pytest.mark.parametrize(
    "text",
    [
        b"AKIAIOSFODNN7EXAMPLE", b"ghp_" + b"x" * 36, b"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", b"-----BEGIN CERTIFICATE-----\n" + b"MIIEpAIBAAKCAQEA7b" * 5,
        b"token = os.environ['GITHUB_TOKEN']  # ghp_...", b"-----BEGIN RSA PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_examples_and_names_of_secrets_are_none(text: bytes) -> None:
    assert kinds({"app/x": text}, plain=("app/x",)) == []


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("ed25519", PrivateFormat.OpenSSH), ("ed25519", PrivateFormat.PKCS8), ("ec", PrivateFormat.OpenSSH),
        ("ec", PrivateFormat.PKCS8), ("ec", PrivateFormat.TraditionalOpenSSL), ("rsa", PrivateFormat.OpenSSH),
        ("rsa", PrivateFormat.PKCS8), ("rsa", PrivateFormat.TraditionalOpenSSL),
    ],
)  # fmt: skip
def test_private_keys_are_found_as_tools_write_them(kind: str, form: PrivateFormat) -> None:
    key = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    text = key.private_bytes(Encoding.PEM, form, NoEncryption())
    assert kinds({"app/id": text}, plain=("app/id",)) == ["secret"]


def test_private_keys_are_found_in_texts_in_json_and_in_programs() -> None:
    assert kinds({"etc/key.pem": KEY}, plain=("etc/key.pem",)) == ["secret"]
    json = b'{"private_key": "' + KEY.replace(b"RSA ", b"").replace(b"\n", b"\\n") + b'"}'
    assert kinds({"app/account.json": json}, plain=("app/account.json",)) == ["secret"]
    assert kinds({"app/server": with_text(KEY)}) == ["secret"]
    assert kinds({"lib/libtls.so": elf_of(calls=(KEY.decode(),))}, plain=("lib/libtls.so",)) == []
    for test in ("tls/tests/key.pem", "tls/tests.py", "tls/test_keys.py"):
        path = f"usr/lib/python3/dist-packages/{test}"
        assert kinds({path: KEY}, plain=(path,)) == [], "packages test themselves with keys"
        assert kinds({f"app/{test}": KEY}, plain=(f"app/{test}",)) == ["secret"]


@pytest.mark.parametrize(
    ("path", "secret", "none"),
    [
        ("app/.npmrc", b"//registry/:_authToken=0123456789abcdef", b"//registry/:_authToken=${NPM_TOKEN}"),
        ("root/.netrc", b"machine x login y password z", b"machine x"),
        ("app/.env", b"A=1\nDB_PASSWORD=correcthorse\n", b"DB_PASSWORD=${PASSWORD}\nTOKEN=changeme\nDEBUG=1\n"),
        ("app/.env.production", b"export API_KEY='0123456789'", b"API_KEY=\n"),
        ("root/.git-credentials", b"https://ann:secret@host", b""),
        ("root/.docker/config.json", b'{"auths": {"r": {"auth": "YW5uOnNlY3JldA=="}}}', b'{"auths": {}}'),
    ],
)
def test_files_that_are_known_for_passwords_are_read_for_them(path: str, secret: bytes, none: bytes) -> None:
    assert kinds({path: secret}, plain=(path,)) == ["secret"]
    assert kinds({path: none}, plain=(path,)) == []
    assert kinds({"app/other": secret}, plain=("app/other",)) == []


def test_of_an_own_build_the_projects_files_alone_are_asked(tmp_path: Path) -> None:
    objects = SimpleObjects(tmp_path / "objects")
    theirs, mine = file_of("usr/lib/x/key.pem", KEY, "x 1.0"), file_of("app/key.pem", KEY + b"\n", "project")
    digest = image_of(
        objects, {file.path: file.load() for file in (theirs, mine)}, ImageConfig(executables=("app",)), 0o644
    )
    assert check_image(digest, objects, tmp_path, "web", [], ()) == []
    for _ in range(2):
        with pytest.raises(ImageRefused, match=r"app/key.pem holds a private key"):
            check_image(digest, objects, tmp_path, "web", [mine], ())
    check_image(digest, objects, tmp_path, "web", [mine], ("secret",))


# --- what comes from outside ------------------------------------------------------------------------------------------


@given(st.binary(max_size=600))
def test_any_bytes_have_facts(noise: bytes) -> None:
    facts_of(noise)
    facts_of(b"\x7fELF\x02\x01\x01" + noise)
    secrets.in_file(noise)


@given(at=st.integers(0, 600), new=st.binary(max_size=24))
def test_a_program_with_any_damage_has_facts(at: int, new: bytes) -> None:
    whole = program("tcsetpgrp", "pipe", "execve", needed=("libc.so.6",))
    facts_of(whole[:at] + new + whole[at + len(new) :])
    facts_of(whole[:at])


@pytest.mark.parametrize("order", ["<", ">"])
def test_programs_of_32_bits_and_of_the_other_byte_order_are_read(order: str) -> None:
    strings = b"\0ptrace\0"
    at = 52 + 3 * 32
    tags = struct.pack(f"{order}IIIIII", 5, at, 10, len(strings), 0, 0)
    parts = [
        (1, 0, 0, 0, 400, 400, 5, 1),
        (2, at + 8, at + 8, 0, len(tags), len(tags), 4, 1),
        (3, at, at, 0, 1, 1, 4, 1),
    ]
    head = b"\x7fELF\x01" + (b"\1" if order == "<" else b"\2") + b"\x01" + bytes(9)
    head += struct.pack(f"{order}HHIIIIIHHHHHH", 3, 3, 1, 64, 52, 0, 0, 52, 32, 3, 40, 0, 0)
    data = head + b"".join(struct.pack(f"{order}IIIIIIII", *part) for part in parts) + strings + tags
    assert [kind for kind, _ in facts_of(data).traits] == ["debugger"]


def test_a_program_with_a_million_headers_and_a_dynamic_section_without_end_is_read_at_once() -> None:
    whole = bytearray(program("ptrace"))
    struct.pack_into("<H", whole, 56, 0xFFFF)
    assert facts_of(bytes(whole)) == NOTHING
    whole = bytearray(program("ptrace"))
    struct.pack_into("<Q", whole, 64 + 56 + 32, 1 << 62)
    facts_of(bytes(whole))


HOSTILE = {
    "headers of keys": b"X: -----BEGIN PRIVATE KEY-----\n" * 100_000,
    "blank lines": b"\n" * 2_000_000 + b"TOKEN",
    "names of secrets": b"SECRET" * 300_000 + b"\nnpm_ghp_xoxb-_v1_" * 1000,
    "addresses": b"://a:" * 300_000,
    "quotes": b'"auth":"' * 200_000,
    "passwords": b"password" + b" " * 1_000_000,
    "fields": b"a:b:c:d:" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "path", ["x", ".env", ".netrc", ".npmrc", ".git-credentials", ".docker/config.json", ".pgpass", ".pypirc"]
)
def test_no_text_takes_longer_than_in_proportion_to_it(path: str, name: str) -> None:
    began_s = time.process_time()
    secrets.in_file(HOSTILE[name])
    secrets.in_named(path, lambda: HOSTILE[name])
    assert time.process_time() - began_s < 2.0


def test_no_path_takes_longer_than_in_proportion_to_it() -> None:
    began_s = time.process_time()
    for path in (
        "node_modules/" * 300 + "x",
        "a-" * 127 + "linux-gnu",
        "1." * 120 + "x",
        "1" * 255,
        "site-packages/pip/" * 200,
    ):
        for _ in range(100):
            names.kind_of(path), names.database_of(path), names.manager_of(path), secrets.is_test_material(path)
    assert time.process_time() - began_s < 1.0


def test_a_program_of_a_thousand_segments_is_read_once() -> None:
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 4 << 20, 4 << 20, 1)
    head = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 1, 64, 0, 0, 64, 56, 1000, 64, 0, 0)
    )
    data = (head + segment * 1000).ljust(4 << 20, b"P")
    began_s = time.process_time()
    assert facts_of(data).form == "elf"
    assert time.process_time() - began_s < 2.0


def test_links_that_lead_on_and_on_are_refused_in_time() -> None:
    long = "/".join(["a/.."] * 800)
    files: dict[str, bytes | str] = {f"l{n:05}": f"{long}/l{n + 1:05}" for n in range(2000)}
    began_s = time.process_time()
    with pytest.raises(BadImage, match="steps to follow"):
        found(files)
    assert time.process_time() - began_s < 10.0


def test_many_findings_of_one_kind_hide_none_of_another() -> None:
    files: dict[str, bytes | str] = {f"bin{n}/sh": b"x" for n in range(300)}
    findings = found(files | {"zz/curl": b"x"})
    with pytest.raises(ImageRefused, match="zz/curl"):
        check(findings, ("shell",), what="web")


# --- remembered -------------------------------------------------------------------------------------------------------


def image_of(objects: SimpleObjects, files: dict[str, bytes], config: ImageConfig = FOREIGN, mode: int = 0o755) -> str:
    entries = [Entry(p, "f", mode, sha256=objects.put(data), size=len(data)) for p, data in files.items()]
    image = assemble(tree_of(entries), config, objects.read)
    for data in (image.tree.encode(), image.config, image.manifest):
        objects.put(data)
    return image.digest


def test_a_verdict_is_made_once_and_an_edit_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    objects = SimpleObjects(tmp_path / "objects")

    def counted(store: SimpleObjects, hash: str) -> object:
        looked.append(hash)
        return facts_of(store.read(hash))

    monkeypatch.setattr("skerry.image.lint.verdicts.look", counted)
    one = image_of(objects, {"bin/sh": b"1", "bin/app": b"2", "key": KEY})
    first = Verdicts(tmp_path / "lint", objects).of(one)
    assert [finding.kind for finding in first] == ["shell", "secret"] and len(looked) == 3
    assert Verdicts(tmp_path / "lint", objects).of(one) == first and len(looked) == 3, "remembered on disk"
    two = image_of(objects, {"bin/sh": b"1", "bin/app": b"3", "key": KEY})
    assert Verdicts(tmp_path / "lint", objects).of(two) == first and len(looked) == 4


def test_that_an_image_is_clean_is_remembered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = SimpleObjects(tmp_path / "objects")
    clean = image_of(objects, {"lib/a": b"1"}, mode=0o644)
    assert Verdicts(tmp_path / "lint", objects).of(clean) == []
    monkeypatch.setattr(Verdicts, "_judge", lambda self, digest: pytest.fail("it was judged again"))
    assert Verdicts(tmp_path / "lint", objects).of(clean) == []


def test_a_verdict_goes_with_its_image_and_one_that_was_cut_is_made_anew(tmp_path: Path) -> None:
    objects = SimpleObjects(tmp_path / "objects")
    one, two = image_of(objects, {"bin/sh": b"1"}), image_of(objects, {"app": b"2"})
    verdicts = Verdicts(tmp_path / "lint", objects)
    verdicts.of(one)
    kept = tmp_path / "lint" / one[7:]
    kept.write_bytes(kept.read_bytes()[:-4])
    assert [finding.kind for finding in Verdicts(tmp_path / "lint", objects).of(one)] == ["shell"]
    objects.remove(one[7:])
    verdicts.of(two)
    assert [path.name for path in (tmp_path / "lint").iterdir()] == [two[7:]]


def test_large_files_are_looked_at_to_their_end() -> None:
    far = b"x = 1\n" * 1_000_000 + KEY
    assert facts_of(far).secret == "a private key"
    assert facts_of(tar_of(("a", b"1"))) == NOTHING
