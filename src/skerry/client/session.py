"""An operator's connection to a cloud: asking any host, learning what is newest, handing over what was signed.

What is known and signed here is `known`'s. No host is special; the first that answers serves.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from skerry.client.home import CloudHome
from skerry.client.keys import Passphrase
from skerry.client.known import Known
from skerry.core.intent import Body, Node
from skerry.core.records import Document, MachineSlot
from skerry.errors import BadFormat, NoSuchSubject, Passing, Refusal, SkerryError, TrustRefusal, Unreachable
from skerry.mesh.dial import Identity, dial
from skerry.mesh.messages import Stream, is_alive, recv_bytes, send_bytes
from skerry.outside import UNREADABLE
from skerry.trust.documents import what_rests_on_what
from skerry.trust.drafts import rehearse
from skerry.trust.identity import private_pem
from skerry.trust.refusals import RootAhead, ThresholdNotMet
from skerry.trust.requests import make_request

DIAL_TIMEOUT_S = 3.0
EAGER_S = 0.5  # after so long without an answer others are asked beside it
LATE_S = 1.0  # for so long a host that was silent lately is waited for when another one has answered
LEARN_S = 10.0  # the same, where others can be asked instead
ANSWER_S = 30.0  # for a host that was reached and does not say a word
BEGIN_TIMEOUT_S = 30.0  # a container is made meanwhile
SILENT_S = 300.0  # for so long a host that did not answer is asked after the others
ROOTS_MAX = 1000  # of a chain that is walked at once
PORT = 7077


class Answered(SkerryError):
    """What a host answered instead of doing it; code, words and exit code are the host's."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("what", "")), str(error.get("why", "")), str(error.get("fix", "")))
        self.code = str(error.get("code", "error"))  # type: ignore[misc]
        code = error.get("exit_code")
        self.exit_code = code if isinstance(code, int) and 1 <= code <= 5 else 1  # type: ignore[misc]


class PassingAnswer(Answered, Passing):
    """Worth another try."""


class FinalAnswer(Answered, Refusal):
    """Not worth another try."""


def answered(error: Mapping[str, Any]) -> Answered:
    """What a host refused, as the error that it told."""
    return PassingAnswer(error) if error.get("type") == "passing" else FinalAnswer(error)


