"""A compose file with PostgreSQL and MariaDB, as people bring it from elsewhere: healthy, asked on every host, and still there."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.sql import MariaDb, Postgres, SqlError
from e2e.conftest import Cloud

pytestmark = pytest.mark.e2e

COMPOSE = """\
name: shop
services:
  pg:
    x-skerry: {image: {recipe: postgres, init: {files: {/docker-entrypoint-initdb.d: sql}}}}
    command: postgres -c max_connections=40
    environment: {POSTGRES_PASSWORD: s3cret, POSTGRES_DB: shop}
    volumes: ["pg:/var/lib/postgresql/data"]
    ports: ["15432:5432"]
    stop_grace_period: 5s
  maria:
    x-skerry: {image: {recipe: mariadb}}
    command: --max-connections=40
    environment: {MARIADB_ROOT_PASSWORD: s3cret, MARIADB_DATABASE: shop, MARIADB_USER: ann, MARIADB_PASSWORD: hara}
    volumes: ["maria:/var/lib/mysql"]
    ports: ["13306:3306"]
    healthcheck: {test: [CMD, healthcheck.sh, --connect], interval: 2s}
volumes: {pg: , maria: }
"""
PORTS = {Postgres: 15432, MariaDb: 13306}


@pytest.fixture
def shop(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "1.sql").write_text("CREATE TABLE t (n int);\nINSERT INTO t VALUES (1);\n")
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    try:
        yield file
    finally:
        if cloud.ps("shop"):
            cloud.skerry.run("rm", "shop")
            for volume in cloud.skerry.json("volume", "ls"):
                if volume["app"] == "shop":
                    cloud.skerry.run("volume", "rm", volume["node"], "shop", volume["volume"], "--yes")


def connect(kind: Any, cloud: Cloud, host: str, user: str, password: str) -> Any:
    address = next(machine.address for machine in cloud.machines() if machine.name == host)
    return kind(socket.create_connection((address, PORTS[kind]), 5), user, password, "shop")


def well(cloud: Cloud) -> bool:
    rows = cloud.ps("shop")
    return len(rows) == 2 and all(row["healthy"] for row in rows)


def test_two_databases_are_made_serve_everywhere_and_survive_their_hosts(cloud: Cloud, shop: Path) -> None:
    text = shop.read_text()
    shop.write_text(text.replace("POSTGRES_PASSWORD: s3cret, ", ""))
    code, error = cloud.skerry.refused("deploy", str(shop))
    assert code == 2 and "write environment: {POSTGRES_PASSWORD: ...}" in str(error)
    shop.write_text(text)

    begun_s = time.time()
    cloud.skerry.run("deploy", str(shop), "--timeout", "120")
    print(f"deployed in {time.time() - begun_s:.1f} s")
    assert well(cloud), "healthy by their probes"
    made = {event["subject"]: event["node"] for event in cloud.events("initialising", begun_s)}
    assert sorted(made) == ["shop.maria/0", "shop.pg/0"]

    for host in cloud.names():
        with connect(Postgres, cloud, host, "postgres", "s3cret") as sql:
            sql.run("INSERT INTO t SELECT max(n) + 1 FROM t")
            assert sql.run("SHOW max_connections") == [("40",)]
        with pytest.raises(SqlError, match="28P01 password authentication failed"):
            connect(Postgres, cloud, host, "postgres", "wrong")
        with connect(MariaDb, cloud, host, "ann", "hara") as sql:
            sql.run("CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)")
        with pytest.raises(SqlError, match="Access denied"):
            connect(MariaDb, cloud, host, "ann", "wrong")
    log = cloud.skerry.run("logs", "shop.pg/0", "--tail", "500", quiet=True)
    assert "/docker-entrypoint-initdb.d/1.sql" in log, "what an init said is in its slot's logs"

    rebooted_s = time.time()
    for host in {str(row["node"]) for row in cloud.ps("shop")}:
        cloud.lab.kill(host)
        cloud.lab.boot(host)
    cloud.skerry.wait("both are started again", lambda: len(cloud.events("started", rebooted_s)) >= 2, 60)
    cloud.skerry.wait("both are well again", lambda: well(cloud), 60)
    print(f"well {time.time() - rebooted_s:.1f} s after the power cut")
    host = cloud.names()[0]
    # A host that has just booted leads its ports to them once it has heard of it, too.
    with cloud.skerry.wait(
        "the port on this host", lambda: connect(Postgres, cloud, host, "postgres", "s3cret"), 20
    ) as sql:
        assert sql.run("SELECT count(*) FROM t") == [(str(1 + len(cloud.names())),)]
    with cloud.skerry.wait("the port on this host", lambda: connect(MariaDb, cloud, host, "ann", "hara"), 20) as sql:
        assert sql.run("SELECT count(*) FROM t") == [(str(len(cloud.names())),)]
    assert not cloud.events("initialising", rebooted_s), "data is made once in its life"
