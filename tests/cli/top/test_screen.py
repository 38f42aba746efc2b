"""`skerry top` over a small cloud, at 80 by 24 where nothing else is said: what a person reads and what keys do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.small import SmallCloud
from cli.top.conftest import screen
from skerry.client.session import Session
from skerry.core.intent import Service

Write = Callable[[SmallCloud, str, str], None]


def shop(cloud: SmallCloud, **apps: int) -> None:
    image = cloud.give_image(b"program")
    for app, replicas in (apps or {"shop": 2, "blog": 1}).items():
        cloud.deploy(app, Service(replicas=replicas), image)


async def test_services_slots_and_hosts_are_read_at_80_by_24(cloud: SmallCloud, session: Session) -> None:
    shop(cloud)
    async with screen(session) as top:
        seen = await top.until(
            "3 hosts up and 3 slots well",
            lambda s: all(words in s for words in ("● 3 hosts up", "● 3 slots well", "2/2")),
        )
        lines = seen.splitlines()
        assert len(lines) == 24 and max(map(len, lines)) <= 80
        assert "skerry small" in lines[0] and "q quit" in lines[-1]
        rows = [line.split() for line in lines if line.strip().startswith("●")]
        assert [(row[1], row[2]) for row in rows] == [("blog.blog", "1/1"), ("shop.shop", "2/2")]
        await top.press("2")
        seen = await top.until("shop.shop/1")
        assert "STATE" in seen and "running" in seen
        await top.press("tab")
        seen = await top.until("vps-3")
        assert "DISK" in seen


async def test_what_is_not_known_is_no_nought(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents of before there were metrics."""
    from skerry.agent.serve import Server

    monkeypatch.delattr(Server, "_verb_metrics", raising=False)
    shop(cloud)
    async with screen(session) as top:
        seen = await top.until("slots well")
        assert "no figures yet" in seen and "0.00" not in seen


async def test_enter_shows_lines_as_they_come_then_events_and_why(
    cloud: SmallCloud, session: Session, written: Write
) -> None:
    """What an app writes is shown as it is: no escape steers the terminal, no markup is obeyed."""
    shop(cloud)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        written(cloud, "shop.shop/0", "before anybody looked")
        await top.press("2", "down", "enter")
        await top.until("before anybody looked")
        written(cloud, "shop.shop/0", "[bold]now[/bold] \x1b[2J\x1b]0;owned\x07 [link=x]")
        seen = await top.until("[bold]now[/bold]")
        assert "\\x1b[2J\\x1b]0;owned\\x07 [link=x]" in seen and "\x1b" not in seen
        assert "slot shop.shop/0" in seen and "running on vps-" in seen
        await top.press("e")
        await top.until("claimed")
        await top.press("x")
        await top.until("held by vps-")
        await top.press("escape")
        await top.until("1 services 2")


async def test_a_service_shows_the_lines_of_all_its_slots_a_host_what_it_holds(
    cloud: SmallCloud, session: Session, written: Write
) -> None:
    shop(cloud)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        for slot in ("shop.shop/0", "shop.shop/1", "blog.blog/0"):
            written(cloud, slot, f"I am {slot}")
        await top.press("down", "enter")
        seen = await top.until("both", lambda s: "I am shop.shop/0" in s and "I am shop.shop/1" in s)
        assert "blog" not in seen
        await top.press("escape", "3", "enter")
        await top.until("host vps-1")
        await top.press("x")
        await top.until("state: up")


async def test_words_filter_and_columns_sort(cloud: SmallCloud, session: Session) -> None:
    shop(cloud, shop=3, blog=1, search=2)
    async with screen(session) as top:
        await top.until("● 6 slots well")

        def names(text: str) -> list[str]:
            return [line.split()[1] for line in text.splitlines() if line.strip().startswith("●")]

        await top.press("slash", *"shop")
        await top.until("only the shop", lambda s: names(s) == ["shop.shop"])
        await top.press("enter", "2")
        await top.until("its slots", lambda s: names(s) == ["shop.shop/0", "shop.shop/1", "shop.shop/2"])
        await top.press("r")
        await top.until("the other way", lambda s: names(s) == ["shop.shop/2", "shop.shop/1", "shop.shop/0"])
        await top.press("slash", *"nothing")
        await top.until("nothing has 'nothing' in it")
        await top.press("escape", "1")
        await top.until("all", lambda s: names(s) == ["blog.blog", "search.search", "shop.shop"])


async def test_without_any_host_it_says_so_and_goes_on_when_one_is_back(cloud: SmallCloud, session: Session) -> None:
    shop(cloud)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        await cloud.stop()
        seen = await top.until("no host answers")
        assert "shop.shop" in seen, "as it was last"
        await top.press("enter")
        await top.until("no host answers; trying on")
        await top.press("escape")
        await cloud.start("vps-1", "vps-2")
        await top.until("it is back", lambda s: "no host answers" not in s)


async def test_a_cloud_that_nobody_can_reach_is_no_crash(cloud: SmallCloud, session: Session) -> None:
    await cloud.stop()
    async with screen(session) as top:
        await top.until("no host answers")


async def test_help_and_quit(cloud: SmallCloud, session: Session) -> None:
    async with screen(session) as top:
        await top.until("● 3 hosts up")
        await top.press("question_mark")
        seen = await top.until("Signs")
        assert "events of the whole cloud" in seen
        await top.press("escape")
        await top.pilot.press("q")
    assert top.top.return_code == 0


async def test_a_host_that_dies_is_seen_and_stands_in_the_warnings(cloud: SmallCloud, session: Session) -> None:
    shop(cloud)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        await cloud.stop("vps-3")
        await top.until("2/3 hosts up")
        await top.press("5")
        await top.until("down: ")


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (200, 60), (30, 8)])
async def test_any_size_of_terminal_will_do(cloud: SmallCloud, session: Session, size: tuple[int, int]) -> None:
    shop(cloud)
    async with screen(session, size) as top:
        await top.until("blog.blog")
        await top.press("2", "3", "4", "5", "1", "enter", "x", "escape", "question_mark", "escape")
        await top.until("blog.blog")


async def test_without_colours_none_is_sent(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shop(cloud)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        for strip in top.top.screen._compositor.render_strips():
            for segment in strip.apply_filter(top.top._filters[-1], top.top.screen.background_colors[1]):
                colours = (segment.style.color, segment.style.bgcolor) if segment.style else ()
                assert all(colour is None or colour.is_default for colour in colours)
