"""PostgreSQL and MariaDB as they are shipped: built by their recipes, their data made by their init images, served under runc.

One agent with a real runtime; its containers have networks of their own, into which the tests' clients reach.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.small import Aside, NoNetwork, SmallCloud
from agent.sql import MariaDb, Postgres, SqlError
from runtime.bench import BINARIES
from skerry.agent.daemon import Agent
from skerry.agent.host import Parts
from skerry.client.trial.network import OwnNetwork
from skerry.core.events import ImageReady
from skerry.core.intent import App, Release, Restart, Service, Update, VolumeMount
from skerry.image.building.build import Built, build
from skerry.image.building.recipe import parse_recipe
from skerry.image.trees import Images
from skerry.net.veth import Attachment
from skerry.runtime import record
from skerry.runtime.cgroups import Cgroups
from skerry.runtime.oci import OciRuntime
from skerry.store.objects import ObjectStore

pytestmark = pytest.mark.real
CACHE = Path(__file__).parents[2] / "build" / "cache"
PG_DATA, MARIA_DATA = "/var/lib/postgresql/data", "/var/lib/mysql"


class Library:
    """Images built by the shipped recipes, in a store of the tests' own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.objects = ObjectStore(home / "store", durable=False)
        self.images = Images(self.objects, home / "trees")

    def build(self, recipe: str, **init: Any) -> Built:
        """`init`: fields of the recipe's own init to change."""
        content = {"recipe": recipe, **({"init": init} if init else {})}
        return build(parse_recipe(content), self.home, objects=self.objects, cache=CACHE, name=recipe)


class OwnNetworks(NoNetwork):
    """Each container has a network of its own; `socket` makes one inside the newest."""

    def __init__(self, subnet: str, folder: Path) -> None:
        super().__init__(subnet)
        self._folder = folder
        self._of: dict[str, OwnNetwork] = {}

    async def attach(self, container_id: str, of: str = "") -> Attachment:
        """Mounted where hosts mount them, too: a path below /proc leads elsewhere in the container's outer pid namespace."""
        attachment = await super().attach(container_id)
        network = self._of[container_id] = OwnNetwork()
        at = self._folder / container_id
        at.touch()
        await asyncio.to_thread(subprocess.run, ["mount", "--bind", network.path, at], check=True)
        return Attachment(netns=str(at), address=attachment.address)

    async def detach(self, container_id: str) -> None:
        if (network := self._of.pop(container_id, None)) is not None:
            await asyncio.to_thread(subprocess.run, ["umount", self._folder / container_id], check=True)
            await asyncio.to_thread(network.close)

    async def remove(self) -> None:
        for container_id in list(self._of):
            await self.detach(container_id)

    def socket(self) -> Any:
        return next(reversed(self._of.values())).socket()


