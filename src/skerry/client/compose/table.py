"""Every key of the compose specification and what becomes of it.

Honoured; noted (allowed, without effect, with a warning); or refused. The one list that the reader obeys and
docs/compose.md shows. A key that is not in it at all is a mistake too.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from skerry.core.intent import ALLOWABLE


class Key(NamedTuple):
    """`words`: how it is honoured, or why not. `fix`: what to write instead."""

    use: Literal["honoured", "noted", "refused"]
    words: str
    fix: str = "remove it"


def yes(words: str) -> Key:
    return Key("honoured", words)


def noted(words: str) -> Key:
    return Key("noted", words)


def no(words: str, fix: str = "remove it") -> Key:
    return Key("refused", words, fix)


HOST = "it would reach from the container into its host"
LATER = "not supported yet"
IN_DEPLOY = "there is one place for resources"

TOP = {
    "name": yes("the app's name; without it the folder's"),
    "services": yes("each becomes a service with `replicas` slots"),
    "volumes": yes("named volumes; `x-skerry: {disposable: true}` lets one start empty elsewhere"),
    "networks": yes("as names: all services of an app can reach each other"),
    "version": noted("the specification gave it up; the file means the same without it"),
    "secrets": no(
        f"sealed secrets are {LATER}", "use `environment`: its values are encrypted for the nodes that run the app"
    ),
    "configs": no(f"configs are {LATER}", "put the file into the image, or its values into `environment`"),
    "include": no(f"other files are not drawn in: {LATER}", "write the services into this file"),
    "models": no(f"models are {LATER}", "run the model as a service"),
    "x-skerry": yes("of the app as a whole, see below; most of it belongs below `services.NAME` or `volumes.NAME`"),
}

SERVICE = {
    "image": yes("a digest, a name in the local store, or a path to an OCI layout or docker-archive"),
    "command": yes("a list, or a string that is split into words; no shell runs it"),
    "entrypoint": yes("a list, or a string that is split into words; no shell runs it"),
    "environment": yes("list or mapping; values are encrypted for the nodes that may run the app"),
    "env_file": yes("files of NAME=value lines, read on this machine; `environment` goes first"),
    "user": yes("numbers, or names that the image's /etc/passwd has"),
    "working_dir": yes("an absolute path"),
    "hostname": yes("the container's own name"),
    "container_name": yes("one more name of the service inside the app; only with one replica"),
    "ports": yes("short and long form; a published port is open on every host"),
    "expose": yes("ports that other services use; none is closed for want of it"),
    "volumes": yes("named volumes and tmpfs; short and long form"),
    "tmpfs": yes("paths; each is a tmpfs of at most 64 MiB, as `x-skerry: writable` is"),
    "read_only": yes("`true`, as it always is"),
    "cap_add": yes("capabilities by name, `ALL` not; every other one is dropped"),
    "cap_drop": yes("what isn't in `cap_add` is dropped anyway"),
    "healthcheck": yes("turned into a probe from outside, see Health"),
    "depends_on": yes(
        "short and long form; `service_completed_successfully` for a job, which has `restart: on-failure` or `no`"
    ),
    "deploy": yes("see below"),
    "restart": yes("`no`, `always`, `on-failure[:n]`, `unless-stopped` (as `always`); default `always`"),
    "stop_signal": yes("a name or a number; default: the image's, else SIGTERM"),
    "stop_grace_period": yes("then it is killed; default 10s"),
    "networks": yes("as names; `aliases` are further names of the service inside the app"),
    "security_opt": yes("`no-new-privileges:true`, as it always is; nothing else"),
    "x-skerry": yes("see below"),
    "build": yes("the project's folder; the recipe is in `x-skerry: image`, else in its image.toml"),
    "labels": noted("they are not kept; a service has no labels in Skerry"),
    "annotations": noted("they are not kept"),
    "attach": noted("`skerry logs` shows what it is asked for"),
    "configs": no(f"configs are {LATER}", "put the file into the image, or its values into `environment`"),
    "secrets": no(
        f"sealed secrets are {LATER}", "use `environment`: its values are encrypted for the nodes that run the app"
    ),
    "blkio_config": no(f"limits of disk traffic are {LATER}"),
    "cgroup": no("each container has its own cgroup"),
    "cgroup_parent": no("the agent names the cgroup"),
    "cpu_count": no(IN_DEPLOY, "write deploy: resources: limits: cpus"),
    "cpu_percent": no(IN_DEPLOY, "write deploy: resources: limits: cpus"),
    "cpu_period": no(IN_DEPLOY, "write deploy: resources: limits: cpus"),
    "cpu_quota": no(IN_DEPLOY, "write deploy: resources: limits: cpus"),
    "cpu_rt_period": no(f"real-time scheduling is {LATER}"),
    "cpu_rt_runtime": no(f"real-time scheduling is {LATER}"),
    "cpu_shares": no(IN_DEPLOY, "write deploy: resources: reservations: cpus"),
    "cpus": no(IN_DEPLOY, "write deploy: resources: limits: cpus"),
    "cpuset": no("hosts differ in their processors", "write deploy: resources: limits: cpus"),
    "credential_spec": no("it is for Windows"),
    "develop": no("it is for development on one machine", "keep it in a file of its own"),
    "device_cgroup_rules": no(HOST),
    "devices": no(HOST),
    "dns": no("names are answered by the node itself, so that services find each other"),
    "dns_opt": no("names are answered by the node itself"),
    "dns_search": no("names are answered by the node itself"),
    "domainname": no("a service's full name is SERVICE.APP.internal", "use `hostname`"),
    "extends": no("services are not drawn from elsewhere", "use a YAML anchor: &name and <<: *name"),
    "external_links": no("containers of others are not reached by link", "use SERVICE.APP.internal"),
    "extra_hosts": no(
        f"own entries in /etc/hosts are {LATER}", "use the service's name, or an address in `environment`"
    ),
    "gpus": no(f"devices are {LATER}"),
    "group_add": no(f"further groups are {LATER}", "use `user: uid:gid`"),
    "init": no("no program is put into the container", "let the application reap its children"),
    "ipc": no(HOST),
    "isolation": no("it is for Windows"),
    "label_file": no("labels are not kept"),
    "links": no("services find each other by name anyway", "remove it; for a second name use networks: NAME: aliases"),
    "logging": no("logs stay on the node, rotated, and are read by `skerry logs`"),
    "mac_address": no("containers are routed; their MAC address is seen by nobody"),
    "mem_limit": no(IN_DEPLOY, "write deploy: resources: limits: memory"),
    "mem_reservation": no(IN_DEPLOY, "write deploy: resources: reservations: memory"),
    "mem_swappiness": no(IN_DEPLOY, "write deploy: resources: limits: memory"),
    "memswap_limit": no(IN_DEPLOY, "write deploy: resources: limits: memory"),
    "models": no(f"models are {LATER}", "run the model as a service"),
    "network_mode": no(HOST, "remove it; use `ports` for what shall be reached from outside"),
    "oom_kill_disable": no("a container that can't be ended for memory takes its host along"),
    "oom_score_adj": no(HOST, "write deploy: resources: reservations: memory"),
    "pid": no(HOST),
    "pids_limit": no(IN_DEPLOY, "write deploy: resources: limits: pids"),
    "platform": no("the image says for what it was built"),
    "post_start": no(f"hooks are {LATER}; there is no shell in an image", "do it in the application"),
    "pre_stop": no(f"hooks are {LATER}; there is no shell in an image", "handle SIGTERM in the application"),
    "privileged": no(HOST, "name what it needs in `cap_add`"),
    "profiles": no(f"profiles are {LATER}", "keep such services in a file of their own"),
    "provider": no(f"services from elsewhere are {LATER}"),
    "pull_policy": no("nothing is pulled: a release names its images by digest"),
    "pull_refresh_after": no("nothing is pulled: a release names its images by digest"),
    "runtime": no("the node chooses the runtime"),
    "scale": no("there is one place for it", "write deploy: replicas"),
    "shm_size": no(f"the size of /dev/shm is {LATER}"),
    "stdin_open": no("nobody is at the other end"),
    "storage_opt": no("the root is read-only", "use a named volume"),
    "sysctls": no(f"kernel settings are {LATER}"),
    "tty": no("nobody is at the other end"),
    "ulimits": yes("`core` alone: the host keeps the core of a process that dies of a signal, see Cores"),
    "use_api_socket": no(HOST),
    "userns_mode": no(HOST),
    "uts": no(HOST),
    "volumes_from": no("a volume belongs to one service", "name the volume in `volumes`"),
}

DEPLOY = {
    "replicas": yes("how many slots, 0 to 1000; default 1"),
    "mode": yes("`replicated`, or `global`: one replica on each host that may run it, see docs/placement.md"),
    "update_config": yes("see below"),
    "resources": yes("see below"),
    "placement": yes("see below"),
    "restart_policy": yes("goes before `restart`"),
    "labels": noted("they are not kept; a service has no labels in Skerry"),
    "endpoint_mode": no("names answer with the replicas' addresses, published ports with all replicas"),
    "rollback_config": yes("how it goes back, by itself or by `skerry rollback`; without it: as `update_config` says"),
}

UPDATE_CONFIG = {
    "parallelism": yes("how many slots at once, 0 for all; default 1"),
    "delay": yes("between one group and the next; default 0s"),
    "order": yes("`start-first` or `stop-first` (default)"),
    "monitor": yes(
        "how long a new replica is watched for failure, and the last one of the version before stays; default 5s"
    ),
    "failure_action": yes("`rollback` (default), `pause` or `continue`"),
    "max_failure_ratio": yes("share of the slots (0 to 1) that may fail before `failure_action` is taken; default 0"),
}

ROLLBACK_CONFIG = {
    "parallelism": yes("as above"),
    "delay": yes("as above"),
    "order": yes("as above"),
    "monitor": yes("as above"),
    "failure_action": yes(
        "`pause` (default): a slot that fails on the way back holds up the next ones; `continue`: it doesn't"
    ),
    "max_failure_ratio": yes("share of the slots (0 to 1) that hold up nothing though they fail; default 0"),
}

RESTART_POLICY = {
    "condition": yes("`none`, `on-failure` or `any` (default)"),
    "delay": yes("before the first restart; it grows with each; default 0.5s"),
    "max_attempts": yes("0 for no limit (default)"),
    "window": yes("in which attempts are counted; default 60s"),
}

RESOURCES = {"limits": yes("what the kernel enforces"), "reservations": yes("what must be free on a host")}
LIMITS = {
    "cpus": yes("cores, such as 0.5"),
    "memory": yes("such as 256m; reserved as well, unless `reservations` says less"),
    "pids": yes("processes and threads; default 512"),
}
RESERVATIONS = {
    "cpus": yes("cores, such as 0.5"),
    "memory": yes("such as 256m"),
    "generic_resources": no(f"other resources are {LATER}", "label the hosts and use placement: constraints"),
    "devices": no(f"devices are {LATER}", "label the hosts and use placement: constraints"),
}
PLACEMENT = {
    "constraints": yes("`node.labels.NAME==VALUE`, `node.hostname!=NAME`; both operators"),
    "preferences": yes(
        "`[{spread: node.labels.NAME}]`, the most important first; a wish. Zones come last by themselves"
    ),
    "max_replicas_per_node": yes("a rule: a host with so many takes no more, even if a slot stays empty"),
}

PREFERENCE = {"spread": yes("`node.labels.NAME`, or `zone`")}
X_APART = {"required": yes("`false`: a wish, hosts that run it come last; default `true`")}

HEALTHCHECK = {
    "test": yes("where its meaning is known, see Health"),
    "interval": yes("between two probes once it is healthy; default 5s"),
    "timeout": yes("of one probe; default 2s"),
    "retries": yes("failures in a row until it is unhealthy; default 3"),
    "start_period": yes("how long it may take to become healthy; default 60s"),
    "start_interval": noted("while it starts it is probed every 25 to 200 ms anyway"),
    "disable": yes("`true`: no probe"),
}

PORT = {
    "target": yes("the port in the container"),
    "published": yes("the port on every host"),
    "protocol": yes("`tcp` (default) or `udp`"),
    "mode": yes("`ingress`"),
    "name": noted("it is a remark"),
    "app_protocol": noted("bytes are passed on as they are"),
    "host_ip": no("a published port is open on every host", "remove it, or use `expose`"),
}

MOUNT = {
    "type": yes("`volume` or `tmpfs`"),
    "source": yes("the volume's name"),
    "target": yes("an absolute path"),
    "read_only": yes("the service may not write"),
    "consistency": noted("it has no meaning here"),
    "bind": no("no folder of a host is mounted", "put the files into the image, or use a named volume"),
    "volume": no(f"`nocopy` and `subpath` are {LATER}"),
    "tmpfs": no("a tmpfs has at most 64 MiB and belongs to the container's user"),
    "image": no(f"mounting an image is {LATER}", "put the files into the image"),
}

ENV_FILE = {
    "path": yes("starts from the compose file's folder"),
    "required": yes("`false`: it may be missing"),
    "format": no("there is one format"),
}

ULIMITS = {
    "core": yes("bytes, `-1` for no limit of its own; default 0: no core is kept"),
    **{
        name: no(f"own limits are {LATER}", "write deploy: resources: limits")
        for name in ("memlock", "nofile", "nproc", "rtprio", "stack")
    },
}

DEPENDS = {
    "condition": yes("`service_started`, `service_healthy` or `service_completed_successfully`"),
    "restart": no("the app's services restart for themselves"),
    "required": yes("`true`, as it always is"),
}

NETWORK_OF_SERVICE = {
    "aliases": yes("further names of the service inside the app"),
    "interface_name": no("the node names the interface"),
    "ipv4_address": no("the node that runs it chooses the address", "use the service's name"),
    "ipv6_address": no("the node that runs it chooses the address", "use the service's name"),
    "link_local_ips": no("the node that runs it chooses the address", "use the service's name"),
    "mac_address": no("containers are routed; their MAC address is seen by nobody"),
    "driver_opts": no("there is one kind of network"),
    "priority": no("there is one network"),
    "gw_priority": no("there is one network"),
}

VOLUME = {
    "driver": yes("`local`: a folder on the host that first ran the slot"),
    "labels": noted("they are not kept"),
    "x-skerry": yes("`disposable: true`: may be started empty elsewhere"),
    "name": no("a volume is named by its app", "use the key as the name"),
    "driver_opts": no("volumes are folders of the host, made by the agent"),
    "external": no(f"volumes of others are {LATER}", "name it here; import the data once it runs"),
}

NETWORK = {
    "driver": yes("`bridge` or `overlay`: both mean the one network of the app"),
    "labels": noted("they are not kept"),
    "attachable": noted("nothing is attached by hand"),
    "name": no("networks are names inside the app", "use the key as the name"),
    "driver_opts": no("there is one kind of network"),
    "ipam": no("addresses come from the hosts' enrolments"),
    "external": no(f"networks of others are {LATER}", "use SERVICE.APP.internal"),
    "internal": no(f"a network without a way out is {LATER}"),
    "enable_ipv4": no("containers have IPv4"),
    "enable_ipv6": no(f"IPv6 is {LATER}"),
}

DOCKERFILE = "a recipe builds the image, not a Dockerfile"
BUILD = {
    "context": yes("the project's folder"),
    "dockerfile": noted(DOCKERFILE),
    "labels": noted("they are not kept"),
    "no_cache": noted("what a build takes is fixed by its lock file"),
    "pull": noted("nothing is pulled"),
    **dict.fromkeys(
        ("dockerfile_inline", "args", "target", "additional_contexts", "cache_from", "cache_to", "entitlements",
         "extra_hosts", "isolation", "network", "platforms", "privileged", "provenance", "sbom", "secrets",
         "shm_size", "ssh", "tags", "ulimits"),
        no(DOCKERFILE, "remove it; x-skerry: image: says what goes into the image"),
    ),
}  # fmt: skip

X_APP = {
    "pools": yes(
        "pools whose machines may run the app too, and whose keepers may therefore open its secrets: `[burst]`"
    ),
    "logs": yes(
        "`{ship: [URL]}`: where lines are sent on to, at most four: `syslog+tls://HOST:6514` (or `+tcp`, `+udp`), "
        "`loki+https://TOKEN@HOST`, `otlp+https://USER:PASSWORD@HOST` (or `+http`); encrypted as `environment` is (docs/logs.md)"
    ),
}
X_LOGS = {"ship": yes("URLs of receivers")}
X_SKERRY = {
    "image": yes(
        "a recipe: `{recipe: python, ...}`, also node, static, site, debian, archive, or a shipped one such as redis; "
        "built from `build`, else `.`"
    ),
    "probe": yes("`{http: /path, port: 8000}`, `{tcp: 5432}`, `{redis: 6379}`, `{postgres: 5432}`, `{mysql: 3306}`"),
    "writable": yes("paths that get a tmpfs in the read-only root"),
    "allow": yes(
        "who of other apps may reach it: `[report.job, billing]`, a service or a whole app (docs/isolation.md); and what the lint may "
        "find in the image, each with its reason: `{shell: the report calls sh}`; both: `[report.job, {shell: it calls sh}]`; kinds: "
        + ", ".join(f"`{kind}`" for kind in ALLOWABLE)
    ),
    "agents": yes(
        "`true`: it may connect to the agents of other hosts, port 7077, as the API does; what it may ask there its key says"
    ),
    "leases": yes(
        "`true`: its containers take named leases, for locks and elections, at the socket that `SKERRY_LEASES` names (docs/leases.md)"
    ),
    "drain": yes("between leaving the routes and the stop signal; default 200ms"),
    "metrics": yes("where its replicas tell figures of their own: `{port: 9100, path: /metrics}`, see docs/metrics.md"),
    "near": yes("services (`SERVICE` or `APP.SERVICE`) whose hosts, then zones, are taken first; a wish"),
    "apart": yes(
        "services of which none may run on the same host; a rule for both. `{batch: {required: false}}` makes it a wish"
    ),
    "canary": yes(
        "which slots try a new version first, and for how long: `[{share: 10%, hold: 5m}]`, see docs/rollouts.md"
    ),
    "exclusive": yes(
        "`true`: each replica runs once or not at all, also in a parted network; needs voters (docs/exclusive.md)"
    ),
    "scale": yes("how many replicas follow the load: `{min: 1, max: 5, target: {cpu: 60%}}`, see below"),
}
X_CANARY = {
    "share": yes("of the slots, at least one: `10%`; rounded down, counted from slot 0"),
    "hold": yes("so long all of them have to be well before more follow"),
}
X_METRICS = {
    "port": yes("where the container answers, in Prometheus' text form; it needs no published port"),
    "path": yes("default `/metrics`"),
    "names": yes("which metrics are kept, at most 32; without it the first there are, up to 32 series of a replica"),
}
X_SCALE = {
    "min": yes("how few there may be; default 1. 0: the last one stops after `idle`, and the next connection wakes it"),
    "max": yes("how many there may be"),
    "target": yes(
        "what one replica should have to do: `cpu`, `connections`, `metric`; of several the highest wish counts"
    ),
    "step": yes("figures are taken, and numbers change, once in so long; default 1m"),
    "up": yes("more are started once they were needed for so long; default 0s: at the end of a step"),
    "down": yes("some are stopped once they were not needed for so long, at most 60 steps; default 20m, or 60 steps"),
    "idle": yes("for `min: 0`: so long without a connection, at most 60 steps; default 5m, or 60 steps"),
    "schedule": yes(
        'other bounds at set times: `[weekdays 8-20: min 3, "sat,sun 22-6 Europe/Berlin: min 0, max 2"]`; UTC unless a zone is named'
    ),
}
X_TARGET = {
    "cpu": yes("of what a replica may use (`limits: cpus`, else `reservations: cpus`, else one core): `60%`"),
    "connections": yes("established at once, per replica, on its ports; probes don't count"),
    "metric": yes("a figure that the replicas tell by themselves: `{name: queue_length, target: 30}`"),
}
X_TARGET_METRIC = {
    "name": yes("of a metric that the replicas tell at `x-skerry: metrics`; all its series together; a counter's rate"),
    "target": yes("so much of it for one replica: `30`"),
}
X_PROBE = {
    "http": yes("a path; answers below 400 are well"),
    "tcp": yes("a port that takes connections"),
    "redis": yes("a port that answers PING"),
    "postgres": yes("a port that speaks the protocol"),
    "mysql": yes("a port that speaks the protocol"),
    "port": yes("for `http`, unless the service names exactly one port"),
    "interval": yes("as in `healthcheck`"),
    "timeout": yes("as in `healthcheck`"),
    "retries": yes("as in `healthcheck`"),
    "start_period": yes("as in `healthcheck`"),
}
X_VOLUME = {"disposable": yes("`true`: may be started empty elsewhere")}

TABLES: dict[str, dict[str, Key]] = {
    "": TOP,
    "x-skerry": X_APP,
    "x-skerry.logs": X_LOGS,
    "services.NAME": SERVICE,
    "services.NAME.build": BUILD,
    "services.NAME.deploy": DEPLOY,
    "services.NAME.deploy.update_config": UPDATE_CONFIG,
    "services.NAME.deploy.rollback_config": ROLLBACK_CONFIG,
    "services.NAME.deploy.restart_policy": RESTART_POLICY,
    "services.NAME.deploy.resources": RESOURCES,
    "services.NAME.deploy.resources.limits": LIMITS,
    "services.NAME.deploy.resources.reservations": RESERVATIONS,
    "services.NAME.deploy.placement": PLACEMENT,
    "services.NAME.deploy.placement.preferences[]": PREFERENCE,
    "services.NAME.healthcheck": HEALTHCHECK,
    "services.NAME.ports[]": PORT,
    "services.NAME.volumes[]": MOUNT,
    "services.NAME.env_file[]": ENV_FILE,
    "services.NAME.ulimits": ULIMITS,
    "services.NAME.depends_on.NAME": DEPENDS,
    "services.NAME.networks.NAME": NETWORK_OF_SERVICE,
    "services.NAME.x-skerry": X_SKERRY,
    "services.NAME.x-skerry.probe": X_PROBE,
    "services.NAME.x-skerry.apart.NAME": X_APART,
    "services.NAME.x-skerry.metrics": X_METRICS,
    "services.NAME.x-skerry.canary[]": X_CANARY,
    "services.NAME.x-skerry.scale": X_SCALE,
    "services.NAME.x-skerry.scale.target": X_TARGET,
    "services.NAME.x-skerry.scale.target.metric": X_TARGET_METRIC,
    "volumes.NAME": VOLUME,
    "volumes.NAME.x-skerry": X_VOLUME,
    "networks.NAME": NETWORK,
}
