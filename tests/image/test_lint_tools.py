"""The lint against real things out of Debian's archive: every shell and tool is found, no server and no library is."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.images import lint as tools

from image.test_build import GUESTBOOK, built
from skerry.image.building.pile import File
from skerry.image.lint.findings import Finding
from skerry.image.lint.programs import facts_of
from skerry.image.lint.verdicts import Verdicts
from skerry.store.objects import ObjectStore

pytestmark = pytest.mark.real
SERVERS = {
    "nginx": "usr/sbin/nginx",
    "redis-server": "usr/bin/redis-server",
    "redis-tools": "usr/bin/redis-check-rdb",
    "postgresql-15": "usr/lib/postgresql/15/bin/postgres",
    "memcached": "usr/bin/memcached",
    "caddy": "usr/bin/caddy",
    "mariadb-server-core": "usr/sbin/mariadbd",
    "tini": "usr/bin/tini",
}
LIBRARIES = (
    "libc6", "libssl3", "openssl", "ca-certificates", "libgnutls30", "libcurl4", "libpcap0.8", "libpython3.11-stdlib",
    "python3-cryptography", "libreadline8", "tzdata", "libssh2-1", "libpq5",
)  # fmt: skip


def refusing(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.refuses]


@pytest.fixture(scope="module")
def programs() -> dict[str, bytes]:
    return tools.tools()


def test_every_tool_is_found_under_its_own_name(programs: dict[str, bytes]) -> None:
    assert tools.missed(programs, renamed=False) == []


def test_every_shell_is_found_under_another_name_and_so_are_the_other_programs(programs: dict[str, bytes]) -> None:
    assert set(tools.RENAMED) < set(programs)
    renamed = {name: data for name, data in programs.items() if name not in tools.SCRIPTS}
    assert tools.missed(renamed, renamed=True) == []
    for name in tools.RENAMED:
        assert [kind for kind, _ in facts_of(programs[name]).traits] == ["shell"], name


def contents(files: list[File]) -> dict[str, tuple[bytes, int]]:
    """A package's files with the modes that its servers need: what Debian keeps for its own tools is left out."""
    return {file.path: (file.load(), 0o644) for file in files if file.kind == "f"}


@pytest.mark.parametrize(("package", "program"), SERVERS.items())
def test_a_server_as_others_package_it_has_nothing_that_is_refused(package: str, program: str) -> None:
    fetched = tools.fetch([package])[package]
    files = contents(fetched)
    links = {file.path for file in fetched if file.kind == "l"}
    if program in files:
        files[program] = (files[program][0], 0o755)
    else:
        assert program in links, "a link to another package's program"
    with tools.store() as store:
        assert refusing(store.verdict(files, (f"/{program}",))) == []


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_library_has_nothing_that_is_refused(package: str) -> None:
    with tools.store() as store:
        assert refusing(store.verdict(contents(tools.fetch([package])[package]))) == []


@pytest.mark.parametrize("service", ["web", "store"])
def test_the_examples_images_have_no_finding_on_any_side(service: str, tmp_path: Path) -> None:
    image, images = built(service, tmp_path)
    objects = ObjectStore(tmp_path)
    assert Verdicts(tmp_path / "lint", objects).of(image.digest) == []
    assert GUESTBOOK.is_dir()
    # The same as somebody else's: exported, its label lost, imported again.
    tree = images.tree(image.digest)
    files = {entry.path: (objects.read(entry.sha256), entry.mode) for entry in tree.files()}
    config = images.config(image.digest)
    command = config.entrypoint or config.cmd or ("/usr/bin/python3.11",)
    with tools.store() as store:
        assert refusing(store.verdict(files, ("/usr/bin/python3.11",) if "python" in command[0] else command)) == []


def test_a_whole_debian_is_found_out(tmp_path: Path) -> None:
    """As an archive of a base image would be: more kinds than one, and never a crash on any of its files."""
    names = (
        "dash",
        "bash",
        "coreutils",
        "dpkg",
        "apt",
        "perl-base",
        "tar",
        "sed",
        "grep",
        "login",
        "passwd",
        "util-linux",
    )
    files = {}
    for package in tools.fetch(names).values():
        files |= {f.path: (f.load(), 0o755 if "bin/" in f.path else 0o644) for f in package if f.kind == "f"}
    files["var/lib/dpkg/status"] = (b"Package: dash\n", 0o644)
    with tools.store() as store:
        kinds = {finding.kind for finding in store.verdict(files) if finding.refuses}
    assert {"shell", "package-manager", "interpreter", "database"} <= kinds


def test_the_time_it_takes_stays_within_a_second_for_100_mb() -> None:
    assert tools.seconds_per_100_mb()[""] < 2.0, "twice the goal: other tests run beside this one"