class RealHost(SmallCloud):
    """One agent over runc. `environment`: what its services are given."""

    def __init__(self, directory: Path, library: Library) -> None:
        super().__init__(directory, 1)
        self.library = library
        self.own = Path(tempfile.mkdtemp(prefix="db-", dir="/dev/shm"))
        self.network = OwnNetworks("10.77.1.0/24", Path(tempfile.mkdtemp(dir=self.own)))
        self.environment: dict[str, str] = {}
        self.version = 0

    def runtime(self) -> OciRuntime:
        binaries = msgspec.structs.replace(BINARIES, runtime="runc")
        return OciRuntime(self.own / "c", self.own / "run", self.own / "logs", binaries, f"/{self.own.name}")

    async def start(self, *names: str) -> None:
        async def own(files: object) -> OciRuntime:
            return self.runtime()

        parts = Parts(runtime=own, network=lambda files, node: self.network, address="127.0.0.1",
                      port=self.ports["vps-1"], memory_bytes=1 << 30)  # type: ignore[arg-type, return-value]  # fmt: skip
        agent = self.agents["vps-1"] = Agent(self.files["vps-1"], parts)
        await agent.start()
        agent.containers._environment = lambda app, sealed: self.environment  # type: ignore[assignment]

    def bring(self, *digests: str) -> None:
        agent = self.agents["vps-1"]
        for digest in digests:
            for hash in self.library.images.objects(digest):
                if not agent.objects.has(hash):
                    agent.objects.put(self.library.objects.read(hash))
            agent.images.make(digest)
            agent.loop.post(ImageReady(digest))

    def deploy_db(self, built: Built, service: Service) -> None:
        assert built.init is not None
        self.bring(built.digest, built.init.digest)
        self.version += 1
        heads = {path: head[2] for path, head in self.agents["vps-1"].trusted.heads().items()}
        agreed = msgspec.structs.replace(service, init=True)
        app = App(services={"db": agreed}, volumes={mount.volume: False for mount in service.volumes})
        release = Release(images={"db": built.digest, "db.init": built.init.digest}, fits=self.version)
        for path, body in (("release/db", release), ("app/db", app)):
            raw = self.sign(path, body, self.version, prev=heads.get(path, ""))
            self.agents["vps-1"].door.offer(raw, from_client=True)

    def row(self) -> Any:
        return next((row for row in self.agents["vps-1"].loop.core.rows() if row.slot == "db.db/0"), None)

    def inits(self) -> int:
        return sum(event.kind == "initialising" for event in self.agents["vps-1"].events.tail(500))

    def log(self) -> str:
        """All that its containers said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.own.glob("logs/*/ctr.log")))


class Host:
    """A RealHost beside the test, which talks to it as to a database."""

    def __init__(self, cloud: RealHost, small: Aside) -> None:
        self.cloud, self.small = cloud, small

    def serve(self, built: Built, service: Service, **environment: str) -> None:
        self.cloud.environment = environment
        self.small.look(lambda: self.cloud.deploy_db(built, service))

    def wait(self, what: str, see: Callable[[], bool], timeout_s: float = 60.0) -> None:
        try:
            self.small.wait(what, see, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.small.look(self.cloud.row)}; {self.cloud.log()[-2000:]}") from None

    def connect(self, kind: Callable[..., Any], port: int, user: str, password: str, database: str) -> Any:
        """Once it takes connections. Raises SqlError when it refuses this one."""
        until_s = time.monotonic() + 60
        while True:
            try:
                wire = self.small.look(self.cloud.network.socket)
                wire.connect(("127.0.0.1", port))
                return kind(wire, user, password, database)
            except SqlError as error:
                if not str(error).startswith("57P03"):  # it starts up, or recovers
                    raise
            except (OSError, StopIteration, RuntimeError):
                assert time.monotonic() < until_s, f"it takes no connections: {self.cloud.log()[-2000:]}"
            time.sleep(0.05)

    def postgres(self, user: str = "postgres", password: str = "s3cret", database: str = "postgres") -> Postgres:
        return self.connect(Postgres, 5432, user, password, database)

    def mariadb(self, user: str = "root", password: str = "s3cret", database: str = "") -> MariaDb:
        return self.connect(MariaDb, 3306, user, password, database)

    def pid(self) -> int:
        """Of the newest container's first process."""
        id = self.small.look(lambda: next(reversed(self.cloud.agents["vps-1"].containers.running())))
        found: list[record.Made] = []

        def is_noted() -> bool:  # which it is a moment after it began
            made = record.read(self.cloud.own / "c" / id, record.Made)
            found.extend([made] if made else [])
            return bool(found)

        self.wait("its pid", is_noted, 5.0)
        return found[0].pid


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def postgres(library: Library) -> Built:
    return library.build("postgres")


@pytest.fixture(scope="module")
def mariadb(library: Library) -> Built:
    return library.build("mariadb")


@pytest.fixture
def host(tmp_path: Path, library: Library) -> Iterator[Host]:
    cloud = RealHost(tmp_path, library)
    try:
        with Aside(cloud) as small:
            yield Host(cloud, small)

            async def end() -> None:
                await cloud.agents["vps-1"].runtime.purge()  # type: ignore[attr-defined]
                await cloud.network.remove()

            if "vps-1" in cloud.agents:
                small.run(end())
    finally:
        Cgroups().remove(f"/{cloud.own.name}")
        shutil.rmtree(cloud.own)


def _service(data: str = "", command: tuple[str, ...] = (), **more: Any) -> Service:
    volumes = (VolumeMount(volume="data", target=data),) if data else ()
    fields: dict[str, Any] = {"volumes": volumes, "command": command, "restart": Restart(delay_s=0.1)} | more
    return Service(**fields)


def _is_minimal(library: Library, built: Built, program: str) -> None:
    loader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert sorted(built.executables) == sorted([program, loader])
    assert not library.images.config(built.digest).init
    assert built.init is not None and library.images.config(built.init.digest).init
    assert library.images.config(built.digest).initialised_by == built.init.digest


def _its_first_seconds_are_over(host: Host) -> None:
    """A version that ends sooner counts as one that fails, not as a container to be started again."""
    host.wait("its first seconds to be over", lambda: time.time() - host.cloud.row().since > Update().monitor_s)


