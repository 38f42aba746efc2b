"""Figures and rows as characters, whatever is told: bounded, cleaned, and unknown where nothing is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from skerry.cli.top import drawing
from skerry.cli.top.history import HOSTS, POINTS, History
from skerry.cli.top.look import Tones
from skerry.cli.top.reasons import reasons
from skerry.cli.top.rows import VIEWS, Cell, Column, Line, arranged, fitting
from skerry.cli.top.totals import head
from skerry.client.metrics import Series
from skerry.client.overview import AlertNow, HostNow, MachineNow, Overview, SlotNow, Warning

VALUES = st.lists(st.none() | st.floats(0, 1e18), max_size=200)
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]markup[/] \u202egnp.exe\n\x9b31m" * 2


def hostile() -> Overview:
    """Every text in it was written by somebody else."""
    slot = SlotNow(
        HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, False, HOSTILE, HOSTILE, 1e300, HOSTILE, verdict=HOSTILE
    )
    host = HostNow(
        HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, {"cpus": 0.0}, {"cpus": -1.0}, HOSTILE, HOSTILE, HOSTILE
    )
    machine = MachineNow(
        HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, why=HOSTILE, asks=HOSTILE, provider=HOSTILE
    )
    figures = {HOSTILE: {"cpu_cores": 1e308, "memory_bytes": -1.0, "memory_limit_bytes": 0.0}}
    return Overview(
        cloud=HOSTILE, at=0.0, hosts=(host,), slots=(slot,), machines=(machine,), figures=figures,
        warnings=(Warning("bad", HOSTILE, HOSTILE),),
        alerts=(AlertNow(HOSTILE, HOSTILE, -1e18, HOSTILE, 0.0, {HOSTILE: (HOSTILE,)}),),
    )  # fmt: skip


@given(values=VALUES, width=st.integers(1, 80), most=st.none() | st.floats(0, 1e18))
def test_a_line_is_as_wide_as_it_should_be_and_has_gaps_where_nothing_is_known(
    values: list[float | None], width: int, most: float | None
) -> None:
    line = drawing.spark(values, width, most)
    assert len(line) == cell_len(line) == width
    for character, value in zip(line[-len(values) :], values[-width:], strict=False):
        assert (character == " ") == (value is None)
    for row in drawing.chart(values, width, 3, most):
        assert len(row) == cell_len(row) == width


@given(value=st.none() | st.floats(0, 1e18))
def test_amounts_fit_their_column(value: float | None) -> None:
    for text in (drawing.amount(value), drawing.percent(None if value is None else min(value, 9.0))):
        assert 0 < len(text) <= 5
    assert len(drawing.cores(None if value is None else min(value, 9e4))) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (999, "999"), (1024, "1.0K"), (1536, "1.5K"), (10 << 20, "10M"), (1 << 40, "1.0T"),
     (1023 << 20, "1.0G")],
)  # fmt: skip
def test_an_amount_has_two_digits_that_count(value: float | None, text: str) -> None:
    assert drawing.amount(value) == text


def test_the_newest_value_stands_at_the_right_and_the_highest_is_the_highest() -> None:
    assert drawing.spark([0.0, 0.5, 1.0], 5, 1.0) == "  ▁▅█"
    assert drawing.chart([0.0, 0.5, 1.0], 4, 2, 1.0) == ["   █", " ▁██"]


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_that_others_wrote_steers_the_terminal_or_is_read_as_markup(view: str) -> None:
    history, seen = History(), hostile()
    history.add(seen)
    tones = Tones(colours=True)
    lines = VIEWS[view].lines(seen, history)
    assert lines
    for line in lines:
        for column in fitting(VIEWS[view].columns, lines, 200):
            text = tones.cell(line.cells.get(column.key, Cell("")), column.width, right=column.right)
            assert text.plain.isprintable() and len(text.plain) == column.width
        shown = " ".join(cell.text for cell in line.cells.values())
        assert "[bold red]markup[/]" in shown and "\\x1b[2J" in shown and "\\u202e" in shown


def test_an_explanation_that_a_captured_host_made_up_is_shown_as_words() -> None:
    answer = {"node": HOSTILE, "rank": HOSTILE, "answer": HOSTILE, "why": HOSTILE}
    slot = {"order": [answer, HOSTILE], "holder": HOSTILE, "wanted": HOSTILE, "image": None, "awaits": [HOSTILE]}
    slot |= {"because": HOSTILE, "advice": [{"what": HOSTILE, "command": HOSTILE}, {"command": 7}, HOSTILE]}
    told = {HOSTILE: slot, "another": slot | {"advice": 7}, "a host": {HOSTILE: [HOSTILE]}}
    for parts in reasons(told):
        assert all(words.isprintable() for words, _ in parts)


def test_what_would_change_where_a_slot_is_is_told_with_its_command() -> None:
    advice = [{"what": "undrain vps-2, and it moves there", "command": "skerry host undrain vps-2"}]
    lines = reasons(
        {
            "shop.web/0": {
                "order": [],
                "holder": "vps-1",
                "because": "rank 1, after vps-2 (it is drained)",
                "advice": advice,
            }
        }
    )
    shown = ["".join(words for words, _ in parts) for parts in lines]
    assert "  because  rank 1, after vps-2 (it is drained)" in shown
    assert "  advice   undrain vps-2, and it moves there   skerry host undrain vps-2" in shown


@pytest.mark.parametrize("width", [40, 79, 120, 300])
@pytest.mark.parametrize("view", VIEWS)
def test_columns_fit_and_the_name_is_never_left_out(view: str, width: int) -> None:
    lines = [Line("a", {c.key: Cell("x" * 60) for c in VIEWS[view].columns})]
    fits = fitting(VIEWS[view].columns, lines, width)
    assert "name" in {column.key for column in fits}
    if width >= 79:
        assert sum(column.width + 1 for column in fits) <= width + 1
        assert {"cpu", "memory"} <= {c.key for c in fits} or view in ("machines", "warnings")


def test_lines_are_sorted_by_figures_and_what_is_unknown_comes_last_both_ways() -> None:
    cells = {"a": 1.0, "b": None, "c": 12.0, "d": 3.0}
    lines = [
        Line(key, {"cpu": Cell("–" if v is None else f"{v:g}", "", v), "name": Cell(key)}) for key, v in cells.items()
    ]
    assert [line.key for line in arranged(lines, "cpu", reverse=True, wanted="")] == ["c", "d", "a", "b"]
    assert [line.key for line in arranged(lines, "cpu", reverse=False, wanted="")] == ["a", "d", "c", "b"]
    assert [line.key for line in arranged(lines, "cpu", reverse=False, wanted="D")] == ["d"]


def test_history_is_bounded_forgets_who_is_gone_and_adds_up_what_is_known() -> None:
    history = History()
    hosts = (HostNow("a", "up"), HostNow("b", "down"))
    for n in range(POINTS + 10):
        figures = {"node/a": {"cpu_cores": float(n)}}
        history.add(Overview(cloud="c", at=0.0, hosts=hosts, figures=figures))
    assert history.of(HOSTS, "cpu_cores") == [float(n) for n in range(10, POINTS + 10)]
    assert set(history.of("node/b", "cpu_cores")) == {None}
    history.add(Overview(cloud="c", at=0.0, hosts=hosts[1:], lost="all of them"))
    assert history.of("node/a", "cpu_cores") == [] and history.of(HOSTS, "cpu_cores")[-1] is None
    assert not any(math.isnan(v or 0.0) for v in history.of(HOSTS, "cpu_cores"))


def test_history_begins_with_what_hosts_have_kept_each_of_itself_and_of_what_it_holds() -> None:
    history = History()
    slots = tuple(SlotNow(f"shop.web/{n}", "shop", "web", host, "running", True) for n, host in enumerate("ab"))
    seen = Overview(cloud="c", at=0.0, hosts=(HostNow("a", "up"), HostNow("b", "up")), slots=slots)
    history.add(seen)
    told = [("a", "node/a", [1.0, None, 3.0]), ("a", "node/b", [99.0]), ("b", "shop.web/1", [1.0, 2.0, 3.0]),
            ("a", "shop.web/0", [5.0]), ("b", "shop.web/0", [99.0])]  # fmt: skip
    history.begin([Series(host, subject, "cpu_cores", 103.0 - len(v), 1, v) for host, subject, v in told], seen)
    assert history.of("node/a", "cpu_cores") == [1.0, None, 3.0, None]
    assert history.of("node/b", "cpu_cores") == [None]
    assert history.of("shop.web", "cpu_cores") == [1.0, 2.0, 8.0, None]
    assert history.of(HOSTS, "cpu_cores") == [1.0, None, 3.0, None]


def test_a_column_that_has_no_room_is_left_out_by_its_rank() -> None:
    columns = [
        Column("name", "N", 0),
        Column("a", "A", 10, right=True, spare=1),
        Column("b", "B", 10, right=True, spare=2),
    ]
    assert [c.key for c in fitting(columns, [], 30)] == ["name", "a"]
    assert [c.key for c in fitting(columns, [], 40)] == ["name", "a", "b"]


def test_what_fires_comes_first_and_what_is_silenced_last_and_none_hides_another() -> None:
    seen = Overview(
        cloud="c", at=1000.0, hosts=(HostNow("a", "down"), HostNow("b", "up")),
        warnings=(Warning("bad", "a", "down"), Warning("watch", "b", "disk 91% full")),
        alerts=(AlertNow("disk", "b", 900.0, "91 %", 2000.0), AlertNow("host-silent", "a", 900.0, "down"),
                AlertNow("clock", "a", 900.0, "12 s off", 0.0, {"b": ("ops", "mail")})),
    )  # fmt: skip
    lines = VIEWS["warnings"].lines(seen, History())
    order = arranged(lines, "mark", reverse=False, wanted="")
    assert [line.key for line in order] == ["alert host-silent a", "alert clock a", "host a", "host b", "alert disk b"]
    words = [line.cells["why"].text for line in order]
    assert words[0].endswith("nobody is told yet") and words[1].endswith("told: mail, ops")
    assert words[-1].endswith("silenced")
    line = head(Tones(colours=True), seen, 100, paused=False).plain
    assert "! 2 alerts" in line and "2 to look at" in line
