"""What a file may not say, and in which words it is told: every refused key of the table, wrong values, what does not fit together."""

from __future__ import annotations

import pytest

from client.compose.reading import compose, mistakes, wrong
from skerry.client.compose import ComposeErrors, parse
from skerry.client.compose import table as tables


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
        ("deploy: {mode: everywhere}", "is not one of replicated, global"),
        ("deploy: {resources: {limits: {memory: 10m}, reservations: {memory: 20m}}}", "more memory than its limit"),
        ("deploy: {placement: {constraints: [node.role == manager]}}", "node.role is not known of a host"),
        ("depends_on: [nobody]", "no service 'nobody'"),
        ("depends_on: {db: {condition: service_completed_successfully}}", "is started again whenever it ends"),
        ("depends_on: {db: {condition: service_healthy}}", "which has no probe"),
        ("depends_on: [web]", "can't wait for itself"),
        ("read_only: false", "always read-only"),
        ("ulimits: {core: 1}", "is not -1, 0 or a number of bytes from 4096"),
        ("ulimits: {core: {soft: 0, hard: 5000}}", "should be a text"),
        ("ulimits: {nofile: 1000}", "own limits are not supported yet"),
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
        (
            "x-skerry: {allow: [a.b.c]}",
            "x-skerry.allow[0]: 'a.b.c' is neither an app nor a service of one: write app.service",
        ),
        ("x-skerry: {allow: [a.web/0]}", "is neither an app nor a service of one"),
        ("x-skerry: {allow: ['*']}", "is neither an app nor a service of one"),
        ("x-skerry: {allow: [[a]]}", "should be a text"),
        ("x-skerry: {agents: 1}", "should be true or false"),
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
        ("x-skerry: {scale: {max: 3, target: {metric: {name: a}}}}", "needs a name and a target"),
        ("x-skerry: {scale: {max: 3, target: {metric: {name: a, target: 0}}}}", "no number above 0"),
        ("x-skerry: {scale: {max: 3, target: {metric: {name: a b, target: 1}}}}", "is no metric's name"),
        ("x-skerry: {scale: {max: 3, target: {metric: {name: a, target: 1}}}}", "nothing says where a is told"),
        ("x-skerry: {metrics: {path: /m}}", "has no port"),
        ("x-skerry: {metrics: {port: 9100, path: m}}", "is no path"),
        ("x-skerry: {metrics: {port: 9100, names: [a b]}}", "is no metric's name"),
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
