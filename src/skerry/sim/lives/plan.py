"""What will happen in a life, as data: drawn from a seed, shrunk by leaving acts out, kept as JSON where it once found a fault."""

from __future__ import annotations

import random

import msgspec

from skerry.core.intent import Needs, Probe, Scale, Service, Update
from skerry.sim.cluster import World
from skerry.sim.rented import REPLICA_BYTES
from skerry.sim.scenario import NAMES, STORE, drawn

ACTS_S = 40.0  # for so long things happen
REAL_EVERY = 10  # one seed of so many has real signatures
SIZES = (*(3,) * 70, *(4,) * 26, *(5,) * 9, 1, 2, 2, 6, 6, 7, 8, 10, 12)


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is done. `who`, `other`: numbers of hosts or laptops, taken round; the rest is each act's own."""

    at_s: float
    do: str
    who: int = 0
    other: int = 0
    n: int = 0
    span_s: float = 0.0


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """`captured`: per captured host its tricks. `real`: real signatures. `reboot`: at the end all power goes, and comes back."""

    seed: int
    nodes: int
    world: World
    services: dict[str, Service]
    acts: tuple[Act, ...] = ()
    captured: tuple[tuple[str, ...], ...] = ()
    laptops: int = 2
    real: bool = False
    reboot: bool = False
    gone: int = 0  # so many machines never come back
    rates: tuple[float, ...] = ()  # of monotonic clocks
    keepers: int = 0  # of a pool whose machines are rented; 0: there is none
    age_s: float = 22.0  # of the cloud when all begins: after 20 s hosts may take over what others held
    voters: int = 0  # so many vote about leases of exclusive slots; 0: there are none
    trouble: float = 0.0  # share of calls to the provider that go wrong


# What a life is made of: act -> how often. An act is a method of acts.Acts.
FAULTS = {
    "cut_power": 6, "boot": 4, "restart_agent": 4, "kill_container": 4, "part": 4, "cut_one_way": 4, "heal": 4, "pause": 3,
    "freeze": 2, "step_clock": 2, "lose_records": 1, "lose_disk": 1,
}  # fmt: skip
OPERATORS = {"deploy": 5, "deploy_bad": 2, "scale": 4, "drain": 3, "undrain": 2, "enrol": 1, "expel": 1, "refresh": 3}


TRICKS = (
    "answers_nothing", "babbles", "blames", "claims_all", "condemns", "equivocates", "false_clock", "floods", "forges",
    "goes_back", "grabs_and_drops", "has_all_data", "has_all_images", "knocks", "rents", "replays", "sees_all_ill", "votes_all_lost",
    "wishes", "withholds",
)  # fmt: skip
"""What a captured host may do: methods of hostile.Hostile, kept here by name so that what a seed draws stays the same."""
LEASES = {"change_voters": 3, "to_the_holder": 8}
POOLS = {"cut_provider": 2, "forget_machine": 1, "set_pool": 2, "scale": 8}


def draw(seed: int, nodes: int = 0) -> Plan:
    """`nodes`: 0 draws it."""
    chance = random.Random(f"life {seed}")
    many = nodes or chance.choice(SIZES)
    calm = chance.random() < 0.3
    world = World(
        latency_s=chance.choice([0.001, 0.01, 0.05]), jitter_s=chance.choice([0.0, 0.02, 0.2]),
        loss=0.0 if calm else chance.choice([0.0, 0.02, 0.2]), start_s=chance.choice([0.05, 0.3]),
        twice=0.0 if calm else chance.choice([0.0, 0.05]), overtake=0.0 if calm else chance.choice([0.0, 0.0, 0.1]),
    )  # fmt: skip
    hostile = many >= 3 and chance.random() < 0.17
    services = _services(chance)
    keepers = chance.randint(1, min(3, many)) if many >= 2 and chance.random() < 0.12 else 0
    if keepers:
        services = {"web": _rented(chance)}
    voters = chance.choice([1, 3, 3, 3, 5]) if not keepers and chance.random() < 0.16 else 0
    if voters:
        services["api"] = _exclusive(chance)
        world = msgspec.structs.replace(world, loss=0.0)  # what is lost is never asked again in time
    return Plan(
        seed=seed, nodes=many, world=world, services=services, acts=_acts(chance, _kinds(services, keepers, voters)),
        captured=_captured(chance, many) if hostile else (), laptops=chance.randint(1, 3), real=seed % REAL_EVERY == 0,
        reboot=chance.random() < 0.3 and world.loss < 0.1, gone=chance.choice([0, 0, 0, 1, 2]),
        rates=tuple(1 + chance.uniform(-0.01, 0.01) for _ in range(many)) if chance.random() < 0.5 else (),
        age_s=chance.choice([5.0, 5.0, 5.0, 22.0]), keepers=keepers, voters=voters,
        trouble=chance.choice([0.0, 0.05, 0.2]) if keepers else 0.0,
    )  # fmt: skip