def test_postgres_is_made_once_serves_and_keeps_its_data(host: Host, postgres: Built, library: Library) -> None:
    _is_minimal(library, postgres, "usr/lib/postgresql/15/bin/postgres")
    assert postgres.size_bytes <= 78e6
    host.serve(postgres, _service(PG_DATA, ("-c", "max_connections=33")), POSTGRES_PASSWORD="s3cret")
    with host.postgres() as sql:
        sql.run("CREATE TABLE t (n int, words text); INSERT INTO t VALUES (1, 'the rocks are standing in the sea')")
        assert sql.run("SELECT n FROM t WHERE to_tsvector('english', words) @@ to_tsquery('rock & stand')") == [("1",)]
        zone = "SELECT to_char(timestamptz '2026-07-01 12:00+00' AT TIME ZONE 'Europe/Berlin', 'HH24:MI')"
        assert sql.run(zone) == [("14:00",)]
        assert sql.run("SELECT convert_from(convert_to('Fähre', 'LATIN1'), 'LATIN1')") == [("Fähre",)]
        sql.run(
            "DO $$ BEGIN PERFORM 1; END $$; CREATE EXTENSION hstore; CREATE EXTENSION pgcrypto; CREATE EXTENSION citext"
        )
        assert sql.run("SHOW max_connections") == [("33",)]
        assert sql.run("SELECT 'ä' < 'b' COLLATE \"de-x-icu\", 'ä' < 'b' COLLATE \"C\"") == [("t", "f")]
    for user, password in (("postgres", "wrong"), ("nobody", "s3cret")):
        with pytest.raises(SqlError, match="password authentication failed"):
            host.postgres(user, password)

    _its_first_seconds_are_over(host)
    os.kill(host.pid(), signal.SIGKILL)
    host.wait("it is started again", lambda: host.cloud.row().restarts == 1 and host.cloud.row().state == "running")
    host.small.run(host.cloud.stop("vps-1"))
    host.small.run(host.cloud.start())
    host.wait("adopted", lambda: host.cloud.row() is not None and host.cloud.row().state == "running")
    with host.postgres() as sql:
        assert sql.run("SELECT count(*) FROM t") == [("1",)]
    assert host.small.look(host.cloud.inits) == 1


def test_postgres_takes_the_variables_of_the_official_image(host: Host, library: Library) -> None:
    (library.home / "sql").mkdir()
    (library.home / "sql" / "1.sql").write_text(
        "CREATE TABLE made (by text);\nINSERT INTO made VALUES (current_user);\n"
    )
    built = library.build("postgres", files={"/docker-entrypoint-initdb.d": "sql"})
    secrets = host.cloud.files["vps-1"].volumes / "db" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "password").write_text("from 'a' \"file\"\n")
    mounts = (VolumeMount(volume="data", target="/data"), VolumeMount(volume="secrets", target="/s", read_only=True))
    host.serve(
        built, _service(volumes=mounts), POSTGRES_USER="ann hara", POSTGRES_DB="the shop", POSTGRES_PASSWORD_FILE="/s/password",
        POSTGRES_INITDB_ARGS="--data-checksums --locale=C", PGDATA="/data/pg",
    )  # fmt: skip
    with host.postgres("ann hara", "from 'a' \"file\"", "the shop") as sql:
        assert sql.run("SELECT by FROM made; SHOW data_checksums; SHOW lc_collate") == [
            ("ann hara",),
            ("on",),
            ("C",),
        ]
        assert sql.run("SHOW password_encryption") == [("scram-sha-256",)]


def test_postgres_without_a_password_is_refused_unless_everybody_is_trusted(host: Host, postgres: Built) -> None:
    host.serve(postgres, _service(PG_DATA))
    host.wait(
        "it says why",
        lambda: "no password: set POSTGRES_PASSWORD" in (host.cloud.row().why if host.cloud.row() else ""),
    )
    host.serve(postgres, _service(writable=(PG_DATA,)), POSTGRES_HOST_AUTH_METHOD="trust")
    with host.postgres(password="whatever") as sql:
        assert sql.run("SELECT 1") == [("1",)]
    first = host.small.look(host.cloud.inits)
    os.kill(host.pid(), signal.SIGKILL)
    host.wait("made anew without a volume", lambda: host.cloud.inits() == first + 1)
    with host.postgres(password="") as sql:
        assert sql.run("SELECT 1") == [("1",)]


