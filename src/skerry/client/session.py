"""An operator's connection to a cloud: which hosts there are, asking any of them, and signing what shall change.

The operator's machine verifies what hosts say exactly as hosts verify each other: it holds a `Trusted` of its own, filled
from the cloud's home, and takes nothing older than what it has seen before. No host is special; the first that answers serves.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from skerry.client.home import CloudHome, Head
from skerry.client.identity import read_operator
from skerry.client.keys import KeyMissing, Passphrase
from skerry.client.recovery import ROOT_LIFE_S
from skerry.core.intent import App, Body, Node, Policy, Root, Secret
from skerry.core.records import Document
from skerry.errors import BadFormat, NoSuchSubject, Passing, Refusal, SkerryError, TrustRefusal, Unreachable
from skerry.mesh.dial import Identity, dial
from skerry.mesh.messages import Stream, is_alive, recv_bytes, send_bytes
from skerry.trust import seal
from skerry.trust.accept import Trusted
from skerry.trust.documents import sign_document
from skerry.trust.drafts import rehearse
from skerry.trust.identity import Signer, private_pem
from skerry.trust.recovery import OperatorKeys
from skerry.trust.refusals import Expired, RootAhead, Stale, ThresholdNotMet
from skerry.trust.requests import make_request
from skerry.trust.roles import covers

DIAL_TIMEOUT_S = 3.0
LIFE_S = 365 * 86400.0  # of a document, by default
ROOTS_MAX = 1000  # of a chain that is walked at once
PORT = 7077


class Answered(SkerryError):
    """What a host answered instead of doing it; code, words and exit code are the host's."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("what", "")), str(error.get("why", "")), str(error.get("fix", "")))
        self.code = str(error.get("code", "error"))  # type: ignore[misc]
        code = error.get("exit_code")
        self.exit_code = code if isinstance(code, int) and 1 <= code <= 5 else 1  # type: ignore[misc]


class PassingAnswer(Answered, Passing):
    """Worth another try."""


class FinalAnswer(Answered, Refusal):
    """Not worth another try."""