def _rented(chance: random.Random) -> Service:
    """One replica fits on a host: each further one wants a machine."""
    return Service(
        replicas=chance.randint(2, 5), probe=Probe(kind="tcp", port=80, start_period_s=10.0),
        needs=Needs(reserve_memory_bytes=REPLICA_BYTES),
    )  # fmt: skip


def _scaled(services: dict[str, Service]) -> list[str]:
    return [name for name, service in services.items() if service.scale is not None]


def _exclusive(chance: random.Random) -> Service:
    return Service(
        replicas=chance.choice([1, 1, 2]), exclusive=True, update=Update(order="start-first", monitor_s=2.0),
        probe=chance.choice([None, Probe(kind="tcp", port=80, start_period_s=10.0)]),
    )  # fmt: skip


def _kinds(services: dict[str, Service], keepers: int, voters: int) -> dict[str, int]:
    found = {**FAULTS, **OPERATORS} | ({"tide": 8} if _scaled(services) else {})
    return found | (POOLS if keepers else {}) | (LEASES if voters else {})


def _acts(chance: random.Random, kinds: dict[str, int]) -> tuple[Act, ...]:
    number = chance.choice([2, 4, 6, 6, 8, 10, 14])
    acts = [
        Act(
            at_s=round(chance.uniform(0.0, ACTS_S), 2), do=chance.choices(list(kinds), list(kinds.values()))[0],
            who=chance.randrange(1000), other=chance.randrange(1000), n=chance.randrange(1000),
            span_s=chance.choice([0.1, 1.0, 4.0, 15.0, 45.0]),
        )
        for _ in range(number)
    ]  # fmt: skip
    return tuple(sorted(acts, key=lambda act: act.at_s))


def _captured(chance: random.Random, many: int) -> tuple[tuple[str, ...], ...]:
    """Most often one; else up to a third, which play together."""
    tricks = TRICKS
    most = max(1, (many - 1) // 3)
    number = 1 if chance.random() < 0.6 else chance.randint(1, most)
    together = chance.random() < 0.5
    some = [tuple(sorted(chance.sample(tricks, chance.choice([1, 1, 2, 2, 3, 5])))) for _ in range(number)]
    return (some[0],) * number if together else tuple(some)


def _services(chance: random.Random) -> dict[str, Service]:
    services: dict[str, Service] = {}
    tides = chance.random() < 0.15
    for name in NAMES[: chance.randint(1, 3)]:
        service = drawn(chance, name, len(services))
        follows = tides and name != STORE
        services[name] = msgspec.structs.replace(service, scale=scale(chance)) if follows else service
    return services


def scale(chance: random.Random) -> Scale:
    low, step_s = chance.randint(1, 2), chance.choice([1.0, 2.0, 2.0, 3.0])
    return Scale(
        min=low, max=low + chance.randint(0, 5), connections=50, step_s=step_s,
        up_s=step_s * chance.choice([0, 0, 2]), down_s=step_s * chance.choice([3, 10]),
    )  # fmt: skip
