"""Spreading, without any network: every set of nodes that can talk ends with the same records, whatever is lost."""

from __future__ import annotations

import contextlib
import random
from collections import deque
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.core.facts import Saw
from skerry.core.gossip import Gossip, SendMessage, SendRecords, grouped, heads_digest, token
from skerry.core.held import bucket_of
from skerry.core.messages import (
    BUCKETS,
    FRAME_BYTES,
    IDS_A_MESSAGE,
    PUSH_RECORDS,
    Buckets,
    Heads,
    HoldsAnswer,
    HoldsAsk,
    Ids,
    ProbeAnswer,
    ProbeAsk,
    Push,
    Want,
    WantNamed,
    decode,
    encode,
)
from skerry.core.records import Fact
from skerry.errors import BadFormat


class Cloud:
    """Nodes that hold id -> number (the higher wins), joined by links that keep order, and may lose pushes."""

    def __init__(self, names, lost=lambda: False):
        self.held = {name: {} for name in names}
        self.gossip = {name: Gossip(name) for name in names}
        self.wire = deque()
        self.lost = lost
        self.now_s = 0.0
        self.pushed = 0
        self.pushed_bytes = 0
        self.size_bytes = 700
        self.messages = 0
        self.refuses = {name: set() for name in names}

    def link(self, a, b):
        self._send(a, self.gossip[a].link_up(b, self.now_s))
        self._send(b, self.gossip[b].link_up(a, self.now_s))

    def write(self, name, id, number, source="", kind="slot", mark=""):
        if self.held[name].get(id, -1) > number:
            self._send(name, self.gossip[name].outdated(id, source, self.now_s))
            return
        if id in self.refuses[name]:
            self.gossip[name].refused(id, self.token(number), self.now_s)
            return
        self.held[name][id] = number
        token = self.token(number)
        sends = self.gossip[name].accepted(id, token, source, self.now_s, kind, size_bytes=self.size_bytes, mark=mark)
        self._send(name, sends)

    def run(self, seconds, step_s=0.5):
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += step_s
            for name, gossip in self.gossip.items():
                self._send(name, gossip.tick(self.now_s))
            self.settle()

    def settle(self):
        turns = 0
        while self.wire:
            turns += 1
            assert turns < 200_000, "they never stop talking"
            source, to, what = self.wire.popleft()
            if isinstance(what, tuple):
                for id, number in what:
                    kind = "up" if id.endswith("|up|") else "slot"
                    self.write(to, id, number, source, kind)
            else:
                self._send(to, self.gossip[to].heard(source, decode(encode(what)), self.now_s))

    def same(self):
        first, *rest = (
            {id: number for id, number in held.items() if not id.endswith("|up|")} for held in self.held.values()
        )
        return all(each == first for each in rest)

    @staticmethod
    def token(number):
        return f"{number:016x}"

    def _send(self, name, sends):
        for send in sends:
            self.messages += 1
            if isinstance(send, SendRecords):
                assert len(send.ids) <= PUSH_RECORDS
                self.pushed += len(send.ids)
                self.pushed_bytes += len(send.ids) * self.size_bytes
                if not self.lost():
                    self.wire.append((name, send.peer, tuple((id, self.held[name][id]) for id in send.ids)))
            else:
                self.wire.append((name, send.peer, send.message))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), count=st.integers(2, 7), writes=st.integers(1, 60), loss=st.integers(0, 8))
