"""What a good file becomes, whole; and that every key of the table does what the table says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.client.compose import ComposeApp, ComposeErrors, ImageRef, load, parse
from skerry.client.compose import table as tables
from skerry.client.compose.load import NoComposeFile
from skerry.client.compose.schedule import offsets
from skerry.core.intent import (
    App,
    Depends,
    Needs,
    Port,
    Probe,
    Restart,
    Schedule,
    Service,
    Update,
    VolumeMount,
)

OFFSETS: dict[str, tuple[tuple[float, int], ...]] = {}  # of zones, made once

GUESTBOOK = Path(__file__).parents[3] / "examples" / "guestbook"

EVERYTHING = """
name: shop
x-common: &common {stop_signal: INT}
services:
  web:
    <<: *common
    image: shop-web
    command: serve --name 'two words'
    entrypoint: [/usr/bin/python3, -m, shop]
    user: 1000:1000
    working_dir: /srv//app/
    hostname: front
    container_name: Old-Name
    environment: {DB: "db:${DB_PORT:-5432}", PRICE: 1.10, FLAG: true, HOME: , COST: "5$$"}
    ports:
      - 8000:80
      - 9000-9001:90-91/udp
      - {target: 443, published: "8443", protocol: tcp, mode: ingress}
    expose: ["81", 82/tcp]
    volumes:
      - {type: tmpfs, target: /run}
      - uploads:/up:ro
    tmpfs: /tmp
    read_only: true
    cap_add: [net_bind_service]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    privileged: false
    healthcheck: {test: wget -qO- http://127.0.0.1/ok || exit 1, interval: 1m30s, timeout: 500ms, retries: 2, start_period: 0s}
    stop_grace_period: 1m
    networks: {default: {aliases: [shop]}}
    depends_on: {db: {condition: service_healthy}}
    deploy:
      mode: replicated
      replicas: 1
      update_config: {parallelism: 0, delay: 2s, order: start-first, monitor: 3s, failure_action: pause}
      restart_policy: {condition: on-failure, delay: 1s, max_attempts: 4, window: 2m}
      resources:
        limits: {cpus: "1.5", memory: 1g, pids: 64}
        reservations: {cpus: 0.25, memory: 256m}
      placement: {constraints: [node.labels.disk == ssd, node.hostname != vps-3]}
    x-skerry: {writable: [/var/cache], drain: 1s, allow: {shell: needed by the old report}}
  db:
    image: sha256:0000000000000000000000000000000000000000000000000000000000000000
    restart: "no"
    healthcheck: {test: [CMD, pg_isready, -U, shop]}
volumes:
  uploads: {x-skerry: {disposable: true}}
"""


def compose(text: str, **environ: str) -> ComposeApp:
    return parse(text, environ=environ, name="app")


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(ComposeErrors) as raised:
        compose(text, **environ)
    return [str(mistake) for mistake in raised.value.mistakes]


def service(body: str) -> Service:
    return (
        compose(f"services: {{web: {{image: x, {body}}}, db: {{image: x}}}}\nvolumes: {{data: }}")
        .services["web"]
        .service
    )


def wrong(body: str) -> str:
    return "\n".join(mistakes(f"services: {{web: {{image: x, {body}}}, db: {{image: x}}}}\nvolumes: {{data: }}"))


def test_everything_that_is_honoured_arrives() -> None:
    app = parse(EVERYTHING, environ={"HOME": "/root"})
    assert app.name == "shop"
    assert app.warnings == ()
    assert app.services["web"].image == ImageRef("shop-web")
    assert app.services["web"].environment == {
        "DB": "db:5432",
        "PRICE": "1.10",
        "FLAG": "true",
        "HOME": "/root",
        "COST": "5$",
    }
    assert app.app() == App(
        services={
            "web": Service(
                replicas=1,
                command=("serve", "--name", "two words"),
                entrypoint=("/usr/bin/python3", "-m", "shop"),
                user="1000:1000",
                working_dir="/srv/app",
                hostname="front",
                ports=(
                    Port(target=80, published=8000),
                    Port(target=90, published=9000, protocol="udp"),
                    Port(target=91, published=9001, protocol="udp"),
                    Port(target=443, published=8443),
                ),
                expose=(81, 82),
                volumes=(VolumeMount(volume="uploads", target="/up", read_only=True),),
                writable=("/run", "/tmp", "/var/cache"),
                capabilities=("CAP_NET_BIND_SERVICE",),
                probe=Probe(
                    kind="http", port=80, path="/ok", interval_s=90, timeout_s=0.5, retries=2, start_period_s=0
                ),
                needs=Needs(
                    reserve_memory_bytes=256 << 20,
                    reserve_cpus=0.25,
                    memory_limit_bytes=1 << 30,
                    cpus_limit=1.5,
                    pids_limit=64,
                ),
                restart=Restart(condition="on-failure", delay_s=1, max_attempts=4, window_s=120),
                update=Update(parallelism=1, delay_s=2, monitor_s=3, order="start-first", failure_action="pause"),
                constraints=("label.disk==ssd", "node!=vps-3"),
                depends_on=(Depends(service="db", condition="healthy"),),
                aliases=("old-name", "shop"),
                stop_signal="SIGINT",
                stop_grace_s=60,
                drain_s=1,
                allow={"shell": "needed by the old report"},
            ),
            "db": Service(restart=Restart(condition="none"), probe=Probe(kind="postgres", port=5432)),
        },
        volumes={"uploads": True},
    )


def test_the_example_of_the_demo_is_good() -> None:
    app = load(GUESTBOOK, environ={})
    assert {name: plan.service.replicas for name, plan in app.services.items()} == {"web": 3, "store": 1}
    assert app.warnings == ()


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = "services:\n  web:\n    image: x\n    prots: [1]\n    privileged: true\n    ports: [80]\n  db: {}\n"
    assert mistakes(text) == [
        "line 4: services.web.prots: unknown key (did you mean `ports`?)",
        "line 5: services.web.privileged: it would reach from the container into its host (name what it needs in `cap_add`)",
        "line 6: services.web.ports[0]: '80' has no published port: a free one would be another on each host; "
        "write 80:80, or `expose` if only the app itself needs it",
        "line 7: services.db: names no image (add image: NAME, or x-skerry: image: with a recipe)",
    ]


REFUSED = [
    (path, key) for path, table in tables.TABLES.items() for key, entry in table.items() if entry.use == "refused"
]
PLACES = {
    "": "{{services: {{web: {{image: x}}}}, {key}: 1}}",
    "services.NAME": "{{services: {{web: {{image: x, {key}: 1}}}}}}",
    "services.NAME.ports[]": "{{services: {{web: {{image: x, ports: [{{target: 1, published: 1, {key}: 1}}]}}}}}}",
    "services.NAME.volumes[]": "{{services: {{web: {{image: x, volumes: [{{type: volume, {key}: 1}}]}}}}}}",
    "services.NAME.env_file[]": "{{services: {{web: {{image: x, env_file: [{{path: a, {key}: 1}}]}}}}}}",
    "services.NAME.depends_on.NAME": "{{services: {{web: {{image: x, depends_on: {{db: {{{key}: 1}}}}}}, db: {{image: x}}}}}}",
    "services.NAME.networks.NAME": "{{services: {{web: {{image: x, networks: {{default: {{{key}: 1}}}}}}}}}}",
    "volumes.NAME": "{{services: {{web: {{image: x}}}}, volumes: {{data: {{{key}: 1}}}}}}",
    "networks.NAME": "{{services: {{web: {{image: x}}}}, networks: {{net: {{{key}: 1}}}}}}",
}


@pytest.mark.parametrize(("path", "key"), REFUSED, ids=lambda part: part or "top")
def test_every_refused_key_is_refused_by_name_with_a_cure(path: str, key: str) -> None:
    pattern = PLACES.get(path)
    if pattern is None:  # a mapping inside a service: services.NAME.deploy.placement
        inner = path.removeprefix("services.NAME.").split(".")
        pattern = "{{services: {{web: {{image: x, " + ": {{".join(inner) + ": {{{key}: 1" + "}}" * (len(inner) + 3)
    entry = tables.TABLES[path][key]
    found = mistakes(pattern.format(key=key))
    assert any(f"{key}: {entry.words} ({entry.fix})" in line and line.startswith("line 1: ") for line in found), found


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("volumes: [./code:/code]", "mounts a folder of the host"),
        ("volumes: [/etc:/etc]", "mounts a folder of the host"),
        ("volumes: [{type: bind, source: /a, target: /b}]", "mounts a folder of the host"),
        ("volumes: [other:/x]", "volume 'other' is not declared"),
        ("volumes: [/data]", "a volume without a name"),
        ("volumes: [data:/x, data:/x]", "mounted twice"),
        ("volumes: [data:x/../y]", "not an absolute path"),
        ("volumes: [data:/]", "can't be mounted over"),
        ("ports: ['127.0.0.1:80:80']", "open on every host"),
        ("ports: ['70000:80']", "not within 1 to 65535"),
        ("ports: ['80-82:80-81']", "differ in length"),
        ("ports: ['7077:80']", "hosts talk on it"),
        ("ports: ['22:22']", "lock everybody out"),
        ("ports: ['80:80', '80:81']", "published twice"),
        ("ports: [{target: 80, published: 80, mode: host}]", "open on every host"),
        ("deploy: {replicas: 2}, container_name: one", "can't share one container name"),
        ("deploy: {replicas: -1}", "whole number from 0 to 1000"),
        ("deploy: {mode: global}", "not supported yet"),
        ("deploy: {resources: {limits: {memory: 10m}, reservations: {memory: 20m}}}", "more memory than its limit"),
        ("deploy: {placement: {constraints: [node.role == manager]}}", "node.role is not known of a host"),
        ("depends_on: [nobody]", "no service 'nobody'"),
        ("depends_on: {db: {condition: service_completed_successfully}}", "is started again whenever it ends"),
        ("depends_on: {db: {condition: service_healthy}}", "which has no probe"),
        ("depends_on: [web]", "can't wait for itself"),
        ("read_only: false", "always read-only"),
        ("cap_add: [ALL]", "would undo the isolation"),
        ("cap_add: [NET_FLY]", "not a capability"),
        ("stop_signal: SIGFOO", "not a signal"),
        ("stop_grace_period: 5 minutes", "not a duration"),
        ('command: "a \'b"', "can't be split"),
        ("entrypoint: []", "is empty"),
        ("tmpfs: ['/run:size=1m']", "options such as"),
        ("environment: [NOT_SET]", "NOT_SET is not set"),
        ("environment: {A: '${NOT_SET}'}", "variable NOT_SET is not set"),
        ("environment: {A: '${NOT_SET:?tell me}'}", "is required: tell me"),
        ("environment: {A: '$'}", "stands alone"),
        ("env_file: [missing.env]", "can't be read"),
        ("networks: [back]", "network 'back' is not declared"),
        ("security_opt: [seccomp:unconfined]", "is not supported"),
        ("restart: sometimes", "is not one of"),
        ("healthcheck: {test: [CMD, python, check.py]}", "x-skerry: probe"),
        ("healthcheck: {interval: 5s}", "has no `test`"),
        ("x-skerry: {probe: {http: /x}}", "does not say which port"),
        ("x-skerry: {probe: {tcp: 1, redis: 2}}", "exactly one thing"),
        ("x-skerry: {allow: [shell]}", "each kind needs its reason (write allow: {shell: why it is needed})"),
        ("x-skerry: {allow: {shell: }}", "has no reason"),
        ("x-skerry: {allow: {shell: ''}}", "has no reason"),
        ("x-skerry: {allow: {shells: because}}", "is no kind of what the lint finds (known: shell,"),
        ("x-skerry: {allow: {undeclared: because}}", "is no kind of what the lint finds"),
        ("x-skerry: {allow: {shell: [a]}}", "should be a text"),
        ('x-skerry: {allow: {shell: "two\\nlines"}}', "one line of at most 200 characters"),
        ("x-skerry: {image: {recipe: cobol}}", "there is no recipe 'cobol'"),
        ("x-skerry: {scale: {min: 1}}", "services.web.x-skerry.scale: has no max (write scale: {min: 1, max: 5,"),
        ("x-skerry: {scale: {min: 3, max: 2, target: {cpu: 60%}}}", "scale.max: is less than min"),
        ("x-skerry: {scale: {max: 0, target: {cpu: 60%}}}", "scale.max: is less than one"),
        ("x-skerry: {scale: {max: 3}}", "has no target (write target: {cpu: 60%}, or {connections: 50})"),
        ("x-skerry: {scale: {max: 3, target: {}}}", "names neither cpu nor connections"),
        (
            "x-skerry: {scale: {max: 3, target: {cpu: 0.6}}}",
            "'0.6' is no share of what a replica may use: write it as 60%",
        ),
        ("x-skerry: {scale: {max: 3, target: {cpu: 120%}}}", "from 1% to 100%"),
        (
            "x-skerry: {scale: {max: 3, target: {requests: 9}}}",
            "scale.target.requests: unknown key (known here: cpu, conn",
        ),
        (
            "x-skerry: {scale: {max: 3, target: {connections: 9}}}",
            "there is no port on which connections could be counted",
        ),
        ("x-skerry: {scale: {max: 3, target: {cpu: 60%}, step: 2h}}", "scale.step: should be 1s to 3600s"),
        (
            "x-skerry: {scale: {max: 3, target: {cpu: 60%}, step: 2s, down: 30m}}",
            "0s to 120s: figures of 60 steps are kept",
        ),
        ("x-skerry: {scale: {min: 0, max: 3, target: {cpu: 60%}}}", "min 0 needs a TCP port"),
        (
            "ports: ['53:53', '53:53/udp'], x-skerry: {scale: {min: 0, max: 1}}",
            "UDP port 53 doesn't go with min 0",
        ),
        ("x-skerry: {scale: {max: 3, target: {cpu: 60%}, schedule: [daily 8-20: min 0]}}", "min 0 needs a TCP port"),
        (
            "x-skerry: {scale: {max: 3, target: {cpu: 60%}}}, deploy: {replicas: 5}",
            "services.web.deploy.replicas: 5 is not within the 1 to 3 of x-skerry: scale (with scale it is how many there are at",
        ),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}}}, volumes: ['data:/x']",
            "volume data is not disposable, so max can",
        ),
        (
            "x-skerry: {scale: {max: 1, target: {cpu: 60%}, schedule: [daily 8-20: max 2]}}, volumes: ['data:/x']",
            "not disposable",
        ),
        ("x-skerry: {scale: {max: 2, target: {cpu: 60%}}}, restart: on-failure", "a job ends by itself"),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}}}, container_name: w",
            "2 replicas can't share one container name",
        ),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [nights: min 1]}}",
            "'nights' is no time: write it as weekd",
        ),
        ("x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [daily 8-20]}}", "has no bounds"),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [someday 8-20: min 2]}}",
            "'someday' is no day: write",
        ),
        ("x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [daily 8-25: min 2]}}", "'25' is no time of day"),
        ("x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [daily 8-8: min 2]}}", "a whole day is 0-24"),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [daily 8-20: many]}}",
            "'many' does not say how many",
        ),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: ['daily 8-20: min 2, max 1']}}",
            "min 2 is more than max 1",
        ),
        (
            "x-skerry: {scale: {max: 2, target: {cpu: 60%}, schedule: [daily 8-20 Europe/Berlln: min 2]}}",
            "'Europe/Berlln' is no time zone: did you mean Europe/Berlin?",
        ),
        ("user: a b c", "not a user"),
        ("hostname: -x-", "not a host name"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(body: str, says: str) -> None:
    assert says in wrong(body)


def test_services_that_wait_in_a_ring_are_refused() -> None:
    text = "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}"
    assert "services wait for each other: a -> b -> a" in mistakes(text)[0]


def test_two_services_can_not_share_a_volume_a_port_or_a_name() -> None:
    text = (
        "services:\n  a: {image: x, ports: ['1:1'], volumes: [d:/d], container_name: n}\n"
        "  b: {image: x, ports: ['1:1'], volumes: [d:/d], container_name: n}\nvolumes: {d: }\n"
    )
    found = "\n".join(mistakes(text))
    assert "port 1/tcp is published by a already" in found
    assert "volume d belongs to a" in found
    assert "the name n belongs to a already" in found


def test_keys_without_effect_are_told_as_warnings() -> None:
    app = compose("version: '3'\nservices: {web: {image: x, labels: {a: b}}}")
    assert [(warning.line, warning.key) for warning in app.warnings] == [(1, "version"), (2, "services.web.labels")]


def test_a_memory_limit_is_reserved_unless_less_is_said() -> None:
    assert service("deploy: {resources: {limits: {memory: 64m}}}").needs.reserve_memory_bytes == 64 << 20
    both = service("deploy: {resources: {limits: {memory: 64m}, reservations: {memory: 8m}}}")
    assert both.needs.reserve_memory_bytes == 8 << 20


def test_a_probe_of_ones_own_goes_before_the_healthcheck_and_takes_its_timings() -> None:
    probe = service("expose: [80], healthcheck: {test: python x, interval: 9s}, x-skerry: {probe: {http: /up}}").probe
    assert probe == Probe(kind="http", port=80, path="/up", interval_s=9)


def test_files_beside_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {image: '${IMAGE}', env_file: web.env, environment: {B: own}}}"
    )
    (tmp_path / ".env").write_text("IMAGE=from-dotenv\n")
    (tmp_path / "web.env").write_text("# settings\nexport A='1 # 2'\nB=2\nC=\"x\\ty\" # tab\n")
    app = load(tmp_path, environ={}, name="app")
    assert app.services["web"].image == ImageRef("from-dotenv")
    assert app.services["web"].environment == {"A": "1 # 2", "B": "own", "C": "x\ty"}
    assert load(tmp_path, environ={"IMAGE": "own"}, name="app").services["web"].image == ImageRef("own")


def test_a_build_folder_brings_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {build: ./web}}")
    with pytest.raises(ComposeErrors, match="1 mistake") as raised:
        load(tmp_path, environ={}, name="app")
    assert "skerry image init ./web" in raised.value.why
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "image.toml").write_text('[image]\nrecipe = "python"\n')
    image = load(tmp_path, environ={}, name="app").services["web"].image
    assert image.content["context"] == "./web" and image.content["recipe"] == "python"  # type: ignore[union-attr]


def test_a_folder_without_a_compose_file_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(NoComposeFile, match="holds no compose file"):
        load(tmp_path, environ={})
    (tmp_path / "compose.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NoComposeFile, match="was not read"):
        load(tmp_path, environ={})


@pytest.mark.parametrize(
    ("services", "says"),
    [
        ("my_db: {image: x}", "digits and dashes: my-db"),
        ("web: {image: x, stop_grace_period: 2d}", "line 1: services.web: stop_grace_s: must be 0 to 86400"),
        ("web: {image: x, environment: {'A B': c}}", "can't be the name of a variable"),
        (", ".join(f"s{n}: {{image: x}}" for n in range(65)), "1 to 64 services, not 65"),
        ("web: {image: x, ports: ['8000-8070:8000-8070']}", "services.web: ports: 0 to 64 are allowed"),
    ],
)
def test_what_hosts_would_refuse_is_a_mistake_of_the_file_with_its_line(services: str, says: str) -> None:
    with pytest.raises(ComposeErrors) as caught:
        parse(f"services: {{{services}}}", environ={}, name="app")
    assert says in caught.value.why


def test_a_service_may_keep_its_old_name_with_an_underscore_as_an_alias() -> None:
    app = parse(
        "services: {my-db: {image: x, container_name: my_db, networks: {default: {aliases: [My_Database]}}}}",
        environ={}, name="app",
    )  # fmt: skip
    assert app.services["my-db"].service.aliases == ("my_db", "my_database")


def test_a_job_can_be_waited_for() -> None:
    app = parse(
        "services: {web: {image: x, depends_on: {job: {condition: service_completed_successfully}}},"
        " job: {image: x, restart: 'no'}}",
        environ={}, name="app",
    )  # fmt: skip
    assert app.services["web"].service.depends_on == (Depends(service="job", condition="completed"),)


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


def test_a_variable_may_be_empty_and_a_value_that_is_missing_is_asked_for() -> None:
    text = "services:\n  web:\n    image: x\n    environment:\n      A: '${A:-}'\n      B: ${B:-}\n      C: ${N}\n      D:\n"
    app = parse(text, environ={"N": "null", "D": "d"}, name="shop")
    assert app.services["web"].environment == {"A": "", "B": "", "C": "null", "D": "d"}


def test_a_scale_arrives_with_its_schedules_in_words() -> None:
    scaled = service(
        "ports: ['80:80'], x-skerry: {scale: {min: 0, max: 9, target: {cpu: 60%, connections: 50}, step: 10s, up: 20s, down: 5m, "
        "idle: 2m, schedule: [weekdays 8-20: min 3, 'sat, sun 22:30-6 Europe/Berlin: min 1, max 4', fri-mon 0-24: max 5]}}"
    )
    assert scaled.replicas == 1, "the first one, although none may do later"
    scale = scaled.scale
    assert scale is not None
    assert (scale.min, scale.max, scale.cpu, scale.connections) == (0, 9, 0.6, 50.0)
    assert (scale.step_s, scale.up_s, scale.down_s, scale.idle_s) == (10, 20, 300, 120)
    office, nights, weekends = scale.schedules
    assert office == Schedule(days=(0, 1, 2, 3, 4), from_minute=480, to_minute=1200, min=3)
    assert (nights.days, nights.from_minute, nights.to_minute, nights.min, nights.max) == ((5, 6), 1350, 360, 1, 4)
    assert weekends.days == (0, 4, 5, 6) and (weekends.from_minute, weekends.to_minute) == (0, 1440)
    assert nights.offsets[0] == (0.0, 60) and {minutes for _, minutes in nights.offsets} == {60, 120}


def test_windows_that_are_not_given_fit_the_step_and_replicas_are_how_many_there_are_at_first() -> None:
    short = service("x-skerry: {scale: {min: 2, max: 4, target: {cpu: 60%}, step: 2s}}, deploy: {replicas: 3}")
    assert short.scale is not None and (short.scale.down_s, short.scale.idle_s, short.replicas) == (120, 120, 3)
    plain = service("x-skerry: {scale: {min: 2, max: 4, target: {cpu: 60%}}}")
    assert plain.scale is not None and (plain.scale.down_s, plain.scale.idle_s, plain.replicas) == (1200, 300, 2)


def test_what_keeps_data_may_sleep_but_never_be_several() -> None:
    asleep = service("x-skerry: {scale: {min: 0, max: 1}}, volumes: ['data:/x'], ports: ['5432:5432']")
    assert asleep.scale is not None and (asleep.scale.min, asleep.scale.max) == (0, 1)


def test_an_app_says_which_pools_may_run_it() -> None:
    assert compose("services: {web: {image: x}}\nx-skerry: {pools: [burst, spare, burst]}").app().pools == (
        "burst",
        "spare",
    )
    assert (
        "pools[0]: 'A B' can't be a pool's name" in mistakes("services: {web: {image: x}}\nx-skerry: {pools: [A B]}")[0]
    )


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca"]
)
@given(at=st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC)))
def test_a_zones_offsets_are_those_that_it_has(zone: str, at: datetime) -> None:
    east = 0
    for from_s, minutes in OFFSETS.setdefault(zone, offsets(zone, 2026)):
        if from_s <= at.timestamp():
            east = minutes
    assert at.astimezone(ZoneInfo(zone)).utcoffset() == timedelta(minutes=east)
