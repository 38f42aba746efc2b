"""What `export` writes is read back as what was signed: of any app and any pool, and without a hand-made list of fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.client.compose import load
from skerry.client.compose.schedule import offsets
from skerry.client.compose.values import CAPABILITIES, SIGNALS
from skerry.client.folder.compose_out import compose_of, yaml_text
from skerry.client.folder.export import env_text, pool_of
from skerry.client.folder.plan import pool_changes
from skerry.client.folder.read import read_folder
from skerry.core.intent import (
    ALLOWABLE,
    App,
    Depends,
    Needs,
    Pool,
    Port,
    Probe,
    Release,
    Restart,
    Scale,
    Schedule,
    Service,
    Update,
    VolumeMount,
)
from skerry.trust import checks_app, checks_pool

T = TypeVar("T")
DIGEST = "sha256:" + "0" * 64
DAY_S = 86_400
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
PATHS = st.lists(
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
        lambda step: step not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map(lambda steps: "/" + "/".join(steps))
SHARE = st.integers(1000, 100_000).map(lambda n: round(n / 1000, 3) / 100)


def times(low: float, high: float) -> st.SearchStrategy[float]:
    """As a file can say them: to the microsecond."""
    return st.floats(low, high, allow_subnormal=False).map(lambda s: round(min(max(s, low), high), 6))


def tuples(of: st.SearchStrategy[T], most: int = 3, by: Callable[[T], Any] = lambda each: each) -> Any:
    return st.lists(of, max_size=most, unique_by=by).map(tuple)


def amounts() -> st.SearchStrategy[Needs]:
    bytes_, cpus = st.integers(0, 1 << 40), st.integers(0, 4096 * 10**6).map(lambda n: n / 10**6)
    return st.builds(
        lambda limit, less, cpus_limit, part, pids: Needs(
            memory_limit_bytes=limit, reserve_memory_bytes=min(limit, less) if limit else less,
            cpus_limit=cpus_limit, reserve_cpus=min(cpus_limit, part) if cpus_limit else part, pids_limit=pids,
        ),
        st.just(0) | bytes_, bytes_ | st.just(0), st.just(0.0) | cpus, cpus, st.integers(1, 1 << 20),
    )  # fmt: skip


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    zone = draw(st.sampled_from(["", "Europe/Berlin", "Asia/Kathmandu", "Etc/GMT+3"]))
    low, high = draw(st.tuples(st.integers(-1, 9), st.integers(-1, 9)).filter(lambda b: b[0] <= b[1] or b[1] < 0))
    begin = draw(st.integers(0, 1439))
    return Schedule(
        days=tuple(sorted(draw(st.sets(st.integers(0, 6), min_size=1)))), from_minute=begin,
        to_minute=draw(st.integers(0, 1440).filter(lambda at: at != begin)), zone=zone,
        min=low, max=high if (low, high) != (-1, -1) else 3, offsets=offsets(zone, 2026) if zone else (),
    )  # fmt: skip


@st.composite
def scales(draw: st.DrawFn) -> Scale:
    low = draw(st.integers(0, 6))
    aims = draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    step_s = draw(times(1, 3600))
    window_s = 60 * step_s
    return Scale(
        min=low, max=draw(st.integers(max(low, 1), 1000)), cpu=draw(SHARE) if aims[0] else 0.0,
        connections=float(draw(st.integers(1, 1_000_000))) if aims[1] else 0.0, step_s=step_s, up_s=draw(times(0, window_s)),
        down_s=draw(times(0, window_s)), idle_s=draw(times(1, min(window_s, DAY_S))), schedules=draw(tuples(schedules())),
    )  # fmt: skip


@st.composite
def services(draw: st.DrawFn, others: dict[str, Service], volumes: dict[str, bool], port: int) -> Service:
    """`volumes`: its own; `port`: where its published ones begin."""
    scale = draw(st.none() | scales())
    if scale is not None and not all(volumes.values()):
        scale = msgspec.structs.replace(scale, min=min(scale.min, 1), max=1, schedules=())
    targets = draw(st.lists(PATHS, max_size=4, unique=True))
    mounted = len(targets) // 2 if volumes else 0
    kinds = st.sampled_from(["tcp", "redis", "postgres", "mysql"])
    probes = st.builds(
        Probe, kind=kinds, port=st.integers(1, 65535), retries=st.integers(1, 100), interval_s=times(0.01, DAY_S),
        timeout_s=times(0.01, 300), start_period_s=times(0, DAY_S),
    )  # fmt: skip
    http = st.builds(
        Probe, kind=st.just("http"), port=st.integers(1, 65535), path=st.from_regex(r"/[!-~]{0,20}", fullmatch=True)
    )
    reasons = st.from_regex(checks_app.REASON, fullmatch=True).map(str.strip).filter(bool)
    return Service(
        replicas=draw(st.integers(0, 1000) if scale is None else st.integers(scale.min, scale.max)),
        command=draw(tuples(WORDS)),
        entrypoint=draw(tuples(WORDS)),
        user=draw(st.sampled_from(["", "1000", "1000:1000", "app:www-data"])),
        working_dir=draw(st.just("") | PATHS),
        hostname=draw(st.sampled_from(["", "Web-1", "a.b"])),
        environment=draw(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True), WORDS, max_size=3)),
        ports=draw(tuples(st.builds(Port, target=st.integers(1, 65535), published=st.integers(port, port + 99),
                                    protocol=st.sampled_from(["tcp"] if scale is not None else ["tcp", "udp"])),
                          by=lambda port: (port.published, port.protocol))),
        expose=draw(tuples(st.integers(1, 65535))) or ((80,) if scale is not None else ()),
        volumes=tuple(
            VolumeMount(volume=draw(st.sampled_from(sorted(volumes))), target=target, read_only=draw(st.booleans()))
            for target in targets[:mounted]
        ),
        writable=tuple(targets[mounted:]),
        capabilities=tuple(sorted(draw(st.sets(st.sampled_from(sorted(f"CAP_{name}" for name in CAPABILITIES)), max_size=3)))),
        probe=draw(st.none() | probes | http),
        needs=draw(amounts()),
        restart=Restart() if scale is not None else draw(st.builds(
            Restart, condition=st.sampled_from(["none", "on-failure", "any"]), delay_s=times(0, DAY_S),
            max_attempts=st.integers(0, 10**6), window_s=times(0, 30 * DAY_S))),
        update=draw(st.builds(
            Update, parallelism=st.integers(1, 1000), delay_s=times(0, DAY_S), monitor_s=times(0, DAY_S),
            order=st.sampled_from(["start-first", "stop-first"]),
            failure_action=st.sampled_from(["rollback", "pause", "continue"]))),
        constraints=draw(tuples(st.sampled_from(["label.disk==ssd", "label.a.b!=1", "node==vps-1", "node!=burst/3"]))),
        depends_on=tuple(
            Depends(service=other, condition=draw(st.sampled_from(_conditions(others[other]))))
            for other in (draw(st.lists(st.sampled_from(sorted(others)), unique=True, max_size=2)) if others else ())
        ),
        aliases=draw(tuples(st.from_regex(r"x[a-z0-9_-]{0,9}[a-z0-9]", fullmatch=True))),
        core_bytes=draw(st.sampled_from([0, -1, 4096, 1 << 30])),
        stop_signal=draw(st.sampled_from(["", *(f"SIG{name}" for name in SIGNALS.values())])),
        stop_grace_s=draw(times(0, DAY_S)),
        drain_s=draw(times(0, DAY_S)),
        allow=draw(st.dictionaries(st.sampled_from(ALLOWABLE), reasons, max_size=2)),
        scale=scale,
    )  # fmt: skip


def _conditions(service: Service) -> list[str]:
    if service.restart.condition != "any":
        return ["started", "completed"]
    return ["started", "healthy"] if service.probe is not None else ["started"]


@st.composite
def apps(draw: st.DrawFn) -> tuple[App, dict[str, dict[str, str]]]:
    """An app that hosts would take and a compose file could have said, and its values in the clear."""
    volumes = draw(
        st.dictionaries(st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True), st.booleans(), max_size=2)
    )
    made: dict[str, Service] = {}
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    taken = set(names)
    for n, name in enumerate(names):
        own = volumes if n == 0 else {}  # a volume belongs to one service
        service = draw(services(made, own, 10_000 + 100 * n))  # after those before it: nothing waits in a circle
        aliases = tuple(alias for alias in service.aliases if alias not in taken)  # a name belongs to one service, too
        taken.update(aliases)
        made[name] = msgspec.structs.replace(service, aliases=aliases)
    values = {name: dict(service.environment) for name, service in made.items()}
    return App(services=made, volumes=volumes, pools=draw(tuples(NAMES))), values


def bare(app: App) -> App:
    """Without values, and without what a zone's name means in this year."""
    found: dict[str, Service] = {}
    for name, service in app.services.items():
        scale = service.scale
        if scale is not None:
            plain = tuple(msgspec.structs.replace(each, offsets=()) for each in scale.schedules)
            scale = msgspec.structs.replace(scale, schedules=plain)
        found[name] = msgspec.structs.replace(service, environment={}, scale=scale)
    return msgspec.structs.replace(app, services=found)