def test_an_init_that_is_killed_half_way_is_run_again_from_the_start(host: Host, postgres: Built) -> None:
    data = host.cloud.files["vps-1"].volumes / "db" / "data"
    making = data.with_name(".data.making.db-0")
    host.serve(postgres, _service(PG_DATA), POSTGRES_PASSWORD="s3cret")
    host.wait("half made", lambda: (making / "base").is_dir() and not (making / "base" / "5").exists())
    os.kill(host.pid(), signal.SIGKILL)
    host.wait("run again", lambda: host.cloud.inits() >= 2)
    host.wait("half made again", lambda: (making / "global").is_dir())
    assert not list(data.iterdir())
    host.small.run(host.cloud.stop("vps-1"))  # in the midst of it
    assert not list(data.iterdir())
    host.small.run(host.cloud.start())
    with host.postgres() as sql:
        assert sql.run("SELECT count(*) > 0 FROM pg_class") == [("t",)]
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_mariadb_is_made_once_serves_and_keeps_its_data(host: Host, mariadb: Built, library: Library) -> None:
    _is_minimal(library, mariadb, "usr/sbin/mariadbd")
    assert mariadb.size_bytes <= 46e6
    host.serve(
        mariadb, _service(MARIA_DATA, ("--max-connections=33",)), MARIADB_ROOT_PASSWORD="s3'cr\\et", MARIADB_DATABASE="the_shop",
        MARIADB_USER="ann", MARIADB_PASSWORD="o'hara",
    )  # fmt: skip
    with host.mariadb("ann", "o'hara", "the_shop") as sql:
        sql.run("CREATE TABLE t (n int, words text, FULLTEXT (words)) ENGINE=InnoDB")
        sql.run("INSERT INTO t VALUES (1, 'the rocks are standing in the sea'), (2, 'nothing'), (3, 'more of it')")
        assert sql.run("SELECT n FROM t WHERE MATCH (words) AGAINST ('rocks')") == [("1",)]
        zone = "SELECT CONVERT_TZ('2026-07-01 12:00:00', 'UTC', 'Europe/Berlin')"
        assert sql.run(zone) == [("2026-07-01 14:00:00",)]
        assert sql.run("SELECT UPPER('fähre'); SELECT @@max_connections") == [("FÄHRE",), ("33",)]
        with pytest.raises(SqlError, match="denied"):
            sql.run("CREATE DATABASE theXshop")
    with host.mariadb("root", "s3'cr\\et") as sql:
        users = {(user, host) for user, host in sql.run("SELECT user, host FROM mysql.user")}
        assert users == {("root", "localhost"), ("root", "%"), ("ann", "%"), ("mariadb.sys", "localhost")}
    for user, password in (("root", ""), ("root", "wrong"), ("ann", ""), ("", "")):
        with pytest.raises(SqlError, match="Access denied"):
            host.mariadb(user, password)

    _its_first_seconds_are_over(host)
    os.kill(host.pid(), signal.SIGKILL)
    host.wait("it is started again", lambda: host.cloud.row().restarts == 1 and host.cloud.row().state == "running")
    with host.mariadb("ann", "o'hara", "the_shop") as sql:
        assert sql.run("SELECT count(*) FROM t") == [("3",)]
    assert host.small.look(host.cloud.inits) == 1


def test_mariadb_takes_the_variables_of_the_official_image(host: Host, library: Library) -> None:
    (library.home / "more").mkdir()
    (library.home / "more" / "1.sql").write_text(
        "DELIMITER //\nCREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END//\nDELIMITER ;\nCREATE TABLE made (n int);\n"
    )
    built = library.build("mariadb", files={"/docker-entrypoint-initdb.d": "more"})
    host.serve(built, _service(MARIA_DATA), MYSQL_RANDOM_ROOT_PASSWORD="yes", MYSQL_DATABASE="a`b")
    host.wait("it runs", lambda: host.cloud.row() is not None and host.cloud.row().state == "running")
    said = next(line for line in host.cloud.log().splitlines() if "the password of root is" in line)
    with host.mariadb("root", said.rsplit(" ", 1)[1], "a`b") as sql:
        assert sql.run("CALL two(); SHOW TABLES") == [("1",), ("2",), ("made",)]


def test_mariadb_without_a_password_is_refused_unless_an_empty_one_is_asked_for(host: Host, mariadb: Built) -> None:
    host.serve(mariadb, _service(MARIA_DATA))
    host.wait("it says why", lambda: "set MARIADB_ROOT_PASSWORD" in (host.cloud.row().why if host.cloud.row() else ""))
    host.serve(mariadb, _service(MARIA_DATA), MARIADB_ALLOW_EMPTY_ROOT_PASSWORD="1", MARIADB_INITDB_SKIP_TZINFO="1")
    with host.mariadb(password="") as sql:
        assert sql.run("SELECT CONVERT_TZ('2026-07-01 12:00:00', 'UTC', 'Europe/Berlin')") == [(None,)]
