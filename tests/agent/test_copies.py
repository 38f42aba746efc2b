"""Whether a neighbour has it on its disk, too: asked over the links that are there, believed only as an answer."""

import asyncio

import pytest

from skerry.agent.copies import Copies
from skerry.core.gossip import SendMessage
from skerry.core.messages import HoldsAnswer, HoldsAsk

HASH = "ab" * 32


class Node:
    """One that asks `peers`; what it sends is in `sent`."""

    def __init__(self, *peers: str, holds: bool = False) -> None:
        self.sent: list[SendMessage] = []
        self.changed = asyncio.Event()
        self.copies = Copies(self.carry, lambda: peers, lambda hash: holds)

    def carry(self, sends) -> None:
        self.sent += sends
        self.changed.set()

    async def asked(self, count: int) -> HoldsAsk:
        async with asyncio.timeout(5):
            while len(self.sent) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.sent[-1].message


async def test_the_first_that_has_it_is_named():
    node = Node("node/b", "node/c")
    asking = asyncio.create_task(node.copies.second([HASH], 5.0))
    ask = await node.asked(2)
    assert [send.peer for send in node.sent] == ["node/b", "node/c"] and ask.hashes == (HASH,)
    node.copies.answered("node/b", HoldsAnswer(ask.number, False))
    node.copies.answered("node/c", HoldsAnswer(ask.number, True))
    node.copies.answered("node/b", HoldsAnswer(ask.number, True))
    assert await asking == "node/c"


async def test_who_has_it_only_later_is_asked_again():
    node = Node("node/b")
    asking = asyncio.create_task(node.copies.second([HASH], 5.0))
    node.copies.answered("node/b", HoldsAnswer((await node.asked(1)).number, False))
    node.copies.answered("node/b", HoldsAnswer((await node.asked(2)).number, True))
    assert await asking == "node/b"


async def test_an_answer_to_another_question_counts_for_nothing():
    node = Node("node/b")
    asking = asyncio.create_task(node.copies.second([HASH], 0.3))
    node.copies.answered("node/b", HoldsAnswer((await node.asked(1)).number + 1, True))
    assert await asking == ""


async def test_alone_there_is_nobody_to_ask():
    assert await Node().copies.second([HASH], 5.0) == ""


async def test_all_that_have_it_are_named_when_the_last_one_has():
    node = Node("node/b", "node/c")
    asking = asyncio.create_task(node.copies.all([HASH], 5.0))
    ask = await node.asked(2)
    node.copies.answered("node/c", HoldsAnswer(ask.number, True))
    await node.asked(3)
    assert node.sent[-1].peer == "node/b", "who has said yes is not asked again"
    assert not asking.done()
    node.copies.answered("node/b", HoldsAnswer(ask.number, True))
    assert await asking == {"node/b", "node/c"}


async def test_who_never_says_so_holds_up_the_question_no_longer_than_that():
    node = Node("node/b", "node/c")
    asking = asyncio.create_task(node.copies.all([HASH], 0.3))
    node.copies.answered("node/c", HoldsAnswer((await node.asked(2)).number, True))
    assert await asking == {"node/c"}


@pytest.mark.parametrize("holds", [True, False])
def test_the_answer_is_what_the_disk_says(holds):
    node = Node(holds=holds)
    node.copies.asked("node/b", HoldsAsk(3, (HASH,)))
    assert node.sent == [SendMessage("node/b", HoldsAnswer(3, holds))]