@settings(max_examples=30)
@given(apps())
def test_an_app_that_was_written_is_read_back_as_the_same(
    tmp_path_factory: Any, drawn: tuple[App, dict[str, dict[str, str]]]
) -> None:
    app, values = drawn
    release = Release(images=dict.fromkeys(app.services, DIGEST), fits=1)
    written = compose_of("shop", app, release)
    plain = {variable: values[service][key] for (service, key), variable in written.variables.items()}
    folder: Path = tmp_path_factory.mktemp("app")
    (folder / "compose.yaml").write_text(written.text, encoding="utf-8")
    (folder / ".env").write_text(env_text(plain), encoding="utf-8")
    read = load(folder, environ={})
    assert bare(read.app()) == bare(app)
    assert {name: plan.environment for name, plan in read.services.items()} == values
    assert written.lost == []


@pytest.mark.parametrize("word", ["\x85", "a\x85b", "\u2028", " \u2029"])
def test_breaks_that_only_some_readers_know_are_kept(tmp_path: Path, word: str) -> None:
    (tmp_path / "compose.yaml").write_text(
        yaml_text({"services": {"web": {"image": DIGEST, "command": ["x", word]}}}), encoding="utf-8"
    )
    assert load(tmp_path, environ={}).services["web"].service.command == ("x", word)


