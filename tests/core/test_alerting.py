"""Alerts, the rules alone: what is damped, who sends, what a liar can keep quiet, and that nothing is lost when senders die."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.alerting import looking, sending
from skerry.core.alerting.alerting import OWN_MOST
from skerry.core.alerting.damping import Finding, Key, Watch, look
from skerry.core.alerting.rules import RULES, Rule, settings_of
from skerry.core.events import Felt, RecordAccepted
from skerry.core.facts import Alarm, Sent
from skerry.core.intent import Alert, Measure, Receiver, RuleSetting, Silence
from skerry.core.records import Fact
from skerry.core.situation import Situation
from skerry.sim import documents as docs
from skerry.sim.cluster import Cluster
from skerry.sim.machine import CLOCK_AT_ZERO
from skerry.sim.scenario import cluster_of

KEY = ("disk", "vps-1")
CALM = cluster_of(1)

# --- damping ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=30),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_what_fires_was_so_for_its_time_and_what_is_over_was_not_for_its_time(
    looks: list[tuple[bool, int]], for_s: int, clear_s: int
) -> None:
    rule = Rule("disk", "", for_s, clear_s)
    watches: dict[Key, Watch] = {}
    now, so_since, not_since, fired = 0, None, None, False
    for is_so, step_s in looks:
        so_since = (now if so_since is None else so_since) if is_so else None
        not_since = None if is_so else (now if not_since is None else not_since)
        look(watches, {KEY: Finding()} if is_so else {}, {"disk": rule}, now)
        watch = watches.get(KEY)
        fires = watch is not None and watch.fires
        if fires and not fired:
            assert so_since is not None and now - so_since >= for_s
        if fired and not fires:
            assert not_since is not None and now - not_since >= clear_s
        if is_so and so_since is not None and now - so_since >= for_s:
            assert fires, "it has been so for long enough"
        if watch is not None and watch.over_s is not None:
            del watches[KEY]  # that it is over was told
        fired = fires
        now += step_s


def test_what_comes_and_goes_is_one_alert() -> None:
    watches: dict[Key, Watch] = {}
    for at in range(100):
        look(watches, {KEY: Finding()} if at % 3 else {}, {"disk": Rule("disk", "", 0.0, 5.0)}, float(at))
        assert at == 0 or watches[KEY].fired_s == 1.0


def test_a_rule_that_is_switched_off_is_over() -> None:
    watches: dict[Key, Watch] = {}
    look(watches, {KEY: Finding()}, {"disk": RULES["disk"]._replace(for_s=0)}, 0.0)
    look(watches, {}, {}, 1.0)
    assert watches[KEY].over_s == 1.0


# --- settings ---------------------------------------------------------------------------------------------------------


def test_rules_are_as_built_in_but_for_what_is_said() -> None:
    assert settings_of(None).rules == RULES
    body = Alert(rules={"disk": RuleSetting(limit=0.5), "clock": RuleSetting(off=True), "of-tomorrow": RuleSetting()})
    changed = settings_of(body).rules
    assert changed["disk"] == RULES["disk"]._replace(limit=0.5)
    assert set(RULES) - set(changed) == {"clock"}
    assert settings_of(Alert(rules=body.rules, deleted=True)).rules == RULES


def test_a_silence_is_for_a_rule_a_subject_or_all_until_then() -> None:
    quiet = settings_of(Alert(silences=(Silence(until=10, rule="disk"), Silence(until=20, subject="vps-1"))))
    assert quiet.silenced_until("disk", "vps-2", 5) == 10
    assert quiet.silenced_until("disk", "vps-1", 5) == 20
    assert quiet.silenced_until("clock", "vps-2", 5) == 0
    assert quiet.silenced_until("disk", "vps-2", 10) == 0, "it has ended"


# --- rules of one's own over figures ----------------------------------------------------------------------------------

SUBJECTS = st.sampled_from(["shop.web/0", "shop.web/1", "shop.db/0", "shop-2.web/0", "node/vps-1", "node/burst/0"])
OF = st.sampled_from(["", "shop", "shop.web", "shop.web/1", "shop-2", "node/", "node/vps-1", "node/burst/0", "web"])


@given(OF, SUBJECTS, st.floats(-100, 100), st.floats(-100, 100), st.booleans())
def test_a_measure_fires_for_what_it_looks_at_beyond_its_limit_and_for_nothing_else(
    of: str, subject: str, figure: float, limit: float, below: bool
) -> None:
    s = situation(CALM, "vps-1")
    s.alerting.felt = Felt(
        figures={"probe_s": {subject: figure}, "other": dict.fromkeys(["shop.web/0", "node/vps-1"], 1e9)}
    )
    rules = settings_of(Alert(measures={"slow": Measure(metric="probe_s", of=of, limit=limit, below=below)})).rules
    looked_at = {"": not subject.startswith("node/"), "node/": subject.startswith("node/"), "web": False}.get(
        of, subject == of or subject.startswith((f"{of}.", f"{of}/"))
    )
    fires = looked_at and (figure < limit if below else figure > limit)
    found = looking.of_own(s, rules)
    assert list(found) == ([("slow", subject.removeprefix("node/"))] if fires else [])
    assert not fires or found["slow", subject.removeprefix("node/")].limit == limit


def test_a_measure_that_is_off_or_has_a_built_in_name_is_no_rule() -> None:
    off, disk = Measure(metric="load1", limit=1, off=True), Measure(metric="load1", limit=1)
    assert settings_of(Alert(measures={"busy": off, "disk": disk})).rules == RULES


def test_what_a_host_measures_of_itself_is_told_by_another_and_over_when_the_rule_goes() -> None:
    cluster = ops(3)
    busy = Measure(metric="load1", of="node/", limit=8, for_s=30, clear_s=0)
    cluster.accept("vps-1", docs.document("alert/rules", Alert(measures={"busy": busy})))
    cluster.run(10)
    core = cluster["vps-2"].core
    assert core is not None and core.measured() == {"load1"}
    cluster["vps-2"].step(Felt(figures={"load1": {"node/vps-2": 9.5, "shop.web/0": 99.0}}))
    cluster.run(60)
    ((_, teller, letter),) = cluster.letters
    assert (letter.rule, letter.subject, teller != "node/vps-2") == ("busy", "vps-2", True)
    assert letter.why == "vps-2 says: load1 is 9.5, above 8"
    cluster.accept("vps-1", docs.document("alert/rules", Alert(), 2))
    cluster.run(60)
    assert [e.over for _, _, e in cluster.letters] == [False, True]


def test_figures_of_slots_that_a_host_does_not_run_are_nothing() -> None:
    cluster = ops(3)
    slow = Measure(metric="probe_s", limit=0.5, for_s=0)
    cluster.accept("vps-1", docs.document("alert/rules", Alert(measures={"slow": slow})))
    lie(cluster, "vps-3", "alarm", "slow:shop.web/0", Alarm(since=0.0, why="a lie"))
    lie(cluster, "vps-3", "alarm", "slow:vps-2", Alarm(since=0.0, why="a lie"), 2)
    cluster.run(60)
    assert cluster.letters == []


def test_own_rules_that_fire_everywhere_hide_no_host_that_is_silent() -> None:
    cluster = ops(3)
    cluster.accept("vps-1", docs.document("alert/rules", Alert(measures={"a": Measure(metric="m", limit=0, for_s=0)})))
    cluster.run(10)
    cluster["vps-2"].step(Felt(disk=0.99, figures={"m": {f"shop.web/{n}": 1.0 for n in range(200)}}))
    cluster.run(320)
    said = situation(cluster, "vps-2").known.facts["alarm"]
    assert "disk:vps-2" in said and len(said) == OWN_MOST + 1


# --- what is wrong ----------------------------------------------------------------------------------------------------


def situation(cluster: Cluster, name: str) -> Situation:
    core = cluster[name].core
    assert core is not None
    return core._s


@pytest.mark.parametrize(
    ("felt", "found"),
    [
        (Felt(), {}),
        (Felt(disk=0.9, memory=0.2, clock_off_s=-10), {}),
        (Felt(disk=0.91, memory=0.21, clock_off_s=-11), {"disk": 0.91, "memory": 0.21, "clock": 11}),
        (Felt(refused="brought by vps-2: a record"), {"refused": 0.0}),
        (Felt(misdeed="vps-2: frames that are none: 3"), {"misdeed": 0.0}),
    ],
)
def test_what_a_host_finds_of_itself(felt: Felt, found: dict[str, float]) -> None:
    s = situation(cluster_of(1), "vps-1")
    s.alerting.felt = felt
    own = looking.of_own(s, RULES)
    assert {rule: finding.figure for (rule, _), finding in own.items()} == found
    assert {subject for _, subject in own} <= {"vps-1"}


def test_what_only_one_host_sees_is_told_by_another_when_it_can_not() -> None:
    cluster = ops(3)
    cluster["vps-2"].step(Felt(disk=0.97))
    cluster.run(320)
    told = [(e.rule, e.subject, node) for _, node, e in cluster.letters]
    assert told == [("disk", "vps-2", told[0][2])]
    assert told[0][2] != "node/vps-2", "it comes last in the order of what is about itself"
    assert "vps-2 says: its disk is 97% full" in cluster.letters[0][2].why
    cluster["vps-2"].step(Felt(disk=0.5))
    cluster.run(120)
    assert [(e.over, e.subject) for _, _, e in cluster.letters] == [(False, "vps-2"), (True, "vps-2")]


def test_a_host_that_starts_anew_goes_on_from_what_it_said_of_itself() -> None:
    """Its disk is still full: nobody is told that it is over, and nobody is told again."""
    cluster = ops(3)
    cluster["vps-2"].step(Felt(disk=0.97))
    cluster.run(320)
    cluster["vps-2"].end_agent()
    cluster["vps-2"].boot()
    cluster["vps-2"].step(Felt(disk=0.97))
    cluster.run(400)
    assert [(e.rule, e.subject, e.over) for _, _, e in cluster.letters] == [("disk", "vps-2", False)]


@pytest.mark.parametrize(
    ("rule", "subject"),
    [("disk", "vps-1"), ("restart-loop", "shop.web/0"), ("budget", "burst"), ("no-replica", "vps-3")],
)
def test_what_a_host_says_of_others_is_nothing(rule: str, subject: str) -> None:
    cluster = ops(3)
    lie(cluster, "vps-3", "alarm", f"{rule}:{subject}", Alarm(since=0.0, why="a lie"))
    cluster.run(60)
    assert cluster.letters == []


def lie(cluster: Cluster, liar: str, kind: str, key: str, body: Alarm | Sent, n: int = 1) -> None:
    fact = Fact(node=f"node/{liar}", kind=kind, key=key, seq=(99, n), time=0.0, body=body)
    for name, machine in cluster.machines.items():
        if name != f"node/{liar}":
            machine.step(RecordAccepted(record=fact, source=f"node/{liar}"))


# --- who sends --------------------------------------------------------------------------------------------------------


def ops(count: int, seed: int = 0) -> Cluster:
    """So many machines and one receiver."""
    cluster = cluster_of(count, seed=seed)
    cluster.accept("vps-1", docs.document("alert/ops", Alert(receiver=Receiver(kind="webhook"))))
    cluster.run(20)
    return cluster


def order_of(cluster: Cluster, key: Key) -> list[str]:
    return [node.removeprefix("node/") for node in sending.order(situation(cluster, "vps-1"), key)]


def test_all_compute_one_order_and_the_host_that_it_is_about_comes_last() -> None:
    cluster = ops(5)
    for key in (("disk", "vps-2"), ("no-replica", "shop.web"), ("host-silent", "vps-5")):
        orders = [sending.order(situation(cluster, f"vps-{n}"), key) for n in range(1, 6)]
        assert len(set(orders)) == 1
        assert f"node/{key[1]}" not in orders[0][:-1]


def test_who_says_to_have_sent_out_of_turn_keeps_nothing_quiet() -> None:
    cluster = ops(4)
    cluster.run(120)  # else they go on from what others say that fires
    *_, last, _ = order_of(cluster, ("host-silent", "vps-4"))
    day = int((CLOCK_AT_ZERO + cluster.clock.now_s) // sending.DAY_S) * sending.ROUNDS_A_DAY
    for n, round in enumerate((2**50, day + 100_000, day + 1, day)):
        lie(cluster, last, "sent", "host-silent:vps-4", Sent(round=round, since=0.0, time=0.0, told=("ops",)), n + 1)
    cluster["vps-4"].power_cut()
    cluster.run(45)
    assert [(e.rule, e.subject) for _, _, e in cluster.letters] == [("host-silent", "vps-4")]
    assert cluster.letters[0][1] != f"node/{last}"
    assert cluster.letters[0][2].round < day + 10


def test_a_lie_that_it_is_over_is_answered_by_telling_again() -> None:
    cluster = ops(4)
    cluster["vps-4"].power_cut()
    cluster.run(45)
    ((_, _, letter),) = cluster.letters
    _, second, *_ = order_of(cluster, ("host-silent", "vps-4"))
    said = Sent(round=letter.round, since=letter.since, time=0.0, told=("ops",), cleared=("ops",))
    lie(cluster, second, "sent", "host-silent:vps-4", said)
    cluster.run(150)
    assert [(e.over, e.round - letter.round) for _, _, e in cluster.letters] == [(False, 0), (False, 1)]


def test_what_fires_together_goes_into_one_letter_of_each_that_tells() -> None:
    cluster = ops(7)
    cluster.run(60)
    for name in ("vps-4", "vps-5", "vps-6", "vps-7"):
        cluster[name].power_cut()
    cluster.run(60)
    told = [(e.rule, e.subject) for _, _, e in cluster.letters]
    assert sorted(told) == [("host-silent", f"vps-{n}") for n in (4, 5, 6, 7)]
    tellers = {node for _, node, _ in cluster.letters}
    assert cluster.posted == len(tellers), "one letter each"
    firsts = {next(n for n in order_of(cluster, key) if n in ("vps-1", "vps-2", "vps-3")) for key in told}
    assert {node.removeprefix("node/") for node in tellers} == firsts


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_in_letters_about_several_nothing_is_lost_either(seed: int) -> None:
    """Up to four machines fall at once, the receiver is deaf for a while, and whoever sends may die before or after."""
    chance = random.Random(seed)
    cluster = ops(7, seed=seed)
    fallen = chance.sample(["vps-4", "vps-5", "vps-6", "vps-7"], chance.randrange(2, 5))
    for name in ("vps-1", "vps-2"):
        if chance.random() < 0.5:
            cluster.fatal[f"node/{name}"] = chance.choice(["before", "after"])
    if chance.random() < 0.5:
        cluster.deaf.add("ops")
    for name in fallen:
        cluster[name].power_cut()
    cluster.run(chance.uniform(40, 90))
    cluster.deaf.clear()
    cluster.run(60)
    cluster.fatal.clear()
    for name in ("vps-1", "vps-2"):
        if not cluster[name].on:
            cluster[name].boot()
    cluster.run(300)
    for name in fallen:
        its = [e for _, _, e in cluster.letters if (e.rule, e.subject) == ("host-silent", name)]
        assert its and not any(e.over for e in its), f"{name} was not told"
        assert len({e.round for e in its}) == 1, "one round, so one id, whoever sent it and beside whatever else"


def test_without_a_receiver_nothing_is_sent_and_what_fires_is_shown() -> None:
    cluster = cluster_of(3)
    cluster["vps-3"].power_cut()
    cluster.run(60)
    core = cluster["vps-1"].core
    assert core is not None
    assert [(row.rule, row.subject, row.sent) for row in core.alerts()] == [("host-silent", "vps-3", {})]
    assert cluster.letters == []
    cluster.accept("vps-1", docs.document("alert/ops", Alert(receiver=Receiver(kind="webhook"))))
    cluster.run(10)
    assert [e.subject for _, _, e in cluster.letters] == ["vps-3"], "who comes later is told of what fires"


def test_one_host_alone_shows_that_the_cloud_lives() -> None:
    cluster = cluster_of(3)
    cluster.accept("vps-1", docs.document("alert/watch", Alert(receiver=Receiver(kind="heartbeat"))))
    cluster.run(300)
    beats = [(at_s, node) for at_s, node, e in cluster.letters if e.rule == sending.BEAT]
    assert len({node for _, node in beats}) == 1 and 4 <= len(beats) <= 6
    cluster[beats[0][1].removeprefix("node/")].power_cut()
    cluster.run(300)
    others = {node for at_s, node, _ in cluster.letters if at_s > beats[-1][0]}
    assert len(others) == 1 and others != {beats[0][1]}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_whatever_dies_when_all_is_told_at_least_once_and_ended(seed: int) -> None:
    """One machine falls; whoever would send dies before or after it has; the others go and come. In the end all are back."""
    chance = random.Random(seed)
    cluster = ops(4, seed=seed)
    key = ("host-silent", "vps-4")
    for name in order_of(cluster, key)[:-1]:
        if chance.random() < 0.5:
            cluster.fatal[f"node/{name}"] = chance.choice(["before", "after"])
    cluster["vps-4"].power_cut()
    for _ in range(chance.randrange(6)):
        cluster.run(chance.uniform(5, 40))
        down = [path for path, machine in cluster.machines.items() if not machine.on and path != "node/vps-4"]
        if down:
            cluster.machines[chance.choice(down)].boot()
    for path, machine in cluster.machines.items():
        if not machine.on and path != "node/vps-4":
            machine.boot()
    cluster.fatal.clear()
    cluster.run(260)
    told = [e for _, _, e in cluster.letters if (e.rule, e.subject) == key]
    assert told and not any(e.over for e in told), "it is still down"
    assert len({e.round for e in told}) == 1, "one round, whoever sent it"
    cluster["vps-4"].boot()
    cluster.run(400)
    every = [e for _, _, e in cluster.letters]
    for about in {(e.rule, e.subject) for e in every}:
        its = [e for e in every if (e.rule, e.subject) == about]
        assert its[-1].over, f"{about} was not ended"
    for machine in cluster.machines.values():
        assert machine.core is not None and machine.core.alerts() == []


def test_what_was_said_is_let_go_of_after_a_day() -> None:
    cluster = ops(2)
    cluster["vps-2"].power_cut()
    cluster.run(60)
    cluster["vps-2"].boot()
    cluster.run(120)
    s = situation(cluster, "vps-1")
    assert "host-silent:vps-2" in s.known.facts["sent"]
    body = s.known.facts["sent"]["host-silent:vps-2"]["node/vps-1"]
    assert isinstance(body, Sent)
    s.known.put(
        "node/vps-1", "sent", "host-silent:vps-2", msgspec.structs.replace(body, time=body.time - sending.KEPT_S)
    )
    cluster.run(10)
    assert s.known.facts.get("sent", {}) == {}
