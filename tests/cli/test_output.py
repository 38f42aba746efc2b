"""What is shown to people and to programs, of answers that hosts gave. The hosts are stood in for by canned answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.small import archive
from skerry.cli import lab as cli_lab
from skerry.cli import run as cli_run
from skerry.cli.explain import outline
from skerry.cli.main import run, skerry
from skerry.cli.output import Terminal, age, as_json, clean, table
from skerry.cli.ps import _watch
from skerry.errors import Passing, TrustRefusal, Unreachable
from skerry.lab.errors import LabAlreadyUp

PS = [
    {
        "slot": "shop.web/0",
        "app": "shop",
        "service": "web",
        "node": "vps-1",
        "state": "running",
        "healthy": True,
        "version": 2,
        "image": "sha256:" + "ab" * 32,
        "since": 1767225600.0,
        "claims": ["vps-1", "vps-3"],
        "finished": False,
        "restarts": 0,
    },
    {
        "slot": "shop.db/0",
        "app": "shop",
        "service": "db",
        "node": "",
        "state": "waiting",
        "healthy": False,
        "version": 2,
        "image": "sha256:" + "cd" * 32,
        "since": 1767225600.0,
        "claims": [],
        "why": "its data is on vps-2,\x1b[31m which is down",
        "finished": False,
        "restarts": 0,
    },
]
CRASHES = [{"slot": "shop.db/0", "time": 1767225600.0, "exit_code": 3, "oom": False, "again": 2}]
LINES = [
    {"node": "vps-1", "slot": "shop.web/0", "time": "2026-11-26T10:00:01", "stream": "stdout", "text": "hello"},
    {
        "node": "vps-1",
        "slot": "shop.web/0",
        "time": "2026-11-26T10:00:02",
        "stream": "stderr",
        "text": "\x1b]0;title\x07 \r gone",
    },
]


def sent(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """As hosts send them."""
    return {"rows": [[row["time"], row["slot"], row["stream"], row["text"]] for row in rows]}


class Hosts:
    """Answers every request of a session from a table."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []
        self.nodes = {"node/vps-1": None}

    async def request(self, verb: str, args: Any = None, *, node: str | None = None) -> Any:
        self.asked.append((verb, args))
        answer = self.answers[verb]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stream(
        self, verb: str, args: Any = None, *, node: str | None = None, silence_s: float | None = None, shape: Any = Any
    ) -> AsyncIterator[Any]:
        self.asked.append((verb, args))
        for row in self.answers[verb]:
            yield msgspec.convert(row, shape)

    async def everywhere(self, verb: str, args: Any = None, *, nodes: Any = None) -> dict[str, Any]:
        return {node: await self.request(verb, args) for node in self.nodes}

    def unreached(self, whys: list[str]) -> Unreachable:
        return Unreachable("no host could be reached", "; ".join(whys))


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    stand_in = Hosts({})

    def in_cloud(
        terminal: Terminal,
        cloud: str,
        secret: str | None,
        work: Callable[[Any], Awaitable[Any]],
        *,
        changes: bool = False,
    ) -> Any:
        if changes:
            terminal.cloud("demo")

        async def go() -> Any:
            return await work(stand_in)

        return asyncio.run(go())

    monkeypatch.setattr(cli_run, "in_cloud", in_cloud)
    return stand_in


