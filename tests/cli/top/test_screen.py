"""`skerry top` over a small cloud, at 80 by 24 where nothing else is said: what a person reads and what keys do.

A cloud costs some seconds, so each test does all that one cloud allows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.small import SmallCloud
from cli.top.conftest import screen
from client.test_alerts import QuickCloud
from skerry.agent.serve import Server
from skerry.client import alerts
from skerry.client.session import Session
from skerry.core.intent import Service

Write = Callable[[SmallCloud, str, str], None]


def deploy(cloud: SmallCloud, **apps: int) -> None:
    image = cloud.give_image(b"program")
    for app, replicas in apps.items():
        cloud.deploy(app, Service(replicas=replicas), image)


def names(text: str) -> list[str]:
    """Of the lines that are well."""
    return [line.split()[1] for line in text.splitlines() if line.strip().startswith("●")]


async def test_views_words_order_and_help_at_80_by_24(cloud: SmallCloud, session: Session) -> None:
    deploy(cloud, shop=3, blog=1, search=2)
    async with screen(session) as top:
        seen = await top.until("● 6 slots well", lambda s: "● 3 hosts up   ● 6 slots well" in s and "3/3" in s)
        lines = seen.splitlines()
        assert len(lines) == 24 and max(map(len, lines)) <= 80
        assert "skerry small" in lines[0] and "q quit" in lines[-1]
        assert names(seen) == ["blog.blog", "search.search", "shop.shop"]
        await top.press("2")
        seen = await top.until("shop.shop/1")
        assert "STATE" in seen and "running" in seen
        await top.press("tab")
        seen = await top.until("vps-3")
        assert "DISK" in seen
        await top.press("1", "slash", *"shop")
        await top.until("only the shop", lambda s: names(s) == ["shop.shop"])
        await top.press("enter", "2")
        await top.until("its slots", lambda s: names(s) == ["shop.shop/0", "shop.shop/1", "shop.shop/2"])
        await top.press("r")
        await top.until("the other way", lambda s: names(s) == ["shop.shop/2", "shop.shop/1", "shop.shop/0"])
        await top.press("slash", *"nothing")
        await top.until("nothing has 'nothing' in it")
        await top.press("escape", "question_mark")
        seen = await top.until("Signs")
        assert "events of the whole cloud" in seen
        await top.press("escape", "1")
        await top.until("all", lambda s: names(s) == ["blog.blog", "search.search", "shop.shop"])
        await top.all_at_once("slash", *"shop", "enter", "2")
        await top.until("its slots", lambda s: names(s) == ["shop.shop/2", "shop.shop/1", "shop.shop/0"])
        await top.all_at_once("slash", *"xyz", "escape", "slash", *"blog", "enter", "1")
        await top.until("only the blog", lambda s: names(s) == ["blog.blog"] and s.splitlines()[4].endswith("/blog"))
        assert not top.top.paused
        await top.all_at_once("escape")
        await top.until("all", lambda s: names(s) == ["blog.blog", "search.search", "shop.shop"])
        await top.pilot.press("q")
    assert top.top.return_code == 0


async def test_enter_shows_lines_as_they_come_then_events_and_why(
    cloud: SmallCloud, session: Session, written: Write
) -> None:
    """What an app writes is shown as it is: no escape steers the terminal, no markup is obeyed."""
    deploy(cloud, shop=2, blog=1)
    async with screen(session) as top:
        await top.until("● 3 slots well")
        for slot in ("shop.shop/0", "shop.shop/1", "blog.blog/0"):
            written(cloud, slot, f"I am {slot}")
        await top.press("down", "enter")
        seen = await top.until("both", lambda s: "I am shop.shop/0" in s and "I am shop.shop/1" in s)
        assert "blog" not in seen
        await top.press("escape", "2", "down", "enter")
        await top.until("I am shop.shop/0")
        written(cloud, "shop.shop/0", "[bold]now[/bold] \x1b[2J\x1b]0;owned\x07 [link=x]")
        written(cloud, "shop.shop/0", '{"level": "error", "msg": "\\u001b[1m[red]no"}')
        seen = await top.until("what came later", lambda s: "[bold]now[/bold]" in s and "[red]no" in s)
        assert "\\x1b[2J\\x1b]0;owned\\x07 [link=x]" in seen and "\x1b" not in seen
        assert "ERROR \\x1b[1m[red]no" in seen
        assert "slot shop.shop/0" in seen and "running on vps-" in seen
        await top.press("e")
        await top.until("claimed")
        await top.press("x")
        await top.until("held by vps-")
        await top.press("escape", "3", "enter")
        await top.until("host vps-1")
        await top.press("x")
        await top.until("state: up")
        await top.press("escape", "e")
        await top.until("cloud small")
        await top.press("escape")
        await top.until("3 hosts 3")


async def test_a_host_that_dies_is_seen_and_without_any_it_goes_on_until_one_is_back(
    cloud: SmallCloud, session: Session
) -> None:
    deploy(cloud, shop=2)
    async with screen(session) as top:
        await top.until("● 2 slots well")
        await cloud.stop("vps-3")
        await top.until("2/3 hosts up")
        await top.press("5")
        await top.until("down: ")
        await top.press("1")
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
        await top.press("e", "1", "2", "3", "enter", "question_mark", "escape")
        await top.until("no host answers")


async def test_any_size_of_terminal_will_do_and_none_needs_colours_or_figures(
    cloud: SmallCloud, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents of before there were metrics: what is not known is no nought."""
    monkeypatch.delattr(Server, "_verb_metrics", raising=False)
    deploy(cloud, shop=2, blog=1)
    for size in ((60, 16), (200, 60), (30, 8)):  # 80 by 24 is that of all other tests
        async with screen(session, size) as top:
            await top.until("blog.blog")
            await top.press("2", "3", "4", "5", "1", "enter", "x", "escape", "question_mark", "escape")
            seen = await top.until("blog.blog")
            assert "0.00" not in seen and ("no figures yet" in seen) == (size[1] >= 20)
    monkeypatch.setenv("NO_COLOR", "1")
    async with screen(session) as top:
        await top.until("blog.blog")
        for strip in top.top.screen._compositor.render_strips():
            for segment in strip.apply_filter(top.top._filters[-1], top.top.screen.background_colors[1]):
                colours = (segment.style.color, segment.style.bgcolor) if segment.style else ()
                assert all(colour is None or colour.is_default for colour in colours)


async def test_an_alert_is_seen_at_the_top_and_leads_to_what_it_is_about(tmp_path: Path) -> None:
    cloud = QuickCloud(tmp_path / "hosts", 3)
    await cloud.start()
    async with Session(cloud.home(tmp_path / "home"), lambda what: "") as session:
        await alerts.set_rule(session, "host-silent", {"for_s": 0.0})
        await cloud.stop("vps-3")
        async with screen(session, (100, 24)) as top:
            await top.until("! 1 alert")
            await top.press("5")
            await top.until("host-silent: ")
            await top.press("enter")
            await top.until("host vps-3")
    await cloud.stop()
