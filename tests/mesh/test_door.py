"""What a stranger gets before it has shown a key: little, briefly, and never at the cost of enrolled hosts."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from mesh.cloud import Key, Node, introduce, wait_until
from skerry.mesh import door, links


async def knock(port: int, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def silent(port: int, sources: list[str]) -> tuple[int, list[asyncio.StreamWriter]]:
    """Connect from each and say nothing; how many were let stand."""
    held, writers = 0, []
    for source in sources:
        reader, writer = await knock(port, source)
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout(0.05):
                    assert await reader.read(1) == b""
            except TimeoutError:
                held += 1
    return held, writers


@pytest.fixture
async def nodes(tmp_path: Path):
    made = [await Node(name, Key(), tmp_path / name[5:]).start() for name in ("node/a", "node/b")]
    yield made
    for each in made:
        await each.mesh.close()


async def test_one_address_has_few_unfinished_handshakes_at_once(nodes):
    held, writers = await silent(nodes[0].port, ["127.0.7.7"] * (door.UNFINISHED_AN_ADDRESS + 5))
    assert held == door.UNFINISHED_AN_ADDRESS
    for writer in writers:
        writer.close()


async def test_strangers_from_everywhere_can_not_keep_an_enrolled_host_out(nodes):
    a, b = nodes
    sources = [f"127.0.8.{n}" for n in range(1, door.UNFINISHED + 8)]
    a.mesh.set_peers({})
    introduce(a, b)
    await wait_until(lambda: a.mesh.neighbours() and b.mesh.neighbours())
    held, writers = await silent(a.port, sources)
    assert held == door.UNFINISHED
    assert await b.mesh.reach("node/a", 2.0), "its address is an enrolled one"
    for writer in writers:
        writer.close()


async def test_who_says_nothing_is_let_go_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(links, "OPEN_S", 0.3)
    node = await Node("node/a", Key(), tmp_path / "a").start()
    try:
        reader, writer = await knock(node.port, "127.0.9.9")
        writer.write(b"\x16\x03\x01")  # the first three bytes of a handshake, and then nothing
        async with asyncio.timeout(3.0):
            with contextlib.suppress(ConnectionError):
                assert await reader.read(100) == b""
        writer.close()
    finally:
        await node.mesh.close()