def test_ps_for_people_and_for_programs(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    hosts.answers["ps"], hosts.answers["crashes"] = PS, CRASHES
    crashed = "ended with exit code 3 on vps-1, and 2 times since, 2026-01-01T00:00:00Z: skerry crashes shop.db/0"
    assert run(["ps", "shop", "--json"]) == 0
    since = "2026-01-01T00:00:00.000000+00:00"
    rows = [{**row, "since": since, "crashed": told} for row, told in zip(PS, ("", crashed), strict=True)]
    assert json.loads(capsys.readouterr().out) == rows
    assert hosts.asked == [("ps", {"subject": "shop"}), ("crashes", {"subject": "shop"})]
    why = "2.40 are wanted"
    hosts.answers["scaling"] = [{"app": "shop", "service": "web", "replicas": 3, "min": 1, "max": 6, "why": why}]
    assert run(["ps"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["SLOT", "NODE", "STATE", "HEALTHY", "VERSION", "IMAGE", "AGE", "WHY"]
    assert shown[1].split()[:6] == ["shop.web/0", "vps-1", "running", "yes", "2", "abababababab"]
    assert "\\x1b[31m which is down" in shown[2]
    assert shown[-3] == "shop.web: 3 of 1 to 6, because 2.40 are wanted"
    assert shown[-1] == f"shop.db/0 crashed: {crashed}"


def test_logs_are_shown_in_one_stream_and_can_not_steer_the_terminal(
    hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts.answers["ps"] = PS
    hosts.answers["logs"] = [sent(LINES)]
    assert run(["logs", "web", "-f"]) == 4  # the only host ends the stream
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "\x1b" not in captured.out and "\\x1b]0;title\\x07 \\r gone" in captured.out
    assert "vps-1 did not answer" in captured.err
    assert run(["logs", "web", "-f", "--json"]) == 4
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"text"' in line]
    assert [row["text"] for row in rows] == [LINES[0]["text"], LINES[1]["text"]]


def test_logs_that_end_are_one_document(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    hosts.answers["logs"] = [sent([LINES[1]]), sent([LINES[0]])]
    assert run(["logs", "--json"]) == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == [LINES[0]["text"], LINES[1]["text"]]


def test_a_changing_command_names_the_cloud_first(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    hosts.answers["volume-rm"] = {"app": "shop", "volume": "data", "node": "vps-1"}
    assert run(["volume", "rm", "vps-1", "shop", "data", "--yes"]) == 0
    assert capsys.readouterr().err.splitlines()[0] == "cloud demo"


def test_what_would_delete_asks_first_and_no_answer_is_no(
    hosts: Hosts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["volume", "rm", "vps-1", "shop", "data", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not-confirmed"
    assert hosts.asked == []


class Refused(TrustRefusal):
    code = "test-refused"


class Later(Passing):
    code = "test-later"


@pytest.mark.parametrize(
    ("error", "code"), [(Refused("no", "because", "do this"), 3), (Later("not now", "busy", "try again"), 1)]
)
def test_errors_say_what_why_and_fix_and_end_with_their_code(
    hosts: Hosts, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    hosts.answers["explain"] = error
    assert run(["explain", "web/0", "--json"]) == code
    captured = capsys.readouterr()
    document = json.loads(captured.out)["error"]
    assert document["code"] == error.code  # type: ignore[attr-defined]
    assert document["type"] == ("passing" if code == 1 else "final")
    assert captured.err.splitlines()[0] == f"error: {error}".partition(":")[0] + f": {document['what']}"
    assert captured.err.splitlines()[1:] == [f"  why: {document['why']}", f"  fix: {document['fix']}"]


def test_what_an_error_of_a_lab_says_to_type_is_of_that_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lab(name: str) -> None:
        raise LabAlreadyUp(name)

    monkeypatch.setattr(cli_lab, "_lab", lab)
    for name, option in (("lab", ""), ("other", " --lab other")):
        assert run(["lab", "kill", "vps-1", "--lab", name]) == 1
        fix = f"fix: see skerry lab status{option}, or take it down first: skerry lab down{option}\n"
        assert capsys.readouterr().err.endswith(fix)


def test_a_bug_of_our_own_is_not_dressed_up_as_an_error(hosts: Hosts) -> None:
    hosts.answers["explain"] = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        run(["explain", "web/0"])


def test_nothing_is_coloured_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Terminal().paint("x", "red") == "x"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Terminal().paint("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal().paint("x", "red") == "x"


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_says_the_same_and_sends_no_control_character(value: object) -> None:
    """A terminal may take U+009B for the beginning of an escape, which JSON lets pass; and U+202E turns the rest round."""
    for indent in (None, 2):
        shown = as_json(value, indent)
        assert json.loads(shown) == value
        assert all(c.isprintable() or c == "\n" for c in shown)


def test_what_a_command_forgot_to_clean_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    foreign = "a\x1b[2Jb\x9b8mc\u202ed\x07\r"
    terminal.answer({}, f"\x1b[31mred\x1b[0m\t{foreign}\n")
    terminal.line({}, foreign)
    terminal.text(f"{foreign}\nnext\n")
    shown = "a\\x1b[2Jb\\x9b8mc\\u202ed\\x07\\r"
    assert capsys.readouterr().out == f"\x1b[31mred\x1b[0m\t{shown}\n{shown}\n{shown}\nnext\n"


@given(st.text())
def test_foreign_text_is_one_line_and_sends_no_control_character(text: str) -> None:
    assert clean(text).isprintable()


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("ab"),
            st.none()
            | st.text()
            | st.integers()
            | st.lists(st.text(), max_size=2)
            | st.dictionaries(st.text(), st.text(), max_size=2),
        ),
        max_size=4,
    )
)
def test_a_table_has_a_line_for_each_row(rows: list[dict[str, Any]]) -> None:
    assert len(table(rows, ("a", "b")).splitlines()) == len(rows) + 1


def test_answers_are_outlined() -> None:
    answer = {"slot": "web/0", "order": ["vps-1", "vps-2"], "why": {"vps-1": "rank 0"}, "none": None, "empty": []}
    assert outline(answer) == ["slot: web/0", "order:", "  - vps-1", "  - vps-2", "why:", "  vps-1: rank 0"]


def test_a_limit_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().rows([{"limit": 0.25, "other": 2.0}], ("limit", "other"))
    assert capsys.readouterr().out.split()[2:] == ["0.25", "2.0"]


def test_an_image_is_exported_for_other_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its path here, as a name needs a build; what other tools make of it: tests/image/test_oci.py."""
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "home"))
    archive(tmp_path / "docker.tar", b"program")
    for name, marker in (("web", "web/index.json"), ("web.tar", "web.tar")):
        assert run(["image", "export", str(tmp_path / "docker.tar"), str(tmp_path / name), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["image"].startswith("sha256:")
        assert (tmp_path / marker).is_file()
        assert run(["image", "export", str(tmp_path / "docker.tar"), str(tmp_path / name)]) == 2
    assert run(["image", "export", str(tmp_path / "docker.tar"), str(tmp_path / "none" / "web.tar")]) == 2


async def test_what_is_watched_comes_line_by_line_where_it_is_read_by_a_program(
    hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts.answers["ps"] = PS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await _watch(Terminal(), hosts, None)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "shop.web/0" in shown


def test_ages() -> None:
    import time

    now_s = time.time()
    assert [age(now_s - s) for s in (5, 119, 3600, 7200, 3 * 86400)] == ["5s", "119s", "60m", "2h", "3d"]
    assert age(None) == "-"


def test_sizes_have_their_unit_in_tables(capsys):
    Terminal().rows([{"free": {"cpus": 2.0, "memory_bytes": 3 << 29}, "size_bytes": 177}], ("free", "size_bytes"))
    assert capsys.readouterr().out == "FREE                     SIZE\ncpus=2.0,memory=1.5 GiB  177 B\n"


@pytest.mark.parametrize(("command", "left"), [("image ls", "what was done is kept"), ("ps", "`skerry ps` shows it")])
def test_ctrl_c_says_what_is_left_of_what_was_begun(
    command: str, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(skerry, "main", interrupted)
    assert run(command.split()) == 1
    assert left in capsys.readouterr().err
