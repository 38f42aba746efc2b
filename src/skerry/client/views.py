"""What people look at: asked of one host where one is enough, of all where each knows only its own, and merged here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from skerry.client.following import following
from skerry.client.logs import Past, past
from skerry.client.logs import following as following_logs
from skerry.client.session import Session
from skerry.core import restarts
from skerry.core.records import is_meant
from skerry.errors import NoSuchSubject, Refusal, SkerryError, Unreachable
from skerry.observe.logs import stamp
from skerry.sizes import size

CRASHED_ASKED, CRASHED_WITHIN_S = 3, 1.0  # hosts at the head of a slot's order
SILENCE_S = 3.0  # a host whose rows are followed speaks each second


async def ps(session: Session, app: str | None = None) -> list[dict[str, Any]]:
    rows = await session.request("ps", {"subject": app or ""})
    return [{**row, "since": rfc3339(row["since"])} for row in rows]


async def changes(session: Session, app: str) -> AsyncGenerator[list[dict[str, Any]]]:
    """The app's rows now, and again whenever one changes, at least each second. Raises Unreachable when no host is left.

    A host that dies meanwhile is found by its silence; the next one goes on. To be closed: `async with aclosing(…)`.
    """
    failed = 0
    while True:
        try:
            async with aclosing(session.stream("ps", {"subject": app, "follow": True}, silence_s=SILENCE_S)) as answers:
                async for rows in answers:
                    failed = 0
                    yield list(rows)
        except Unreachable:
            failed += 1
            if failed > 1:  # the next one doesn't answer either
                raise
            session.turn_away()


async def hosts(session: Session) -> list[dict[str, Any]]:
    return list(await session.request("hosts"))


async def host_ls(session: Session) -> list[dict[str, Any]]:
    """As the first host that answers sees them."""
    await session.sync(1)
    return await hosts(session)


async def explain(session: Session, subject: str) -> dict[str, Any]:
    """One slot, or all of a service or app: {slot: explanation}; or a host: {host: how it is, and what it holds}."""
    if f"node/{subject}" in session.nodes:
        rows = [row for row in await ps(session) if subject in row["claims"]]
        host = next((row for row in await hosts(session) if row["name"] == subject), {})
        return {
            subject: {**host, "holds": [f"{r['slot']} {r['state']}{': ' + r['why'] if r['why'] else ''}" for r in rows]}
        }
    found = {row["slot"]: row for row in await session.request("explain", {"subject": subject})}
    hosts_of = {answer["node"] for row in found.values() for answer in row["order"][:CRASHED_ASKED]}
    for slot, told in (await _crashes(session, subject, hosts_of)).items():
        if slot in found:
            found[slot]["crashed"] = told
    return found


async def crashed(session: Session, rows: list[dict[str, Any]], app: str = "") -> dict[str, str]:
    """Slot -> what is kept of its last crash, for rows of `ps`. Where all are well and none was started again nobody is asked."""
    if any(not row["healthy"] and row["state"] != "asleep" and not row["finished"] for row in rows):
        hosts_of = {node.removeprefix("node/") for node in session.nodes}
    else:
        hosts_of = {row["node"] for row in rows if row["restarts"]}
    return await _crashes(session, app, hosts_of) if hosts_of else {}


async def _crashes(session: Session, subject: str, hosts_of: set[str]) -> dict[str, str]:
    """Slot -> what these hosts keep of its last crash, as far as they say so at once to who asks."""
    from skerry.client.looking import crashes

    found = {}
    try:
        async with asyncio.timeout(CRASHED_WITHIN_S):
            nodes = [f"node/{name}" for name in hosts_of if f"node/{name}" in session.nodes]
            for crash in reversed(await crashes(session, subject, nodes)):  # the newest last
                more = "once" if crash["again"] == 1 else f"{crash['again']} times"
                again = f", and {more} since" if crash["again"] else ""
                told = f"{restarts.told(crash['exit_code'], crash['oom'])} on {crash['node']}{again}"
                found[crash["slot"]] = f"{told}, {rfc3339(crash['time'])[:19]}Z: skerry crashes {crash['slot']}"
    except (SkerryError, TimeoutError):
        return {}
    return found


async def status(session: Session) -> dict[str, Any]:
    """One line per host, the answers side by side, and what is not as it should be."""
    answers = await session.everywhere("status")
    rows = await hosts(session)
    replicas = [row for row in await ps(session) if row["state"] != "asleep"]
    return {
        "cloud": session.name,
        "id": session.file.id,
        "hosts": rows,
        "agents": {
            n.removeprefix("node/"): a if not isinstance(a, SkerryError) else {"error": str(a)}
            for n, a in answers.items()
        },
        "replicas": len(replicas),
        "healthy": sum(1 for r in replicas if r["healthy"]),
        "not_healthy": [
            {"slot": r["slot"], "state": r["state"], "why": r["why"]}
            for r in replicas
            if not r["healthy"] and not r["finished"]
        ],
        "failed": {r["app"]: r["verdict"] for r in replicas if r["failed"]},
        "asked": [
            {"slot": row["slot"], "why": row["why"], "command": row["asks"]}
            for row in await session.request("machines", {"subject": ""})
            if row.get("asks")
        ],
    }


async def volumes(session: Session, warn: Callable[[str], None]) -> list[dict[str, Any]]:
    """Each host knows its own alone: one that doesn't answer is told, for its volumes are missing in the list."""
    rows: list[dict[str, Any]] = []
    silent: list[str] = []
    answers = await session.everywhere("volumes", {"subject": ""})
    for node, answer in answers.items():
        if isinstance(answer, SkerryError):
            silent.append(f"{node.removeprefix('node/')} did not answer, and what it has is not shown: {answer}")
        else:
            rows += answer
    if len(silent) == len(answers):
        raise session.unreached(silent)
    for line in silent:
        warn(line)
    return sorted(rows, key=lambda r: (r["app"], r["volume"], r["node"]))