class Session:
    """Use as `async with`. `trusted` is what this operator has verified so far."""

    def __init__(self, home: CloudHome, passphrase: Passphrase) -> None:
        self.home = home
        self.file = home.read()
        self.passphrase = passphrase
        self.trusted = Trusted(self.file.id)
        self._own: OperatorKeys | None = None
        self.preferred: str | None = None  # the host that answered last is asked first
        self.answered: dict[str, float] = {}  # host -> when it last answered `everywhere`, by the clock here
        self._idle: dict[str, list[Stream]] = {}  # answered to the end, and good for another request
        for text in (*self.file.roots, *self.file.documents.values()):
            self._learn(base64.b64decode(text), load=True)
        self._saved = (self.file, self.trusted.heads()) if home.heads() else None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in [stream for streams in self._idle.values() for stream in streams]:
            stream.transport.close()
        self.save()

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def own(self) -> OperatorKeys:
        """This operator's keys; asks for the passphrase at the first use. Raises KeyMissing, WrongPassphrase."""
        if self._own is None:
            self._own = read_operator(self.home, self.passphrase)
        return self._own

    @property
    def signer(self) -> Signer:
        return Signer(self.own.seed)

    @property
    def nodes(self) -> dict[str, Document]:
        """Enrolments that aren't expelled, by path."""
        return {path: d for path, d in self.trusted.nodes.items() if self.trusted.enrolled(path) is not None}

    def document(self, path: str) -> Document | None:
        return self.trusted.document(path)

    def documents(self, kind: str) -> list[Document]:
        """The newest of this kind, by path."""
        return sorted((d for d in self.trusted.documents() if d.kind == kind), key=lambda d: d.path)

    def all_records(self) -> list[str]:
        """Everything a new node has to start with, base64: roots in order, policy, nodes, the rest."""
        order = {"policy": 0, "node": 1}
        paths = sorted(self.file.documents, key=lambda path: (order.get(path.partition("/")[0], 2), path))
        return [*self.file.roots, *(self.file.documents[path] for path in paths)]

    def save(self) -> None:
        """Remember what was verified, so that an older state is never taken later."""
        state = (self.file, self.trusted.heads())
        if state != self._saved:
            self.home.write(self.file)
            self.home.write_heads({path: Head(*head) for path, head in state[1].items()})
            self._saved = state

    # -- asking

    async def request(self, verb: str, args: Any = None, *, node: str | None = None) -> Any:
        """One answer. Without `node` any host will do. Raises Unreachable, or what the host answered."""
        items = [item async for item in self.stream(verb, args, node=node)]
        if not items:
            raise BadFormat(f"request {verb} got no answer", "the host closed the stream", "try again")
        return items[0]

    async def stream(
        self, verb: str, args: Any = None, *, node: str | None = None, silence_s: float | None = None
    ) -> AsyncGenerator[Any]:
        """Answers as they come. `silence_s`: where the host is known to speak more often, it is given up after so long."""
        stream, who, nonce = await self._greeted(node)
        whole = False
        try:
            raw = make_request(self.signer, self.file.id, who, verb, args or {}, nonce, time.time())
            await send_bytes(stream, raw)
            while True:
                frame = _shaped(await recv_bytes(stream, timeout_s=silence_s), dict[str, Any], who)
                if "item" in frame:
                    yield frame["item"]
                    continue
                whole = True
                if "error" not in frame:
                    return
                error = msgspec.convert(frame["error"], dict[str, Any]) if isinstance(frame["error"], dict) else {}
                raise PassingAnswer(error) if error.get("type") == "passing" else FinalAnswer(error)
        finally:
            if whole:
                self._idle.setdefault(who, []).append(stream)
            else:
                await stream.close()

    async def _greeted(self, node: str | None) -> tuple[Stream, str, str]:
        """A stream for one request, who is at its end, and the nonce to sign; one that was answered before is used again."""
        first = node or next(iter(self._candidates()), "")
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

    async def everywhere(self, verb: str, args: Any = None) -> dict[str, Any]:
        """Ask all hosts at once: path -> answer, or the SkerryError. `answered` says when each of them did."""

        async def one(node: str) -> Any:
            try:
                answer = await self.request(verb, args, node=node)
            except SkerryError as error:
                return error
            self.answered[node] = time.time()
            return answer

        nodes = list(self.nodes)
        return dict(zip(nodes, await asyncio.gather(*(one(node) for node in nodes)), strict=True))

    async def open(self, path: str, node: str | None = None) -> tuple[Stream, str]:
        """A stream to `node`, or to the first host that answers; pinned to its enrolment. Raises Unreachable, NoSuchSubject."""
        candidates = [node] if node else self._candidates()
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
                continue
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
        others = [node for node in self._candidates() if node != self.preferred]
        self.preferred = others[0] if others else None

    def _candidates(self) -> list[str]:
        return sorted(self.nodes, key=lambda n: (n != self.preferred, n))

    def _certificate(self) -> bytes:
        """By which hosts know this key. Raises KeyMissing."""
        der = self.trusted.client_certificates().get(self.signer.key)
        if der is None:
            raise KeyMissing(
                "no host can be asked", "this key is neither an operator's nor in a role", "see skerry role ls"
            )
        return der

    # -- learning

    @property
    def policy(self) -> Policy:
        document = self.trusted.policy
        assert document is not None and isinstance(document.body, Policy)
        return document.body

    async def sync(self, hosts: int = 2) -> list[str]:
        """Learn the newest documents from up to `hosts` hosts; gives who answered. Raises Unreachable when none did."""
        answered: list[str] = []
        errors: list[SkerryError] = []
        left = self._candidates()
        while left and len(answered) < hosts:
            asked, left = left[: hosts - len(answered)], left[hosts - len(answered) :]
            for node, error in zip(asked, await asyncio.gather(*map(self._learn_from, asked)), strict=True):
                if error is None:
                    answered.append(node)
                else:
                    errors.append(error)
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

    async def _learn_from(self, node: str) -> SkerryError | None:
        """Take in what this host has that is newer; why it can't be asked, if it can't."""
        try:
            heads = _shaped(await self.request("heads", node=node), dict[str, tuple[int, int, str]], node)
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
                order = {"policy": 1}
                newer.sort(key=lambda p: (order.get(p, 2 if p.startswith("node/") else 3), p))
                for raw in _shaped(await self.request("get", {"paths": newer}, node=node), list[bytes], node):
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

    def _learn(self, raw: bytes, *, load: bool = False) -> None:
        """What hosts hold, verified here. Expired is no reason not to know it: it is what runs, and is to be renewed."""
        try:
            record = self.trusted.load(raw) if load else self.trusted.judge(raw, now_s=time.time())
        except Expired:
            try:
                record = self.trusted.load(raw)
            except TrustRefusal:
                return
        except TrustRefusal:
            if load:
                raise
            return
        if not load:
            with contextlib.suppress(Stale):  # `load` has taken it in already
                self.trusted.commit(record, raw)
            if isinstance(record, Document):
                self._remember(record, raw)

    def _remember(self, record: Document, raw: bytes) -> None:
        text = base64.b64encode(raw).decode()
        if record.kind == "root":
            self.file = msgspec.structs.replace(self.file, roots=(*self.file.roots, text))
        else:
            self.file = msgspec.structs.replace(self.file, documents={**self.file.documents, record.path: text})

    # -- changing

    def draft(self, path: str, body: Body, *, epoch: int | None = None) -> bytes:
        """Sign the next version of `path`, resting on what was verified here. `epoch`: None for the one in force."""
        epoch = self.trusted.epoch(path) if epoch is None else epoch
        # What says that something is over must never be forgotten: a new host has to learn it in ten years, too.
        over = (isinstance(body, Node) and body.state == "expelled") or (isinstance(body, App) and body.deleted)
        return self._sign([self.signer], path, body, epoch, 0.0 if over else LIFE_S)

    def draft_root(self, body: Root, root_keys: Sequence[Signer]) -> bytes:
        """The next root, signed by these root keys."""
        return self._sign(root_keys, "root", body, 0, ROOT_LIFE_S)

    def _sign(self, signers: Sequence[Signer], path: str, body: Body, epoch: int, life_s: float) -> bytes:
        held = self.trusted.document(path)
        now_s = time.time()
        return sign_document(
            signers,
            self.file.id,
            path,
            body,
            epoch=epoch,
            version=held.version + 1 if held is not None and held.epoch == epoch else 1,
            prev=held.hash if held is not None else "",
            issued=max(now_s, held.issued + 0.001 if held is not None else 0.0),
            expires=now_s + life_s if life_s else 0.0,
        )

    def may_sign(self, path: str) -> bool:
        """Whether a role of this key covers the path now (alone or with others)."""
        mine = [role for role in self.trusted.roles() if self.signer.key in role.keys]
        return any(covers(role, path, time.time()) for role in mine)

    def adopt_own(self, raws: Sequence[bytes]) -> None:
        """Take in what was signed while there is no host to hand it to: the first one gets it when it joins."""
        for raw in raws:
            record = self.trusted.judge(raw, now_s=time.time(), from_client=True)
            self.trusted.commit(record, raw)
            if isinstance(record, Document):
                self._remember(record, raw)
        self.save()

    def content_key(self, secret: Document | None) -> bytes:
        """The key under which an app's environment is sealed. Raises CannotOpen when it isn't opened to this operator."""
        return seal.content_key(self.own.sealing, self.signer.key, secret)

    def seal_for_all(self, key: bytes) -> Secret:
        """A content key, opened to all hosts and operators."""
        holders = {path: d.body.sealing for path, d in self.nodes.items() if isinstance(d.body, Node)}
        holders |= {operator.key: operator.sealing for operator in self.trusted.operators()}
        boxes = {name: seal.make_box(key, sealing, secrets.token_bytes(32)) for name, sealing in holders.items()}
        return Secret(key_id=secrets.token_hex(8), boxes=boxes)

    async def named(self, hash: str) -> Document:
        """A fallback that the newest document of its path names, asked of the hosts. Raises what trust refuses."""
        held = self.trusted.named(hash)
        if held is not None:
            return held
        (text,) = await self.request("named", {"hashes": [hash]}) or [""]
        return self.trusted.judge_named(base64.b64decode(text), hash)

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
        answer = await self.request("put", {"records": [base64.b64encode(raw).decode() for raw in raws]}, node=node)
        for raw in raws:
            self._learn(raw)
        self.save()
        return dict(answer)

    async def leave(self, raws: Sequence[bytes], waits: ThresholdNotMet) -> None:
        """Leave a draft with all hosts that can be reached; `waits` then tells where."""
        texts = [base64.b64encode(raw).decode() for raw in raws]
        answers = await self.everywhere("draft", {"records": texts})
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


def _shaped(answer: Any, shape: Any, who: str) -> Any:
    """What a host answered, in the shape that it must have: JSON bytes, or what was decoded of them. Raises BadFormat.

    A captured host may answer anything; it must not be able to end a command that others could have answered.
    """
    try:
        return msgspec.json.decode(answer, type=shape) if isinstance(answer, bytes) else msgspec.convert(answer, shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFormat(
            f"{who.removeprefix('node/')} was not understood",
            str(error),
            "it may be of another version, or captured; ask another host, see skerry host ls",
        ) from None