def test_whatever_is_lost_all_nodes_end_with_the_newest_of_every_record(seed, count, writes, loss):
    names = [f"node/{i}" for i in range(count)]
    rng = random.Random(seed)  # fair dice: a chooser of examples would lose every push for ever
    cloud = Cloud(names, lost=lambda: rng.random() * 10 < loss)
    for i in range(1, count):  # a tree, so that all are connected, and some more
        cloud.link(names[i], names[rng.randrange(i)])
    for _ in range(rng.randrange(count)):
        a, b = rng.sample(names, 2)
        if b not in cloud.gossip[a].neighbours:
            cloud.link(a, b)
    newest = {}
    for i in range(writes):
        id, number = f"node/x|slot|{rng.randrange(20)}", rng.randrange(1000)
        newest[id] = max(number, newest.get(id, 0))
        cloud.write(rng.choice(names), id, number)
        if i % 7 == 0:
            cloud.run(1.0)
    while not cloud.same():  # the gap between two tries grows to a minute: with 8 of 10 lost it may take long
        cloud.run(30.0, step_s=3.0)
        assert cloud.now_s < 20_000
    cloud.run(30.0, step_s=3.0)
    assert cloud.held[names[0]] == newest  # what was superseded never came back
    assert len({gossip.digest for gossip in cloud.gossip.values()}) == 1


def test_a_new_record_reaches_all_at_once_and_each_link_carries_it_once_in_each_direction_at_most():
    names = [f"node/{i}" for i in range(6)]
    cloud = Cloud(names)
    for i, a in enumerate(names):
        for b in names[:i]:
            cloud.link(a, b)
    cloud.settle()
    cloud.write("node/0", "node/0|slot|x", 1)
    cloud.settle()
    assert all(held == {"node/0|slot|x": 1} for held in cloud.held.values())
    assert cloud.pushed <= 2 * 15


def test_nodes_that_agree_only_exchange_one_digest_every_three_seconds():
    cloud = Cloud(["node/a", "node/b"])
    cloud.link("node/a", "node/b")
    for i in range(100):
        cloud.write("node/a", f"node/a|slot|{i}", 1)
    cloud.run(10)
    before = cloud.messages
    cloud.run(30)
    assert cloud.messages - before == 2 * 10


def test_a_new_node_is_filled_at_the_speed_of_its_link_and_never_by_more_than_its_queue_holds():
    cloud = Cloud(["node/old", "node/new"])
    cloud.size_bytes = 4096
    for i in range(5000):
        cloud.write("node/old", f"node/x|slot|{i:05}", 1)
    waiting = []
    settle, cloud.settle = cloud.settle, lambda: None
    cloud.link("node/old", "node/new")
    while cloud.wire:
        waiting.append(sum(len(what) for *_, what in cloud.wire if isinstance(what, tuple)) * 4096)
        source, to, what = cloud.wire.popleft()
        rest, cloud.wire = cloud.wire, deque([(source, to, what)])
        if isinstance(what, tuple):
            for id, number in what:
                cloud.write(to, id, number, source)
            cloud.wire.popleft()
        else:
            cloud.wire.clear()
            cloud._send(to, cloud.gossip[to].heard(source, what, 0.0))
        cloud.wire = rest + cloud.wire
    cloud.settle = settle
    assert cloud.same()  # without a single tick
    assert max(waiting) < 4 << 20
    assert cloud.pushed < 5000 * 1.1


def test_what_a_node_refuses_is_neither_asked_for_nor_sent_in_every_round():
    cloud = Cloud(["node/a", "node/b"])
    cloud.refuses["node/b"] = {f"app/{i}" for i in range(50)}
    cloud.link("node/a", "node/b")
    for i in range(50):
        cloud.write("node/a", f"app/{i}", 1)
    cloud.run(300)
    assert cloud.pushed < 50 * 30
    cloud.refuses["node/b"] = set()  # now the key that it rests on has come
    cloud.run(61)
    assert cloud.same()


