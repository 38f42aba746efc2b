"""Looking into a container by the command line: who may, what it says, and that nothing is left of it. Real containers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.beside import SLOT, CloudBeside
from agent.small import Aside
from client.conftest import commands_beside, quick_age
from client.test_roles import Person
from skerry.agent.debugging import sessions as agent_debugging
from skerry.client import debugging
from skerry.client.home import Home
from skerry.client.session import Session
from skerry.errors import SkerryError
from skerry.mesh import terminals as t
from skerry.mesh.messages import recv_bytes, send_bytes
from skerry.observe.events import Entry
from skerry.trust.requests import make_request

__all__ = ["quick_age"]
pytestmark = [pytest.mark.real, pytest.mark.usefixtures("quick_age")]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    cloud = CloudBeside(tmp_path / "hosts", 2)
    with commands_beside(cloud, tmp_path, monkeypatch) as aside:
        aside.wait("the container", lambda: cloud.running() == [SLOT])
        yield aside
        assert cloud.tools_left() == []


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


def cloud_of(small: Aside) -> CloudBeside:
    assert isinstance(small.cloud, CloudBeside)
    return small.cloud


@pytest.fixture
def session(small: Aside, ann: Person) -> Iterator[Session]:
    session = Session(Home(ann.home).choose("", {}), lambda what: "")
    small.run(session.sync(1))
    yield session
    small.run(session.__aexit__())


def debug(person: Person, *words: str, code: int = 0, slot: str = SLOT) -> Any:
    """The JSON that the command printed."""
    return person.run("debug", slot, *words, code=code)


def entries(small: Aside) -> list[Entry]:
    """Events of kind debug; asked in the agent's own thread."""
    return [entry for entry in small.cloud.agents["vps-1"].events.tail(1000) if entry.kind == "debug"]


def told(small: Aside) -> list[tuple[str, str]]:
    """(subject, reason) of these."""
    return small.look(lambda: [(entry.subject, entry.reason) for entry in entries(small)])


def test_a_command_runs_beside_the_container_and_its_class_is_said_first(small: Aside, ann: Person) -> None:
    done = debug(ann, "--", "busybox", "ls", "/target/usr/bin", "/usr/bin")
    assert done["code"] == 0 and done["stdout"].split() == ["/target/usr/bin:", "app", "/usr/bin:", "busybox"]
    assert done["visibility"] == "unseen" and ann.said.startswith(f"unseen: {SLOT} may notice: nothing")
    assert told(small) == [
        (SLOT, "ann began: busybox ls /target/usr/bin /usr/bin (unseen)"),
        (SLOT, "ann ended: busybox ls /target/usr/bin /usr/bin (unseen)"),
    ]


def test_its_exit_code_is_ours_and_a_program_that_is_not_there_is_named(small: Aside, ann: Person) -> None:
    assert debug(ann, "--", "busybox", "sh", "-c", "echo wrong >&2; exit 7", code=7)["stderr"] == "wrong\n"
    done = debug(ann, "--", "no-such-program", code=127)
    assert "no-such-program" in done["why"] and "not found" in done["why"]


def test_what_is_typed_goes_in_and_what_it_writes_comes_back(small: Aside, session: Session) -> None:
    data = bytes(range(256)) * 2000

    async def work() -> tuple[bytes, t.End | None]:
        out = b""
        async with debugging.opened(session, SLOT, ["busybox", "cat"]) as tool:
            sent = asyncio.ensure_future(hand_over(tool))
            async for channel, payload in tool:
                assert channel == t.STDOUT
                out += payload
            await sent
            return out, tool.end

    async def hand_over(tool: debugging.Debug) -> None:
        await tool.send(data)
        await tool.end_input()

    assert small.run(work()) == (data, t.End(0))


def test_at_a_terminal_the_size_is_told_and_told_again(small: Aside, session: Session) -> None:
    # The runtime carries sizes and what is typed on two ways: a new size may come after the word that was typed after it.
    script = """
        busybox stty size; read go; turn=0
        while [ "$(busybox stty size)" = "30 90" ] && [ $turn -lt 100 ]; do turn=$((turn+1)); busybox sleep 0.05; done
        busybox stty size; tty; exit 3
    """

    async def work() -> tuple[str, t.End | None]:
        text = ""
        async with debugging.opened(session, SLOT, ["busybox", "sh", "-c", script], tty=True, rows=30, cols=90) as tool:
            async for _, payload in tool:
                text += payload.decode()
                if "30 90" in text and "go" not in text:
                    await tool.resize(40, 100)
                    await tool.send(b"go\r")
            return text, tool.end

    text, end = small.run(work())
    assert "40 100" in text and end == t.End(3), text


