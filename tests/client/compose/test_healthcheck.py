"""Which healthchecks are understood, and as what."""

from __future__ import annotations

import pytest

from skerry.client.compose.healthcheck import Asked, NotUnderstood, translate

UNDERSTOOD = [
    ("curl -f http://localhost:8000/health", Asked("http", 8000, "/health")),
    ("curl -fsS http://localhost:8000/health || exit 1", Asked("http", 8000, "/health")),
    ("curl --fail --silent localhost/ > /dev/null 2>&1 || exit 1", Asked("http", 80, "/")),
    (
        "curl -sf -o /dev/null -m 5 'http://127.0.0.1:9200/_cluster/health?wait=1' || false",
        Asked("http", 9200, "/_cluster/health?wait=1"),
    ),
    ("/usr/bin/curl -f http://[::1]:80", Asked("http", 80, "/")),
    ("curl -f http://web:8000/", Asked("http", 8000, "/")),
    ("wget --no-verbose --tries=1 --spider http://localhost:3000/ping || exit 1", Asked("http", 3000, "/ping")),
    ("wget -qO- http://127.0.0.1:80/ || exit 1", Asked("http", 80, "/")),
    ("wget -q -O /dev/null -T 5 localhost:8080", Asked("http", 8080, "/")),
    ("pg_isready", Asked("postgres", 5432)),
    ("pg_isready -U ${POSTGRES_USER} -d app", Asked("postgres", 5432)),
    ("pg_isready -h localhost -p 5433 -q", Asked("postgres", 5433)),
    ("mysqladmin ping -h localhost -uroot -psecret", Asked("mysql", 3306)),
    ("mysqladmin ping -h127.0.0.1 -P 3307 --silent", Asked("mysql", 3307)),
    ("mariadb-admin ping", Asked("mysql", 3306)),
    ("healthcheck.sh --connect --innodb_initialized", Asked("mysql", 3306)),
    ("redis-cli ping", Asked("redis", 6379)),
    ("redis-cli --raw -p 6380 PING | grep PONG", Asked("redis", 6380)),
    ("redis-cli -a secret --no-auth-warning ping || exit 1", Asked("redis", 6379)),
    ("nc -z localhost 5672", Asked("tcp", 5672)),
    ("nc -zv -w 2 127.0.0.1 25 || exit 1", Asked("tcp", 25)),
    ('sh -c "curl -f http://localhost/ || exit 1"', Asked("http", 80, "/")),
]
NOT_UNDERSTOOD = [
    "python -c 'import urllib'",
    "test -f /tmp/ready",
    "curl -f https://localhost/",
    "curl -f http://example.com/",
    "curl -f http://user:secret@localhost/",
    "curl -X POST http://localhost/",
    "curl -H 'Host: x' http://localhost/",
    "curl http://localhost/ | grep ok",
    "curl http://localhost/a && curl http://localhost/b",
    "curl http://localhost/ http://localhost/b",
    "curl $(cat /url)",
    "curl",
    "redis-cli info",
    "redis-cli -h other ping",
    "mysqladmin status",
    "healthcheck.sh",
    "pg_isready -p $$PORT",
    "nc localhost 80",
    "nc -z other 80",
    "curl 'http://localhost",
    "",
]


@pytest.mark.parametrize(("test", "asked"), UNDERSTOOD, ids=[test for test, _ in UNDERSTOOD])
def test_the_usual_ones_are_understood(test: str, asked: Asked) -> None:
    assert translate(test, frozenset({"web"})) == asked
    assert translate(["CMD-SHELL", test], frozenset({"web"})) == asked


@pytest.mark.parametrize("test", NOT_UNDERSTOOD)
def test_what_is_not_understood_whole_says_what_to_write(test: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        translate(test, frozenset({"web"}))
    assert "x-skerry: probe:" in raised.value.fix


def test_lists_and_none() -> None:
    assert translate(["CMD", "curl", "-f", "http://localhost:1/"], frozenset()) == Asked("http", 1, "/")
    assert translate(["NONE"], frozenset()) is None
    with pytest.raises(NotUnderstood):
        translate(["curl", "http://localhost/"], frozenset())
    with pytest.raises(NotUnderstood):
        translate([], frozenset())
