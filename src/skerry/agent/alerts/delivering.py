"""What core decides about alerts, carried out: letters in a child process, and what this host is like, told to core.

What reaches a receiver is opened from its document for each letter and kept nowhere.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent import child
from skerry.agent.alerts import letters
from skerry.agent.alerts.letters import Answer, Letter, Message, Post
from skerry.core.constraints import name_of
from skerry.core.effects import SendAlert
from skerry.core.events import AlertAnswered, Felt
from skerry.core.intent import Alert
from skerry.errors import BadInput, NoSuchSubject
from skerry.outside import UNREADABLE
from skerry.trust import seal
from skerry.trust.clock import off_s
from skerry.trust.refusals import CannotOpen

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent

FEEL_S = 10.0
REFUSED_S = 60.0  # a refused signature is felt for so long: the rule's own times do the rest
LIMIT_S = 30.0


class Alerts:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._felt_s = 0.0

    # -- what this host is like

    def look(self) -> None:
        """To be called each second."""
        now_s = self._agent.loop.now_s()
        if now_s >= self._felt_s + FEEL_S:
            self._felt_s = now_s
            self._agent.loop.post(self.feel())

    def feel(self) -> Felt:
        agent = self._agent
        disk = shutil.disk_usage(agent.files.state)
        neighbours = agent.door.neighbours_s()
        at_s, why = agent.links.forged
        did_s, what = agent.links.complaints.latest
        return Felt(
            disk=disk.used / max(1, disk.used + disk.free),
            memory=agent.metrics.latest(agent.me, "memory_pressure_share"), 
            clock_off_s=off_s(agent.clock.wall_s(), neighbours) if neighbours else None,
            refused=why if why and agent.loop.now_s() < at_s + REFUSED_S else "",
            misdeed=what if what and agent.loop.now_s() < did_s + REFUSED_S else "",
            figures={name: agent.metrics.recent(name, FEEL_S) for name in agent.loop.core.measured()},
        )  # fmt: skip

    # -- letters

    async def send(self, effect: SendAlert) -> None:
        """The effect. Whatever goes wrong is the answer."""
        about = tuple(
            letters.About(
                id=letters.id_of(self._cloud, effect.rule, told.subject, told.round), subject=told.subject,
                since=told.since, figure=told.figure, limit=told.limit, why=told.why,
            )
            for told in effect.about
        )  # fmt: skip
        message = letters.message_of(
            about, cloud=self._cloud[:12], rule=effect.rule, state="over" if effect.over else "firing",
            time=self._agent.clock.wall_s(), unit=effect.unit, means=effect.means, host=name_of(self._agent.me),
            seen_by=effect.seen_by, fixed=effect.fixed, look=effect.look,
        )  # fmt: skip
        answers = await self._deliver(message, effect.to)
        self._agent.loop.post(
            AlertAnswered(
                effect.rule, tuple((told.subject, told.round) for told in effect.about), effect.over,
                taken=tuple(name for name, answer in answers.items() if answer.ok),
                failed={name: answer.detail for name, answer in answers.items() if not answer.ok},
            )
        )  # fmt: skip

    async def test(self, name: str) -> list[dict[str, Any]]:
        """What receivers (one, or all) answer to a test. Raises NoSuchSubject."""
        receivers = self._receivers()
        if name and name not in receivers:
            known = ", ".join(sorted(receivers)) or "none"
            raise NoSuchSubject(f"there is no receiver {name}", f"this cloud has: {known}", "see skerry alert ls")
        now_s = self._agent.clock.wall_s()
        message = Message(
            id=letters.id_of(self._cloud, "test", str(now_s), 0), cloud=self._cloud[:12], rule="test", subject="",
            state="test", since=now_s, time=now_s, figure=0.0, limit=0.0, unit="", why="", means="",
            host=name_of(self._agent.me), seen_by=0, fixed=0, look="",
        )  # fmt: skip
        answers = await self._deliver(message, (name,) if name else tuple(receivers))
        return [
            {"receiver": each, "kind": _kind(receivers[each]), "from": message.host, **msgspec.to_builtins(answer)}
            for each, answer in answers.items()
        ]

    def firing(self) -> list[dict[str, Any]]:
        """What fires, each with the id that receivers get."""
        return [
            {
                **msgspec.to_builtins(row),
                "id": letters.id_of(self._cloud, row.rule, row.subject, row.round) if row.round else "",
            }
            for row in self._agent.loop.core.alerts()
        ]

    async def _deliver(self, message: Message, names: tuple[str, ...]) -> dict[str, Answer]:
        receivers, answers = self._receivers(), {}
        made: list[Letter] = []
        for name in names:
            try:
                made.append(self._letter(name, receivers.get(name), message))
            except (CannotOpen, BadInput) as error:
                answers[name] = Answer(ok=False, detail=str(error))
        if not made:
            return answers
        post = msgspec.json.encode(Post(message=message, letters=made))
        out, why = await child.asked("skerry.agent.alerts.letters", post, limit_s=LIMIT_S)
        try:
            return answers | msgspec.json.decode(out, type=dict[str, Answer])
        except UNREADABLE:
            return answers | {
                letter.name: Answer(ok=False, detail=why or "the child gave no answer") for letter in made
            }

    def _letter(self, name: str, body: Alert | None, message: Message) -> Letter:
        """Raises CannotOpen, BadInput."""
        if body is None or body.receiver is None:
            raise BadInput(f"receiver {name} was not told", "it was removed", "")
        box = body.boxes.get(self._agent.me, "")
        if not box:
            why = f"its address is not opened to {name_of(self._agent.me)}"
            raise CannotOpen(
                f"receiver {name} was not told", why, f"seal it again: skerry alert add {name} --replace …"
            )
        opened = seal.open_token(self._agent.files.seed("sealing"), box)
        try:
            reach = msgspec.json.decode(opened, type=dict[str, str])
        except UNREADABLE:
            raise CannotOpen(
                f"receiver {name} was not told", "what is in its box is no address", "add it again"
            ) from None
        signed = self._agent.signer.sign(letters.SIGNED_FOR + letters.body_of(message)).hex()
        signature = f"{self._agent.signer.key} {signed}" if body.receiver.kind == "webhook" else ""
        return Letter(name=name, kind=body.receiver.kind, reach=reach, signature=signature)

    def _receivers(self) -> dict[str, Alert]:
        return {
            document.path.removeprefix("alert/"): document.body
            for document in self._agent.trusted.documents()
            if isinstance(document.body, Alert) and document.body.receiver is not None and not document.body.deleted
        }

    @property
    def _cloud(self) -> str:
        return self._agent.trusted.cloud


def _kind(body: Alert) -> str:
    return body.receiver.kind if body.receiver is not None else ""