async def volume_rm(session: Session, node: str, app: str, volume: str) -> dict[str, Any]:
    return dict(await session.request("volume-rm", {"app": app, "volume": volume}, node=f"node/{node}"))


async def events(
    session: Session,
    targets: Sequence[str] = (),
    *,
    follow: bool = False,
    tail: int = 100,
    since: float = 0.0,
    until: float = 0.0,
    kinds: Sequence[str] = (),
    grep: str = "",
) -> AsyncGenerator[dict[str, Any]]:
    """All hosts' events: the past in order of time, then (follow) as they come.

    `targets`: slots, services, apps, hosts (none: all); `since`, `until`: unix seconds, 0: no bound.
    """
    args: dict[str, Any] = {"targets": list(targets), "follow": follow, "tail": tail}
    said = {"since": since, "until": until, "kinds": list(kinds), "grep": grep}
    args |= {name: value for name, value in said.items() if value}  # what agents of before knew nothing of
    async with aclosing(_merged(session, args, follow)) as rows:
        async for row in rows:
            yield row


class LogsWanted(msgspec.Struct, frozen=True):
    """Lines of these slots, services, apps or hosts (none: all apps). `since`, `until`: unix seconds. `grep`: what a line must
    hold; with `regex` a regular expression.
    """

    targets: list[str] = []
    follow: bool = False
    tail: int = 100
    since: float = 0.0
    until: float = 0.0
    grep: str = ""
    regex: bool = False
    ignore_case: bool = False

    def asked(self, session: Session) -> tuple[dict[str, Any], list[str]]:
        """What each host is asked, and which ones; none: all."""
        hosts = [t for t in self.targets if f"node/{t.removeprefix('node/')}" in session.nodes]
        slots = [target for target in self.targets if target not in hosts]
        times = {"since": rfc3339(self.since), "until": rfc3339(self.until)}
        args = msgspec.structs.asdict(self) | times | {"targets": slots, "hosts": hosts}
        return args, [f"node/{host.removeprefix('node/')}" for host in hosts] if not slots else []


async def logs(session: Session, targets: list[str], **wanted: Any) -> AsyncGenerator[dict[str, Any]]:
    """Lines as LogsWanted says, over all hosts: each with node, slot, time, stream, text.

    A row may instead say that lines are missing there (`dropped`), or why a host can't be asked (`unanswered`).
    Raises NoSuchSubject for one that neither runs nor left a line.
    """
    asked = LogsWanted(targets, **wanted)
    if asked.follow:
        args, only = asked.asked(session)
        if unknown := await _unknown(session, args["targets"]):
            raise _no_such(unknown)
        async with aclosing(following_logs(session, args, only)) as batches:
            async for batch in batches:
                for row in batch:
                    yield row
        return
    past = await past_logs(session, asked)
    for row in past.unanswered:
        yield row
    for line in past.lines:
        yield line.row()


