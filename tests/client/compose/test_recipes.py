"""Services of shipped recipes: their command, what they need, how they are asked for their health."""

from __future__ import annotations

import pytest

from skerry.client.compose import ComposeErrors, parse
from skerry.core.intent import (
    Probe,
)


@pytest.mark.parametrize(
    ("command", "arrives"),
    [
        ("redis-server --appendonly yes", ("--appendonly", "yes")),
        ("[/usr/bin/redis-server, --port, '1']", ("--port", "1")),
        ("[--port, '1']", ("--port", "1")),
        ("", ()),
    ],
)
def test_a_command_for_an_official_image_is_one_for_its_shipped_recipe(command: str, arrives: tuple[str, ...]) -> None:
    line = f", command: {command}" if command else ""
    text = f"services: {{db: {{x-skerry: {{image: {{recipe: redis}}}}, tmpfs: [/data]{line}}}}}"
    service = parse(text, environ={}, name="shop").services["db"].service
    assert service.command == arrives
    assert service.probe is not None and (service.probe.kind, service.probe.port) == ("tcp", 6379)


POSTGRES = "x-skerry: {image: {recipe: postgres}}"


ON_VOLUME = "volumes: [data:/var/lib/postgresql/data]"


@pytest.mark.parametrize(
    ("service", "says"),
    [
        (f"{{{POSTGRES}, {ON_VOLUME}}}", "services.db: recipe postgres needs one of POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE or "
         "POSTGRES_HOST_AUTH_METHOD=trust to be set (write environment: {POSTGRES_PASSWORD: ...})"),
        (f"{{{POSTGRES}, {ON_VOLUME}, environment: {{POSTGRES_PASSWORD: ''}}}}", "services.db.environment: recipe postgres needs"),
        (f"{{{POSTGRES}, {ON_VOLUME}, environment: {{POSTGRES_HOST_AUTH_METHOD: md5}}}}", "recipe postgres needs"),
        (f"{{{POSTGRES}, environment: {{POSTGRES_PASSWORD: x}}}}",
         "there is no place for its data, /var/lib/postgresql/data (write volumes: [data:/var/lib/postgresql/data]"),
        (f"{{{POSTGRES}, {ON_VOLUME}, environment: {{POSTGRES_PASSWORD: x, PGDATA: /srv/pg}}}}",
         "services.db.volumes: there is no place for its data, /srv/pg"),
        (f"{{{POSTGRES}, volumes: ['data:/var/lib/postgresql/data:ro'], environment: {{POSTGRES_PASSWORD: x}}}}",
         "no place for its data"),
        ("{x-skerry: {image: {recipe: mariadb}}, volumes: [data:/var/lib/mysql], environment: {MYSQL_DATABASE: shop}}",
         "needs one of MARIADB_ROOT_PASSWORD or MARIADB_RANDOM_ROOT_PASSWORD or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD to be set"),
        (f"{{{POSTGRES}, volumes: ['data:/var/lib/postgresql/data', './sql:/docker-entrypoint-initdb.d:ro'], "
         "environment: {POSTGRES_PASSWORD: x}}", "write x-skerry: image: {init: {files: {/docker-entrypoint-initdb.d: ./sql}}}"),
    ],
)  # fmt: skip
def test_what_a_recipe_needs_of_its_service_is_said_before_anything_is_signed(service: str, says: str) -> None:
    with pytest.raises(ComposeErrors) as caught:
        parse(f"{{services: {{db: {service}}}, volumes: {{data: }}}}", environ={}, name="shop")
    assert says in caught.value.why


@pytest.mark.parametrize(
    ("service", "probe"),
    [
        (f"{{{POSTGRES}, {ON_VOLUME}, environment: {{POSTGRES_PASSWORD: x}}}}", Probe(kind="postgres", port=5432)),
        (f"{{{POSTGRES}, volumes: ['data:/var'], environment: {{POSTGRES_HOST_AUTH_METHOD: trust, PGDATA: /var/lib/pg}}}}",
         Probe(kind="postgres", port=5432)),
        (f"{{{POSTGRES}, tmpfs: /var/lib/postgresql/data, environment: {{POSTGRES_PASSWORD_FILE: /s/p}}, "
         "healthcheck: {disable: true}}", None),
        ("{x-skerry: {image: {recipe: mariadb}}, volumes: [data:/var/lib/mysql], environment: {MYSQL_ALLOW_EMPTY_PASSWORD: 1}, "
         "healthcheck: {test: [CMD, mysqladmin, ping], interval: 9s}}", Probe(kind="mysql", port=3306, interval_s=9.0)),
    ],
)  # fmt: skip
def test_a_shipped_database_is_asked_for_its_health_in_its_own_words(service: str, probe: Probe | None) -> None:
    app = parse(f"{{services: {{db: {service}}}, volumes: {{data: }}}}", environ={}, name="shop")
    assert app.services["db"].service.probe == probe