def test_an_interrupt_reaches_the_tool(small: Aside, session: Session) -> None:
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do busybox sleep 0.1; done"

    async def work() -> tuple[str, t.End | None]:
        text = ""
        async with debugging.opened(session, SLOT, ["busybox", "sh", "-c", script]) as tool:
            async for _, payload in tool:
                text += payload.decode()
                if text == "ready\n":
                    await tool.interrupt()
            return text, tool.end

    assert small.run(work()) == ("ready\ncaught\n", t.End(5))


def test_its_time_is_limited_and_a_tracers_is_short_unless_somebody_sits_at_it(small: Aside, ann: Person) -> None:
    done = debug(ann, "--limit", "300ms", "--", "busybox", "sleep", "60", code=124)
    assert done["why"] == "the limit of 0.3 s is over"
    done = debug(ann, "--", "strace", code=127)
    assert done["visibility"] == "felt" and "it is ended after 10 s" in done["notices"]


def test_where_the_kernel_forbids_tracing_or_perf_that_is_said_and_how_it_is_opened(
    small: Aside, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_debugging, "YAMA", tmp_path / "scope")
    monkeypatch.setattr(agent_debugging, "PARANOID", tmp_path / "paranoid")
    (tmp_path / "scope").write_text("1\n")
    (tmp_path / "paranoid").write_text("3\n")
    for tool, opens in {"strace": "kernel.yama.ptrace_scope=0", "perf": "kernel.perf_event_paranoid=2"}.items():
        told = " ".join(debug(ann, "--", tool, "-p", "{pid}", code=127)["notices"])
        assert told.count("opened there by: sysctl ") == 1 and opens in told
    assert "sysctl" not in " ".join(debug(ann, *LS)["notices"])


def test_when_the_operator_is_gone_so_is_the_tool(small: Aside, session: Session) -> None:
    async def work() -> None:
        async with debugging.opened(session, SLOT, ["busybox", "sleep", "60"]) as tool:
            assert cloud_of(small).tools_left() != []
            tool._stream.transport.abort()

    small.run(work())
    small.wait("its end", lambda: cloud_of(small).tools_left() == [])
    small.wait("the event", lambda: len(entries(small)) == 2)
    assert small.look(cloud_of(small).running) == [SLOT]


def test_a_tracer_whose_output_nobody_takes_is_ended(
    small: Aside, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_debugging, "STUCK_S", 0.5)

    async def work() -> None:
        async with debugging.opened(session, SLOT, ["busybox", "yes", "strace"], limit_s=60.0):
            async with asyncio.timeout(20):
                while cloud_of(small).tools_left():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    small.run(work())
    small.wait("the event", lambda: len(entries(small)) == 2)
    assert "nobody took what it writes" in small.look(lambda: entries(small)[1].more["why"])


def test_the_agents_end_is_the_tools_end_and_the_containers_is_not(small: Aside, session: Session) -> None:
    cloud = cloud_of(small)

    async def work() -> None:
        with pytest.raises(SkerryError):
            async with debugging.opened(session, SLOT, ["busybox", "sleep", "60"]) as tool:
                ending = asyncio.ensure_future(cloud.stop("vps-1"))
                async for _ in tool:
                    pass
        await ending

    small.run(work())
    assert cloud.tools_left() == []
    small.run(cloud.start("vps-1"))
    small.wait("the container", lambda: cloud.running() == [SLOT])


def test_what_joins_is_said_to_be_joined_and_refused_where_there_is_no_network_to_join(
    small: Aside, ann: Person
) -> None:
    """Containers of this small cloud are in the network of the host."""
    refused = debug(ann, "--join", "net", "--", "busybox", "wget", "-O-", "http://localhost/", code=1)
    assert "it is in this host's" in refused["why"] and refused["fix"].startswith("leave --join out")
    assert ann.said.startswith(f"joined: {SLOT} may notice: sockets of the tool in its network namespace")
    assert debug(ann, "--join", "mnt", "--", "busybox", code=2)["code"] == "usage"
    assert told(small) == []


# -- who may


