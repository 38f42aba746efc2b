"""What a good file becomes, whole."""

from __future__ import annotations

from client.compose.reading import compose, mistakes, service
from skerry.client.compose import ImageRef, parse
from skerry.core.intent import (
    App,
    Depends,
    Needs,
    Port,
    Probe,
    Restart,
    Service,
    Update,
    VolumeMount,
)

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
    ulimits: {core: -1}
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
    x-skerry:
      writable: [/var/cache]
      drain: 1s
      allow: [report.job, billing, {shell: needed by the old report}]
      agents: true
      leases: true
  db:
    image: sha256:0000000000000000000000000000000000000000000000000000000000000000
    restart: "no"
    healthcheck: {test: [CMD, pg_isready, -U, shop]}
volumes:
  uploads: {x-skerry: {disposable: true}}
"""


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
                core_bytes=-1,
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
                callers=("report.job", "billing"),
                agents=True,
                leases=True,
            ),
            "db": Service(restart=Restart(condition="none"), probe=Probe(kind="postgres", port=5432)),
        },
        volumes={"uploads": True},
    )


def test_a_memory_limit_is_reserved_unless_less_is_said() -> None:
    assert service("deploy: {resources: {limits: {memory: 64m}}}").needs.reserve_memory_bytes == 64 << 20
    both = service("deploy: {resources: {limits: {memory: 64m}, reservations: {memory: 8m}}}")
    assert both.needs.reserve_memory_bytes == 8 << 20


def test_a_probe_of_ones_own_goes_before_the_healthcheck_and_takes_its_timings() -> None:
    probe = service("expose: [80], healthcheck: {test: python x, interval: 9s}, x-skerry: {probe: {http: /up}}").probe
    assert probe == Probe(kind="http", port=80, path="/up", interval_s=9)


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


def test_an_app_says_which_pools_may_run_it() -> None:
    assert compose("services: {web: {image: x}}\nx-skerry: {pools: [burst, spare, burst]}").app().pools == (
        "burst",
        "spare",
    )
    assert (
        "pools[0]: 'A B' can't be a pool's name" in mistakes("services: {web: {image: x}}\nx-skerry: {pools: [A B]}")[0]
    )


def test_an_app_says_where_its_logs_are_sent_on_to() -> None:
    text = "services: {web: {image: x}}\nx-skerry: {logs: {ship: ['loki+https://${TOKEN}@l.example', 'syslog+udp://s:514']}}"
    app = parse(text, environ={"TOKEN": "t"}, name="shop")
    assert app.ship == ("loki+https://t@l.example", "syslog+udp://s:514")
    assert app.app().ship == {}, "they are sealed first"
    for url, why in (
        ("https://tok3n@x", "'https' is no kind of receiver"),
        ("loki+http://tok3n@", "has no host"),
        ("loki+http://tok3n@x:port", "is no URL"),
    ):
        (told,) = mistakes(f"services: {{web: {{image: x}}}}\nx-skerry: {{logs: {{ship: ['{url}']}}}}")
        assert why in told and "tok3n" not in told


def test_a_variable_may_be_empty_and_a_value_that_is_missing_is_asked_for() -> None:
    text = "services:\n  web:\n    image: x\n    environment:\n      A: '${A:-}'\n      B: ${B:-}\n      C: ${N}\n      D:\n"
    app = parse(text, environ={"N": "null", "D": "d"}, name="shop")
    assert app.services["web"].environment == {"A": "", "B": "", "C": "null", "D": "d"}
