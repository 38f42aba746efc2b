"""What a keeper's core decides, carried out: calls to the provider, one-time tokens, and enrolments under this host's keeper key.

The provider's token is opened from the pool's document for each call and kept nowhere. A machine's one-time token is drawn here; all
that ever leaves this file of it is its hash, and the machine's user data.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from skerry.agent.renting.asking import Act, Answer, Question, Trouble, question
from skerry.core.effects import Effect
from skerry.core.events import Event
from skerry.core.intent import Pool
from skerry.core.records import MachineSlot
from skerry.core.renting import dealings as deal
from skerry.errors import TrustRefusal
from skerry.machines import contract
from skerry.machines.contract import Order, Server
from skerry.machines.userdata import meeting_points, user_data
from skerry.trust.joining import token_hash
from skerry.trust.refusals import CannotOpen

if TYPE_CHECKING:
    from skerry.agent.daemon import Agent


class Keeper:
    """One coroutine a call; core never has more than a few under way."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def carriers(self) -> dict[type[Effect], Any]:
        return {
            deal.ListMachines: self._list,
            deal.ListKinds: self._kinds,
            deal.CreateMachine: self._create,
            deal.DestroyMachine: self._destroy,
            deal.Enrol: self._enrol,
        }

    # -- calls

    async def _list(self, effect: deal.ListMachines) -> None:
        slot = MachineSlot.read(effect.slot)
        name = contract.name_of(self._cloud, slot) if slot is not None else ""
        tag = "" if slot is not None else contract.cloud_tag(self._cloud)
        answers = await self._ask_all(effect.pool, "list", name=name, tag=tag)
        found = tuple(self._rented(server, at) for at, answer in answers.items() for server in answer.servers)
        event = deal.MachinesListed(pool=effect.pool, slot=effect.slot, machines=found, silent=_silent(answers))
        self._tell(_worst(answers), event, effect.pool, "list", effect.slot)

    async def _kinds(self, effect: deal.ListKinds) -> None:
        answers = await self._ask_all(effect.pool, "sizes")
        kinds = tuple(
            deal.Kind(s.name, s.cpus, s.memory_bytes, s.price_usd_hour, s.price_usd_month, s.regions, at)
            for at, answer in answers.items()
            for s in answer.sizes
        )
        terms = [answer.billing for answer in answers.values() if answer.billing is not None]
        event = deal.KindsListed(
            effect.pool,
            kinds,
            least_s=max((each.least_s for each in terms), default=0.0),
            step_s=max((each.step_s for each in terms), default=1.0),
            least_usd=max((each.least_usd for each in terms), default=0.0),
            silent=_silent(answers),
        )
        self._tell(_worst(answers), event, effect.pool, "kinds", "")

    async def _create(self, effect: deal.CreateMachine) -> None:
        """What core publishes of CreateBegun is on disk when `post` returns: only then is anybody asked."""
        slot, pool = effect.slot, self._pool(effect.slot.pool)
        if pool is None:
            return
        token = secrets.token_hex(32)
        self._agent.loop.post(deal.CreateBegun(slot, token_hash(token)))
        trusted = self._agent.trusted
        nodes = {path: node for path in pool.keepers if (node := trusted.enrolled(path)) is not None}
        order = Order(
            name=contract.name_of(self._cloud, slot),
            size=effect.size,
            region=effect.region,
            image=pool.offers()[effect.offer].image if effect.offer in pool.offers() else "",
            user_data=user_data(
                self._cloud, slot, meeting_points(pool, nodes), bundle=pool.bundle, token=token, limit_s=effect.token_s
            ),
            tags=contract.tags_of(self._cloud, slot.pool),
            uuid=contract.uuid_of(self._cloud, slot),
        )
        answer = await self._ask(slot.pool, effect.offer, "create", order=order)
        made = self._rented(answer.servers[0], effect.offer) if answer.servers else None
        event = deal.MachineCreated(slot, made) if made is not None else None
        self._tell(answer, event, slot.pool, "create", str(slot), effect.offer)

    async def _destroy(self, effect: deal.DestroyMachine) -> None:
        tags = effect.tags or contract.tags_of(self._cloud, effect.pool)
        pool = self._pool(effect.pool)
        at = pool.offer_of(effect.id) if pool is not None else ""
        server = Server(effect.id.removeprefix(f"{at}:") if at else effect.id, effect.name, "active", tags=tags)
        answer = await self._ask(effect.pool, at, "destroy", server=server)
        self._tell(answer, deal.MachineDestroyed(effect.pool, effect.id), effect.pool, "destroy", effect.id)

    async def _enrol(self, effect: deal.Enrol) -> None:
        slot = MachineSlot.of_path(effect.path)
        assert slot is not None
        try:
            self._agent.enrolments.sign(slot, effect.body)
        except TrustRefusal as refusal:  # core asks again as long as it isn't so
            self._agent.links.tell(refusal, self._agent.me)

    # -- around them

    @property
    def _cloud(self) -> str:
        return self._agent.trusted.cloud

    def _pool(self, name: str) -> Pool | None:
        """Of a deleted pool too: its machines are still to be given back."""
        document = self._agent.trusted.document(f"pool/{name}")
        return document.body if document is not None and isinstance(document.body, Pool) else None

    async def _ask_all(self, of: str, act: Act, **more: object) -> dict[str, Answer]:
        """Offer -> what it says, all asked at once, by one child."""
        asked = self._question(of, "", act, **more)
        if isinstance(asked, Answer):
            return {"": asked}
        pool = self._pool(of)
        names = [offer.name for offer in pool.others] if pool is not None else []
        others = {name: self._question(of, name, act, **more) for name in names}
        can = {name: each for name, each in others.items() if isinstance(each, Question)}
        cannot = {name: each for name, each in others.items() if isinstance(each, Answer)}
        answer = await self._agent.parts.ask(msgspec.structs.replace(asked, others=can))
        unsaid = dict.fromkeys(can, answer)  # where the child itself had trouble
        return {"": answer, **unsaid, **answer.others, **cannot}

    async def _ask(self, of: str, offer: str, act: Act, **more: object) -> Answer:
        asked = self._question(of, offer, act, **more)
        return asked if isinstance(asked, Answer) else await self._agent.parts.ask(asked)

    def _question(self, of: str, offer: str, act: Act, **more: object) -> Question | Answer:
        """What to ask; an answer where it can't be asked."""
        pool = self._pool(of)
        at = pool.offers().get(offer) if pool is not None else None
        if pool is None or at is None:
            where = f"pool {of}" if pool is None else f"offer {offer} in pool {of}"
            return Answer(trouble=Trouble(code="no-pool", why=f"there is no {where} here", acted="no", whole=True))
        try:
            token = self._agent.enrolments.token(pool, offer)
        except CannotOpen as error:
            return Answer(trouble=Trouble(code=error.code, why=str(error), acted="no", whole=True, lasting=True))
        return question(at, token, act, **more)

    def _tell(self, answer: Answer, event: Event | None, pool: str, act: Any, subject: str, offer: str = "") -> None:
        trouble = answer.trouble
        if trouble is None and event is None:
            trouble = Trouble(code=contract.ProviderSilent.code, why="its answer names no machine")
        if trouble is not None:
            event = deal.ProviderFailed(
                pool,
                act,
                subject,
                trouble.code,
                trouble.why,
                trouble.acted,
                trouble.whole,
                trouble.lasting,
                trouble.after_s,
                offer,
            )
        assert event is not None
        self._agent.loop.post(event)

    def _rented(self, server: Server, offer: str) -> deal.Rented:
        slot = contract.slot_of(self._cloud, server.name)
        tagged = contract.cloud_tag(self._cloud).lower() in {tag.lower() for tag in server.tags}
        return deal.Rented(
            id=Pool.id_at(offer, server.id),
            slot=str(slot) if slot is not None else "",
            name=server.name,
            tagged=tagged,
            state=server.state,
            address=server.addresses[0] if server.addresses else "",
            size=server.size,
            region=server.region,
            price_usd_hour=server.price_usd_hour,
            created=server.created_s,
            busy=server.busy,
            tags=server.tags,
            offer=offer,
        )


def _silent(answers: dict[str, Answer]) -> dict[str, str]:
    return {at: answer.trouble.why for at, answer in answers.items() if answer.trouble is not None}


def _worst(answers: dict[str, Answer]) -> Answer:
    """As long as one has answered, what it said counts; else the first one's trouble is all of theirs."""
    return next((answer for answer in answers.values() if answer.trouble is None), next(iter(answers.values())))