@pytest.fixture
def somebody(small: Aside, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """A person with a key in a role: somebody("debug", "--app", "quiet")."""

    def one(*role: str) -> Person:
        name = f"eve-{role[0]}"
        eve = Person(tmp_path / name, monkeypatch, capsys)
        eve.run("key", "new", name, "--out", f"{name}.key")
        ann.run("role", "add", role[0], name, "--key", f"{name}.key.pub", *role[1:])
        ann.run("key", "export", "--public", "--out", "cloud.json")
        eve.run("key", "import", "cloud.json", "--key", f"{name}.key")
        return eve

    return one


LS = ("--", "busybox", "ls", "/target/usr/bin")


@pytest.mark.parametrize(
    ("role", "why"),
    [
        (("ci", "--app", "quiet"), "role eve-ci may read, and hand over what it signed"),
        (("observe", "--app", "*"), "role eve-observe may read, and hand over what it signed; observe"),
        (("debug", "--app", "other"), "role eve-debug has no right to debug app/quiet"),
        (("debug-host", "--host", "*"), "role eve-debug-host has no right to debug app/quiet"),
    ],
)
def test_who_may_do_something_else_may_not_debug(somebody: Any, small: Aside, role: tuple[str, ...], why: str) -> None:
    eve = somebody(*role)
    refused = debug(eve, *LS, code=3)
    assert refused["code"] == "verb-not-allowed" and refused["why"] == why
    assert told(small) == []


def test_the_right_to_debug_an_app_ends_with_its_time_also_of_what_is_at_work(
    somebody: Any, small: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_debugging, "RIGHT_LOOKED_AT_S", 0.1)
    eve = somebody("debug", "--app", "quiet", "--until", "1h")
    assert debug(eve, *LS)["stdout"] == "app\n"
    clock = small.cloud.agents["vps-1"].clock
    over = threading.Thread(target=lambda: (
        small.wait("its beginning", lambda: len(entries(small)) == 3),
        small.look(lambda: setattr(clock, "offset_s", 3700.0)),
    ))  # fmt: skip
    over.start()
    done = debug(eve, "--", "busybox", "sleep", "60", code=124)
    over.join()
    assert done["why"] == "the right to do this has ended"
    refused = debug(eve, *LS, code=3)
    assert refused["code"] == "unknown-key" and refused["why"] == "the time of role eve-debug is over"


def test_a_whole_host_is_for_who_was_given_it_by_name_and_not_for_operators(
    somebody: Any, small: Aside, ann: Person
) -> None:
    host = ("debug", "--host", "vps-1", "--", "busybox", "sh", "-c", "ls -d /target/etc/debian_version /proc/1; id -u")
    refused = ann.run(*host, code=3)
    assert refused["why"] == "ann has no right to debug-host node/vps-1"
    other = somebody("debug-host", "--host", "vps-2")
    assert other.run(*host, code=3)["why"] == "role eve-debug-host has no right to debug-host node/vps-1"
    ann.run("role", "rm", "eve-debug-host")
    ann.run("role", "add", "debug-host", "ann-hosts", "--host", "vps-1", "--until", "1h")  # to herself
    assert ann.run("role", "add", "ci", "nobody", "--app", "quiet", code=2)["fix"] == "name it: --key FILE"
    joined = ann.run("debug", "--host", "vps-1", "--join", "net", "--", "busybox", "true", code=2)
    assert joined["why"] == "a tool for a whole host is in its network"
    assert ann.run(*host)["stdout"].split() == ["/proc/1", "/target/etc/debian_version", "0"]
    assert told(small)[0][0] == "vps-1"


def test_a_captured_host_may_not_debug_another(small: Aside) -> None:
    mallory = small.cloud.agents["vps-2"]

    async def work() -> dict[str, Any]:
        stream = await mallory.mesh.open("node/vps-1", "/debug")
        hello = msgspec.json.decode(await recv_bytes(stream))
        args = {"slot": SLOT, "tools": "base", "digest": f"sha256:{'0' * 64}", "argv": ["busybox"]}
        raw = make_request(mallory.signer, small.cloud.cloud, "node/vps-1", "debug", args, hello["nonce"], time.time())
        await send_bytes(stream, raw)
        return dict(msgspec.json.decode(await recv_bytes(stream))["error"])

    refused = small.run(work())
    assert refused["code"] == "unknown-key" and told(small) == []


def test_only_tools_that_operators_signed_run(small: Aside, session: Session) -> None:
    app = small.look(lambda: small.cloud.agents["vps-1"].loop.core.rows()[0].image)
    for tools, digest in (("base", app), ("none", app)):

        async def work(tools: str = tools, digest: str = digest) -> None:
            async with debugging.opened(session, SLOT, ["/usr/bin/app"], tools=tools, digest=digest):
                pass

        with pytest.raises(SkerryError) as refused:
            small.run(work())
        assert refused.value.code == "tools-not-named" and refused.value.exit_code == 3
    assert told(small) == []


def test_a_slot_that_is_not_there_is_told(small: Aside, ann: Person) -> None:
    assert debug(ann, *LS, slot="other/0", code=2)["code"] == "no-such-subject"
    assert ann.run("debug", SLOT, code=2)["why"] == "no command is named"
    assert ann.run("debug", SLOT, "-t", "--", "sh", code=2)["why"] == "-t needs a terminal, and this is none"