async def past_logs(session: Session, wanted: LogsWanted) -> Past:
    """As `logs` without `follow`, all at once."""
    args, only = wanted.asked(session)
    unknown = await _unknown(session, args["targets"])
    found = await past(session, args, only)
    if unknown:
        slots = {line.slot for line in found.lines}
        unknown = {target for target in unknown if not any(is_meant([target], slot) for slot in slots)}
    if unknown:
        raise _no_such(unknown)
    return found


def _no_such(names: set[str]) -> NoSuchSubject:
    return NoSuchSubject(
        f"there is no {', '.join(sorted(names))}", "no slot, service, app or host is called so", "see skerry ps"
    )


async def _unknown(session: Session, targets: list[str]) -> set[str]:
    if not targets:
        return set()
    slots = [row["slot"] for row in await session.request("ps", {"subject": ""})]
    return {target for target in targets if not any(is_meant([target], slot) for slot in slots)}


def rfc3339(unix_s: float) -> str:
    """As container logs have it, in UTC, so that texts compare; "" for 0."""
    return stamp(unix_s) if unix_s else ""


async def _merged(session: Session, args: dict[str, Any], follow: bool) -> AsyncGenerator[dict[str, Any]]:
    """Events of all hosts as one. The past is sorted by time; a host that can't be asked is told as a row of its own.

    Raises Unreachable when there is none that can be asked, or what they refused.
    """
    if follow:
        async with aclosing(following(session, args)) as rows:
            async for row in rows:
                yield row
        return
    silent: list[str] = []
    refused: list[SkerryError] = []
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(1000)

    async def one(node: str) -> None:
        name = node.removeprefix("node/")
        try:
            async for row in session.stream("events", args, node=node):
                await queue.put({"node": name, **row})
        except SkerryError as error:
            silent.append(f"{name} did not answer: {error}")
            if isinstance(error, Refusal):
                refused.append(error)
            await queue.put({"node": name, "time": 0.0, "unanswered": str(error)})
        await queue.put(None)

    tasks = [asyncio.create_task(one(node)) for node in session.nodes]
    left = len(tasks)
    past: list[dict[str, Any]] = []
    try:
        while left:
            told = await queue.get()
            if told is None:
                left -= 1
            else:
                past.append(told)
        if len(silent) == len(tasks):
            raise refused[0] if refused else session.unreached(silent)
        for row in sorted(past, key=lambda r: r["time"])[-args["tail"] :]:
            yield row
    finally:
        for task in tasks:
            task.cancel()


async def doctor(session: Session) -> list[dict[str, Any]]:
    """Checks a person would make by hand: {check, ok, detail, fix}."""
    checks: list[dict[str, Any]] = []

    def add(check: str, ok: bool, detail: str, fix: str = "") -> None:
        checks.append({"check": check, "ok": ok, "detail": detail, "fix": "" if ok else fix})

    policy = session.trusted.policy
    assert policy is not None
    days = (policy.expires - time.time()) / 86400
    add("policy", days > 30, f"expires in {days:.0f} days", "any operator's command renews it past half its life")
    answers = await session.everywhere("status")
    for node, answer in answers.items():
        name = node.removeprefix("node/")
        if isinstance(answer, SkerryError):
            add(f"{name} answers", False, str(answer), answer.fix)
            continue
        if (images := answer.get("images")) is not None:
            used, budget = images["used_bytes"], images["budget_bytes"]
            told = f"{images['held']} images, {size(used)} of {size(budget)}"
            add(f"{name} images", used <= budget, told, f"all are in use: skerry host budget {name} SIZE")
        off = abs(answer["time"] - session.answered[node])
        add(f"{name} answers", True, f"agent {answer['version']}, {answer['containers']} containers")
        add(f"{name} clock", off < 5, f"differs by {off:.1f} s", "run a time service on it (systemd-timesyncd)")
        if why := answer.get("cores_unkept"):
            add(f"{name} cores", False, f"none is kept of what dies: {why}", "skerry core SLOT makes one on request")
        missing = set(answers) - {node} - set(answer["neighbours"])
        add(
            f"{name} links",
            not missing,
            f"linked to {len(answer['neighbours'])} of {len(answers) - 1}",
            f"open 7077/tcp between them: {', '.join(sorted(missing))}",
        )
    return checks