def test_hostile_neighbours_cannot_make_us_send_without_end():
    gossip = Gossip("node/a")
    gossip.link_up("node/evil", 0.0)
    for i in range(3000):
        gossip.accepted(f"node/x|slot|{i}", f"{i:016x}", "", 0.0, size_bytes=4096)
    sent = 0
    for _ in range(1000):
        for message in (
            Heads(b"\0" * 16),
            Buckets((b"\0" * 16,) * BUCKETS),
            Ids(0, "", "", {}),
            Want(tuple(f"node/x|slot|{i}" for i in range(500))),
            Want(("nothing",)),
        ):
            sent += sum(len(s.ids) for s in gossip.heard("node/evil", message, 1.0) if isinstance(s, SendRecords))
        for out in gossip.outdated("node/x|slot|1", "node/evil", 1.0):
            sent += len(out.ids) if isinstance(out, SendRecords) else 0
    assert sent < 1000
    assert gossip.heard("node/stranger", Heads(b"\0" * 16), 1.0) == []
    assert gossip.outdated("node/x|slot|1", "node/stranger", 1.0) == []


def ups(cloud):
    return {name: held.get("node/0|up|") for name, held in cloud.held.items()}


def test_up_facts_go_to_neighbours_each_time_and_further_every_fifteen_seconds():
    names = ["node/0", "node/1", "node/2", "node/3"]
    cloud = Cloud(names)
    for a, b in pairwise(names):
        cloud.link(a, b)
    cloud.settle()
    oldest = dict.fromkeys(names, 0)
    for beat in range(1, 120):
        cloud.now_s += 1.0
        cloud.write("node/0", "node/0|up|", beat, kind="up")
        cloud.settle()
        assert ups(cloud)["node/1"] == beat
        for name in names:
            oldest[name] = max(oldest[name], beat - (ups(cloud)[name] or 0))
    assert 10 <= oldest["node/2"] <= 16
    assert oldest["node/3"] <= 26
    assert cloud.gossip["node/0"].digest == Gossip("x").digest  # they are no part of what is compared


def test_a_changed_mark_of_an_up_fact_is_forwarded_at_once():
    gossip = Gossip("node/b")
    gossip.link_up("node/a", 0.0)
    gossip.link_up("node/c", 0.0)
    up = "node/a|up|"
    assert gossip.accepted(up, "1" * 16, "node/a", 1.0, "up", mark="1/1/1") == [SendRecords("node/c", (up,))]
    assert gossip.accepted(up, "2" * 16, "node/a", 2.0, "up", mark="1/1/1") == []
    assert gossip.accepted(up, "3" * 16, "node/a", 3.0, "up", mark="2/1/1") == [SendRecords("node/c", (up,))]
    assert gossip.accepted(up, "3" * 16, "node/c", 3.0, "up", mark="2/1/1") == []


def test_a_new_neighbour_is_shown_who_lives_but_not_who_has_been_silent():
    gossip = Gossip("node/b")
    gossip.accepted("node/dead|up|", "1" * 16, "", 0.0, "up")
    gossip.accepted("node/a|up|", "1" * 16, "", 25.0, "up")
    first, shown = gossip.link_up("node/c", 30.0)
    assert isinstance(first, SendMessage) and isinstance(first.message, Heads)
    assert shown == SendRecords("node/c", ("node/a|up|",))


def test_what_is_forgotten_is_neither_counted_nor_sent():
    a, b = Gossip("node/a"), Gossip("node/b")
    a.accepted("node/x|slot|1", "1" * 16, "", 0.0)
    a.accepted("node/x|up|", "1" * 16, "", 0.0, "up")
    a.forgotten("node/x|slot|1")
    a.forgotten("node/x|up|")
    a.forgotten("never held")
    assert a.digest == b.digest
    assert len(a.link_up("node/b", 1.0)) == 1


def test_two_states_with_equal_sums_have_different_digests():
    a, b = Gossip("node/a"), Gossip("node/b")
    for gossip, tokens in ((a, "12"), (b, "21")):
        for id, digit in zip(("node/x|slot|1", "node/x|slot|2"), tokens, strict=True):
            gossip.accepted(id, digit * 16, "", 0.0)
    assert a.digest != b.digest
    assert heads_digest({"a": "b"}) != heads_digest({"ab": ""})
    assert heads_digest({"a": "1", "b": "2"}) == heads_digest({"b": "2", "a": "1"})