@st.composite
def rentable(draw: st.DrawFn) -> Pool:
    word = st.from_regex(checks_pool.WORD, fullmatch=True)
    value = st.from_regex(checks_pool.VALUE, fullmatch=True)
    usd = st.integers(0, 10**8).map(lambda cents: cents / 1000)
    high = draw(st.integers(0, 250))
    return Pool(
        provider=draw(st.sampled_from(["digitalocean", "libvirt", "manual"])), max=high, min=draw(st.integers(0, high)),
        network="10.78.0.0/16", size=draw(st.just("") | word), cpus=draw(usd), memory_bytes=draw(st.integers(0, 1 << 40)),
        price_usd_month=draw(usd), spend_usd_month=draw(usd), regions=draw(tuples(value)), image=draw(st.just("") | word),
        endpoint=draw(st.sampled_from(["", "https://api.example/v2", "qemu+ssh://root@10.0.0.1/system"])),
        options=draw(st.dictionaries(value, st.from_regex(checks_pool.OPTION, fullmatch=True), max_size=3)),
        labels=draw(st.dictionaries(value, st.just("") | value, max_size=3)), weight=draw(st.integers(0, 10_000)),
        creates_per_hour=draw(st.integers(1, 1000)), join_s=draw(times(1, 30 * DAY_S)), down_s=draw(times(1, 30 * DAY_S)),
        drain_s=draw(times(1, 30 * DAY_S)), age_s=draw(times(1, 30 * DAY_S)), grace_s=draw(times(1, 30 * DAY_S)),
        keepers=dict.fromkeys((f"node/{name}" for name in draw(st.lists(NAMES, max_size=3, unique=True))), "0" * 64),
    )  # fmt: skip


@settings(max_examples=40)
@given(rentable())
def test_a_pool_that_was_written_is_read_back_as_the_same(tmp_path_factory: Any, pool: Pool) -> None:
    checks_pool.pool(pool)
    folder: Path = tmp_path_factory.mktemp("pools")
    (folder / "pools.yaml").write_text(yaml_text({"pools": {"burst": pool_of(pool)}}), encoding="utf-8")
    wish = (read_folder(folder, {}).pools or {})["burst"]
    assert pool_changes(pool, wish) == {}
    assert wish.keepers == tuple(path.removeprefix("node/") for path in pool.keepers)
    assert msgspec.structs.replace(Pool(network="", **wish.fields), network=pool.network, keepers=pool.keepers) == pool


def test_what_a_file_has_no_word_for_is_told() -> None:
    service = Service(constraints=("zone==a",), scale=Scale(min=1, max=3, connections=2.5))
    written = compose_of("shop", App(services={"web": service}), Release(images={"web": DIGEST}, fits=1))
    assert any("zone" in line for line in written.lost)
    assert any("connections" in line for line in written.lost)