class Session(Known):
    """Use as `async with`."""

    def __init__(self, home: CloudHome, passphrase: Passphrase) -> None:
        super().__init__(home, passphrase)
        self.signed: Callable[[], None] = lambda: None  # whoever holds off others for our sake may let them in again
        self.preferred: str | None = None  # the host that answered last is asked first
        self.answered: dict[str, float] = {}  # host -> when it last answered `everywhere`, by the clock here
        self._silent = home.silent()
        self._silent_before = dict(self._silent)
        self._idle: dict[str, list[Stream]] = {}  # answered to the end, and good for another request

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in [stream for streams in self._idle.values() for stream in streams]:
            stream.transport.close()
        if self._silent != self._silent_before:
            self.home.write_silent(self._silent)
        self.save()

    # -- asking

    async def request(
        self,
        verb: str,
        args: Any = None,
        *,
        node: str | None = None,
        silence_s: float | None = None,
        attached: Sequence[bytes] = (),
    ) -> Any:
        """One answer. Without `node` any host will do, and one that was reached and says nothing is given up after ANSWER_S.

        Raises Unreachable, or what the host answered.
        """
        silence_s = silence_s or (None if node else ANSWER_S)
        answers = self.stream(verb, args, node=node, silence_s=silence_s, attached=attached)
        items = [item async for item in answers]
        if not items:
            raise BadFormat(f"request {verb} got no answer", "the host closed the stream", "try again")
        return items[0]

    async def stream(
        self,
        verb: str,
        args: Any = None,
        *,
        node: str | None = None,
        silence_s: float | None = None,
        attached: Sequence[bytes] = (),
        shape: Any = Any,
    ) -> AsyncGenerator[Any]:
        """Answers as they come, of this shape. `attached`: records to hand over. `silence_s`: where the host is known to speak
        more often, it is given up after so long.
        """
        stream, who, nonce = await self._greeted(node)
        whole = False
        try:
            raw = make_request(self.signer, self.file.id, who, verb, args or {}, nonce, time.time(), attached)
            await send_bytes(stream, raw)
            while True:
                try:
                    frame = _shaped(await recv_bytes(stream, timeout_s=silence_s), _frame(shape), who)
                except Unreachable:  # it took the question, and kept silent or went: the next command asks others first
                    self._silent[who] = time.time()
                    raise
                if frame.item is not msgspec.UNSET:
                    yield frame.item
                    continue
                whole = True
                if frame.error is msgspec.UNSET:
                    return
                raise answered(frame.error if isinstance(frame.error, dict) else {})
        finally:
            if whole:
                self._idle.setdefault(who, []).append(stream)
            else:
                await stream.close()

    async def asked(self, path: str, verb: str, args: Any, node: str) -> tuple[Stream, str]:
        """A stream on `path` that begins with one signed request, and who is at its end. Close it when done."""
        stream, who = await self.open(path, node)
        try:
            nonce = await self._hello(stream, who)
            await send_bytes(stream, make_request(self.signer, self.file.id, who, verb, args, nonce, time.time()))
            return stream, who
        except BaseException:
            await stream.close()
            raise

    async def begin(self, path: str, verb: str, args: Any, node: str) -> tuple[Stream, Any]:
        """As `asked`, for a path on which the host answers that request in one message: the stream and that answer.

        Raises Unreachable, or what the host answered.
        """
        stream, who = await self.asked(path, verb, args, node)
        try:
            frame = _shaped(await recv_bytes(stream, timeout_s=BEGIN_TIMEOUT_S), dict[str, Any], who)
            if isinstance(error := frame.get("error"), dict):
                raise answered(error)
            if "item" not in frame:
                raise BadFormat(f"{who} was not understood", "it began with neither an answer nor an error", "")
            return stream, frame["item"]
        except BaseException:
            await stream.close()
            raise

    async def _greeted(self, node: str | None) -> tuple[Stream, str, str]:
        """A stream for one request, who is at its end, and the nonce to sign; one that was answered before is used again."""
        first = node or next(iter(self.candidates()), "")
        while idle := self._idle.get(first):
            stream = idle.pop()
            if await is_alive(stream, DIAL_TIMEOUT_S):
                self.preferred = first
                return stream, first, await self._hello(stream, first)
            stream.transport.abort()
        stream, who = await self.open("/request", node)
        try:
            return stream, who, await self._hello(stream, who)
        except BaseException:
            await stream.close()
            raise

    async def _hello(self, stream: Stream, who: str) -> str:
        """The nonce that begins each request."""
        hello = _shaped(await recv_bytes(stream, timeout_s=DIAL_TIMEOUT_S), dict[str, str], who)
        if hello.get("node") != who:
            raise BadFormat(f"{who} was not asked", f"it calls itself {hello.get('node')}", "see skerry host ls")
        return str(hello.get("nonce", ""))

    async def everywhere(
        self, verb: str, args: Any = None, *, attached: Sequence[bytes] = (), nodes: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Ask all hosts (or these) at once: path -> answer, or the SkerryError. `answered` says when each of them did."""

        async def one(node: str) -> Any:
            try:
                answer = await self.request(verb, args, node=node, attached=attached)
            except SkerryError as error:
                return error
            self.answered[node] = time.time()
            return answer

        nodes = list(self.nodes) if nodes is None else nodes
        return dict(zip(nodes, await asyncio.gather(*(one(node) for node in nodes)), strict=True))

    async def open(self, path: str, node: str | None = None) -> tuple[Stream, str]:
        """A stream to `node`, or to the first host that answers; pinned to its enrolment. Raises Unreachable, NoSuchSubject."""
        candidates = [node] if node else self.candidates()
        whys = []
        for candidate in candidates:
            document = self.nodes.get(candidate)
            if document is None:
                known = ", ".join(sorted(node.removeprefix("node/") for node in self.nodes)) or "none"
                name = candidate.removeprefix("node/")
                raise NoSuchSubject(f"there is no host {name}", f"this cloud has: {known}", "see skerry host ls")
            enrolment: Node = document.body  # type: ignore[assignment]
            try:
                pinned = base64.b64decode(enrolment.certificate)
                stream = await dial(
                    enrolment.addresses,
                    pinned,
                    Identity(self._certificate(), private_pem(self.own.seed)),
                    path,
                    DIAL_TIMEOUT_S,
                )
            except Unreachable as error:
                whys.append(f"{candidate.removeprefix('node/')}: {error.why or error}")
                self._silent[candidate] = time.time()
                continue
            stream.who = candidate
            self._silent.pop(candidate, None)
            self.preferred = candidate
            return stream, candidate
        raise self.unreached(whys, node)

    def unreached(self, whys: Sequence[str], node: str | None = None) -> Unreachable:
        """The error of a host that was not reached, or of none at all that was."""
        return Unreachable(
            f"no host of cloud {self.name} could be reached"
            if not node
            else f"{node.removeprefix('node/')} could not be reached",
            "; ".join(whys) or "it has no hosts yet",
            "check the network and the hosts; the first host is joined by: skerry host add root@ADDRESS",
        )

    def turn_away(self) -> None:
        """The host that was asked last has ended in the middle: another one is asked first from now on."""
        others = [node for node in self.candidates() if node != self.preferred]
        self.preferred = others[0] if others else None

    def candidates(self) -> list[str]:
        """The host that answered last, then the others; those that were silent a while ago come last: each costs seconds.

        Fixed hosts come before machines of pools: what is handed to a machine alone goes with it.
        """

        def rank(node: str) -> tuple[bool, bool, bool, str]:
            silent = node != self.preferred and self._is_silent(node)
            return (silent, MachineSlot.of_path(node) is not None, node != self.preferred, node)

        return sorted(self.nodes, key=rank)

    def _is_silent(self, node: str) -> bool:
        return self._silent.get(node, 0.0) > time.time() - SILENT_S

    # -- learning

    async def sync(self, hosts: int = 2) -> list[str]:
        """Learn the newest documents from `hosts` hosts, or as many as answer; gives who did. Raises Unreachable when none did.

        Whoever is silent holds up little: after EAGER_S all others are asked beside it, and once one has answered, those that
        were silent lately get LATE_S.
        """
        answered: list[str] = []
        errors: list[SkerryError] = []
        left = self.candidates()
        asked: dict[asyncio.Task[SkerryError | None], str] = {}
        silent = {node for node in left if self._is_silent(node)}
        try:
            while len(answered) < hosts and (left or asked):
                while left and len(asked) < hosts - len(answered):
                    node = left.pop(0)
                    asked[asyncio.create_task(self.learn_from(node))] = node
                late = bool(answered) and not left and silent.issuperset(asked.values())
                within_s = LATE_S if late else EAGER_S if left else None
                done, _ = await asyncio.wait(asked, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
                if not done and late:
                    break
                if not done:
                    asked |= {asyncio.create_task(self.learn_from(node)): node for node in left}
                    left = []
                for task in done:
                    node, error = asked.pop(task), task.result()
                    answered += [node] if error is None else []
                    errors += [error] if error is not None else []
        finally:
            await _end(asked)
        if not answered:
            raise (
                errors[0]
                if errors
                else Unreachable(
                    f"cloud {self.name} has no hosts yet", "", "join the first: skerry host add root@ADDRESS"
                )
            )
        self.preferred = answered[0]
        self.save()
        return answered

    async def learn_from(self, node: str) -> SkerryError | None:
        """Take in what this host has that is newer; why it can't be asked, if it can't."""
        try:
            heads = _shaped(
                await self.request("heads", node=node, silence_s=LEARN_S), dict[str, tuple[int, int, str]], node
            )
            held = self.trusted.heads()
            newer = [
                path
                for path, head in heads.items()
                if held.get(path) is None or tuple(head[:2]) > tuple(held[path][:2])
            ]
            if "root" in newer:
                await self._walk_roots(node)
                newer.remove("root")
            if newer:
                newer.sort(key=what_rests_on_what)
                for raw in _shaped(
                    await self.request("get", {"paths": newer}, node=node, silence_s=LEARN_S), list[bytes], node
                ):
                    self._learn(raw)
        except (Unreachable, Answered, BadFormat) as error:
            return error
        return None

    async def _walk_roots(self, node: str) -> None:
        """Learn the chain of roots up to the newest that `node` holds, one by one, however many there were meanwhile."""
        chain: list[bytes] = _shaped(await self.request("get", {"paths": ["root"]}, node=node), list[bytes], node)
        while chain and (ahead := self._root_ahead(chain[-1])):
            before: list[bytes] = _shaped(
                await self.request("named", {"hashes": [ahead]}, node=node), list[bytes], node
            )
            if not before or len(chain) >= ROOTS_MAX:
                return
            chain.append(before[0])
        for raw in reversed(chain):
            self._learn(raw)

    def _root_ahead(self, raw: bytes) -> str:
        """The hash of the root before this one, if that is not held here either."""
        try:
            self.trusted.judge(raw, now_s=time.time())
        except RootAhead as ahead:
            return ahead.prev
        except TrustRefusal:
            pass
        return ""

    # -- changing

    async def named(self, hash: str) -> Document:
        """A fallback that the newest document of its path names, asked of the hosts. Raises what trust refuses."""
        held = self.trusted.named(hash)
        if held is not None:
            return held
        raws = _shaped(await self.request("named", {"hashes": [hash]}) or [], list[bytes], "the host that was asked")
        return self.trusted.judge_named(raws[0] if raws else b"", hash)

    async def put(self, raws: Sequence[bytes], *, node: str | None = None) -> dict[str, Any]:
        """Hand documents to one host as one step, all or none; it has a second one sync them.

        Tried here first, so that our own mistakes stay here. Where more operators have to sign, it is left with the hosts as a
        draft that waits for them, and ThresholdNotMet says so.
        """
        try:
            rehearse(self.trusted, raws, now_s=time.time())
        except ThresholdNotMet as waits:
            await self.leave(raws, waits)
            raise
        answer = await self.request("put", node=node, attached=raws)
        self.learned(raws)
        return dict(answer)

    def learned(self, raws: Sequence[bytes]) -> None:
        """Hosts have taken these: they hold here, too."""
        for raw in raws:
            self._learn(raw)
        self.save()

    async def leave(self, raws: Sequence[bytes], waits: ThresholdNotMet) -> None:
        """Leave a draft with all hosts that can be reached; `waits` then tells where."""
        answers = await self.everywhere("draft", attached=raws)
        on = [node.removeprefix("node/") for node, answer in answers.items() if not isinstance(answer, SkerryError)]
        if on:
            waits.why += f"; the draft waits for them on {', '.join(sorted(on))}"
            return
        waits.why += "; no host has kept the draft"
        waits.fix = (
            "; ".join(sorted({str(answer) for answer in answers.values()})) or "join a host first: skerry host add"
        )

    async def change(self, bodies: Sequence[tuple[str, Body]], *, node: str | None = None) -> dict[str, Any]:
        """Sign and hand over several documents as one step, in the order given."""
        return await self.put([self.draft(path, body) for path, body in bodies], node=node)


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """What nobody waits for any more is not left behind."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@functools.cache
def _frame(shape: Any) -> Any:
    """A message of an answer whose items have this shape: decoded at once, as there may be many large ones."""
    return msgspec.defstruct(
        "Frame",
        [("item", shape | msgspec.UnsetType, msgspec.UNSET), ("error", Any, msgspec.UNSET)],
    )


def _shaped(answer: Any, shape: Any, who: str) -> Any:
    """What a host answered, in the shape that it must have: JSON bytes, or what was decoded of them. Raises BadFormat.

    A captured host may answer anything; it must not be able to end a command that others could have answered.
    """
    try:
        return msgspec.json.decode(answer, type=shape) if isinstance(answer, bytes) else msgspec.convert(answer, shape)
    except UNREADABLE as error:
        raise BadFormat(
            f"{who.removeprefix('node/')} was not understood",
            str(error),
            "it may be of another version, or captured; ask another host, see skerry host ls",
        ) from None