def test_a_token_names_one_state():
    def fact(n, hash="00"):
        return Fact(node="node/a", kind="saw", key="k", seq=(1, n), time=0.0, body=Saw(spec="s", ok=True), hash=hash)

    assert len(token(fact(1))) == 16
    assert token(fact(1)) == token(fact(1))
    assert len({token(fact(1)), token(fact(2)), token(fact(1, "01"))}) == 3


def test_a_large_bucket_is_listed_in_parts_that_leave_no_gap():
    gossip = Gossip("node/a")
    gossip.link_up("node/b", 0.0)
    ids = [id for id in (f"node/x|slot|{i}" for i in range(400_000)) if bucket_of(id) == 3][: IDS_A_MESSAGE * 2 + 5]
    for id in ids:
        gossip.accepted(id, "1" * 16, "", 0.0)
    own = list(gossip._held.digests())
    own[3] = b"\0" * 16
    lists = [send.message for send in gossip.heard("node/b", Buckets(tuple(own)), 0.0)]
    assert [(each.after == "", each.until == "") for each in lists] == [(True, False), (False, False), (False, True)]
    assert lists[0].until == lists[1].after and lists[1].until == lists[2].after
    assert {id for each in lists for id in each.tokens} == set(ids)
    assert all(len(encode(each)) < FRAME_BYTES for each in lists)


def test_record_lists_to_one_neighbour_are_joined_but_not_past_a_message():
    heads = SendMessage("a", Heads(b"\0" * 16))
    sends = [SendRecords("a", ("1",)), SendRecords("b", ("1",)), SendRecords("a", ("2", "1")), heads]
    assert grouped([*sends, SendRecords("a", ("3",))]) == [
        SendRecords("a", ("1", "2")),
        SendRecords("b", ("1",)),
        heads,
        SendRecords("a", ("3",)),
    ]


MESSAGES = [
    Push((b"raw", b"")),
    Heads(b"0" * 16),
    Buckets((b"0" * 16,) * BUCKETS),
    Ids(63, "", "z", {"a": "0" * 16}),
    Want(("a", "b")),
    WantNamed(("f" * 64,)),
    ProbeAsk("node/a"),
    ProbeAnswer("node/a", True),
    HoldsAsk(7, ("f" * 64,)),
    HoldsAnswer(7, False),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back_as_they_went(message):
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "hostile",
    [
        ["want", ["x" * 401]],
        ["want", ["a"] * 513],
        ["want", [""]],
        ["push", [b"x"] * 513],
        ["push", [b"x" * 131_073]],
        ["push", ["text"]],
        ["heads", b"short"],
        ["buckets", [b"0" * 16] * 63],
        ["ids", 64, "", "", {}],
        ["ids", 0, "", "", {str(i): "0" * 16 for i in range(2049)}],
        ["ids", 0, "", "", {"a": "0" * 17}],
        ["probe-answer", "node/a", 1],
        ["heads", b"0" * 16, "more"],
        ["unknown"],
        [],
        None,
        {"heads": 1},
    ],
)
def test_a_message_beyond_its_bounds_is_refused(hostile):
    with pytest.raises(BadFormat):
        decode(msgspec.msgpack.encode(hostile))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_bad_format(data):
    try:
        decode(data)
    except BadFormat as error:
        assert error.why


@given(st.sampled_from(MESSAGES), st.integers(0, 400), st.integers(0, 255))
def test_a_message_with_one_byte_changed_is_a_message_or_bad_format(message, at, byte):
    data = bytearray(encode(message))
    data[at % len(data)] = byte
    with contextlib.suppress(BadFormat):
        decode(bytes(data))


def test_a_message_beyond_a_frame_is_our_bug_to_send_and_refused_to_read():
    with pytest.raises(ValueError):
        encode(Push((b"x" * 131_072,) * 9))
    with pytest.raises(BadFormat):
        decode(bytes(FRAME_BYTES + 1))
