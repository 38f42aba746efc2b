"""Asking a provider from a host: each call in a child process of its own, so that no HTTP library stays in the agent's memory, and a
call that hangs hurts nobody: the child is killed, and what it did is looked up.

Run as a program it reads one question on standard input and prints the answer.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Literal, NoReturn

import msgspec

from skerry.agent import child
from skerry.core.intent import Offer, Pool
from skerry.errors import BadInput, Passing, SkerryError
from skerry.machines.contract import (
    Billing,
    Order,
    ProviderDenied,
    ProviderSilent,
    QuotaReached,
    RateLimited,
    Server,
    Size,
)
from skerry.machines.providers import UnknownProvider, open_provider
from skerry.outside import UNREADABLE

LIMIT_S = 60.0
OTHERS_SHARE = 0.8  # of the limit: then what the others have said is told without who is silent
ANSWER_BYTES = 16 << 20


Act = Literal["list", "sizes", "create", "destroy", "reboot", "resize"]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`others`: asked at the same time, in the same child; whoever hasn't answered within `limit_s` is silent."""

    provider: str
    token: str
    endpoint: str
    options: dict[str, str]
    act: Act
    name: str = ""
    tag: str = ""
    order: Order | None = None
    server: Server | None = None
    size: str = ""
    others: dict[str, Question] = {}
    limit_s: float = LIMIT_S


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """`acted`: whether it was done. `whole`: nothing else would go better. `lasting`: the same again would be refused again."""

    code: str
    why: str
    acted: Literal["no", "unknown"] = "unknown"
    whole: bool = False
    lasting: bool = False
    after_s: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Of a list, or the one that was created; of `sizes` with what is paid. `others`: to the question's others."""

    servers: list[Server] = []
    sizes: list[Size] = []
    billing: Billing | None = None
    trouble: Trouble | None = None
    others: dict[str, Answer] = {}


def question(pool: Pool | Offer, token: str, act: Act, **more: object) -> Question:
    asked = {"provider": pool.provider, "token": token, "endpoint": pool.endpoint, "options": pool.options, "act": act}
    return msgspec.convert({**asked, **{key: msgspec.to_builtins(value) for key, value in more.items()}}, Question)


async def ask(asked: Question, *, limit_s: float = LIMIT_S) -> Answer:
    """Never raises for what the provider or the child does: that is in the answer."""
    asked = msgspec.structs.replace(asked, limit_s=limit_s * OTHERS_SHARE)
    out, why = await child.asked("skerry.agent.renting.asking", msgspec.json.encode(asked), limit_s=limit_s)
    with contextlib.suppress(*UNREADABLE):
        return msgspec.json.decode(out[:ANSWER_BYTES], type=Answer)
    return Answer(trouble=Trouble(code=ProviderSilent.code, why=f"asking {asked.provider} failed: {why}"))


async def servers(pool: Pool | Offer, token: str, name: str) -> list[Server]:
    """The machines of this name. Raises ProviderSilent."""
    answer = await ask(question(pool, token, "list", name=name))
    if answer.trouble is not None:
        raise ProviderSilent(f"{pool.provider} did not say what {name} is", answer.trouble.why, "it is asked again")
    return answer.servers


# --- in the child -----------------------------------------------------------------------------------------------------


def answer_all(asked: Question) -> Answer:
    if not asked.others:
        return answer(asked)
    from concurrent.futures import ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(len(asked.others) + 1)
    pending = {name: pool.submit(answer, one) for name, one in {"": asked, **asked.others}.items()}
    wait(pending.values(), timeout=asked.limit_s)
    silent = Answer(trouble=Trouble(code=ProviderSilent.code, why=f"no answer in {asked.limit_s:.0f} s"))
    answers = {name: future.result() if future.done() else silent for name, future in pending.items()}
    return msgspec.structs.replace(answers.pop(""), others=answers)


def answer(asked: Question) -> Answer:
    try:
        provider = open_provider(asked.provider, token=asked.token, endpoint=asked.endpoint, options=asked.options)
        if asked.act == "sizes":
            return Answer(sizes=provider.sizes(), billing=provider.billing)
        if asked.act == "list":
            return Answer(servers=provider.list(name=asked.name, tag=asked.tag))
        if asked.act == "create" and asked.order is not None:
            return Answer(servers=[provider.create(asked.order)])
        if asked.act == "destroy" and asked.server is not None:
            provider.destroy(asked.server)
        if asked.act == "reboot" and asked.server is not None:
            provider.reboot(asked.server)
        if asked.act == "resize" and asked.server is not None:
            provider.resize(asked.server, asked.size)
        return Answer()
    except SkerryError as error:
        return Answer(trouble=trouble_of(error))


def trouble_of(error: SkerryError) -> Trouble:
    """What a keeper has to know of it. A refusal was not done; of what passes only those that say so were not."""
    lasting = not isinstance(error, Passing)
    return Trouble(
        code=error.code,
        why=str(error)[:300],
        acted="no" if lasting or isinstance(error, RateLimited) or error.code == "provider-no-capacity" else "unknown",
        whole=isinstance(error, ProviderDenied | QuotaReached | RateLimited | UnknownProvider | BadInput),
        lasting=lasting,
        after_s=getattr(error, "after_s", 0.0),
    )


def main() -> NoReturn:
    asked = msgspec.json.decode(sys.stdin.buffer.read(1 << 20), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(answer_all(asked)))
    sys.stdout.flush()
    os._exit(0)  # whoever is silent isn't waited for


if __name__ == "__main__":
    main()
