"""Letters about one alert and about several: what people read fits into a chat's message, and receivers can fold them."""

from __future__ import annotations

import email
import random

from agent.receivers import hook, mailbox
from skerry.agent.alerts import letters
from skerry.agent.alerts.letters import About, Letter, Message
from skerry.core.alerting.sending import IN_ONE

CHAT = 4096  # characters in a message of Telegram, bytes in one of ntfy


def letter(about: list[About], state: str = "firing") -> Message:
    return letters.message_of(
        tuple(about), cloud="home", rule="no-replica", state=state, time=1.8e9, unit="", means="no healthy replica",
        host="vps-1", seen_by=2, fixed=3, look="skerry alert ls",
    )  # fmt: skip


def about(count: int, why: str = "web/0 of 2: no host has room") -> list[About]:
    return [
        About(id=f"{n:032x}", subject=f"shop.service-{n}", since=1.7e9 + n, figure=1.0, limit=0.0, why=why)
        for n in range(count)
    ]


def test_a_letter_about_one_is_its_own() -> None:
    (one,) = about(1)
    message = letter([one])
    assert (message.id, message.subject, message.why, message.figure) == (one.id, one.subject, one.why, 1.0)
    assert letters.title(message) == "[home] no-replica shop.service-0"
    assert message.alerts == (one,)


def test_a_letter_about_several_has_one_id_in_whatever_order_and_all_their_own() -> None:
    several = about(5)
    message = letter(several)
    shuffled = random.Random(1).sample(several, 5)
    assert letter(shuffled).id == message.id != letter(several[:4]).id
    assert (message.subject, message.since) == ("shop.service-0 and 4 more", 1.7e9)
    assert [a.id for a in message.alerts] == [a.id for a in several]
    assert "- shop.service-3: web/0 of 2" in letters.text(message)


def test_the_longest_letter_fits_into_a_chats_message() -> None:
    text = letters.text(letter(about(IN_ONE, "ä\x1b[31m" + "x" * 300)))
    assert all(f"service-{n}:" in text for n in range(IN_ONE)), "none is left out"
    assert len(text.encode()) < CHAT and "\x1b" not in text


def test_a_mail_about_several_stands_in_the_thread_of_each() -> None:
    reach = {"from": "a@example.com", "to": "b@example.com", "tls": "none"}
    with mailbox() as box:
        post = Letter(name="mail", kind="smtp", reach={**reach, "server": box.server})
        assert letters.deliver(letter(about(2)), post).ok
        assert letters.deliver(letter(about(2)[1:], "over"), post).ok
        both, one = (email.message_from_string(mail) for mail in box.mails)
    assert {f"<{n:032x}@skerry>" for n in range(2)} < set(both["References"].split())
    assert one["References"] == f"<{1:032x}@skerry>"
    assert one["Subject"] == "[home] over: no-replica shop.service-1"


def test_a_webhook_gets_each_alert_of_a_letter() -> None:
    with hook() as receiver:
        assert letters.deliver(letter(about(3)), Letter(name="ops", kind="webhook", reach={"url": receiver.url})).ok
        ((_, headers, _),) = receiver.got
        (told,) = receiver.messages("firing")
    assert headers["skerry-id"] == told["id"]
    assert [a["subject"] for a in told["alerts"]] == [f"shop.service-{n}" for n in range(3)]
