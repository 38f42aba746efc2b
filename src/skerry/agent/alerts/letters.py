"""Letters to receivers of alerts: what they say, in the form that each kind of receiver wants, and what it answered.

Run as a program (a child of the agent's, see child.py) it reads the letters on standard input and prints the answers. What reaches a
receiver is in the letters alone; it is neither logged nor part of an answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import sys
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

LETTER_S = 12.0
TRIES = 2
ANSWER_BYTES = 4096
LINE = 200
PART = 150  # of a line in a letter about several: all of them fit into one message of a chat
ID_DIGITS = 32
SIGNED_FOR = b"skerry-alert\0"  # what a node's signature of a body begins with: it is good for nothing else


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a letter. `id`: the same from whichever host and for as long as it fires, and when it is over."""

    id: str
    subject: str
    since: float
    figure: float
    limit: float
    why: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook. `alerts`: what it is about, of one rule; `id`: that of the one, else of all these together.

    `state`: firing, over, or test. `since`, `time`: unix seconds. `seen_by` of `fixed` hosts are in touch with `host`, the sender.
    """

    id: str
    cloud: str
    rule: str
    subject: str
    state: str
    since: float
    time: float
    figure: float
    limit: float
    unit: str
    why: str
    means: str
    host: str
    seen_by: int
    fixed: int
    look: str
    alerts: tuple[About, ...] = ()


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """`reach`: what it takes, opened: url, secret, user, …; `signature`: of the body by the node's key, as a header has it."""

    name: str
    kind: str
    reach: dict[str, str]
    signature: str = ""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    message: Message
    letters: list[Letter]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`detail`: an HTTP status and the first line, or what the mail server said."""

    ok: bool
    detail: str


def id_of(cloud: str, rule: str, subject: str, round: int) -> str:
    return hashlib.sha256(f"{cloud}\0{rule}\0{subject}\0{round}".encode()).hexdigest()[:ID_DIGITS]


def message_of(about: tuple[About, ...], **more: Any) -> Message:
    """Of one: as its own. Of several: the first and how many more, since the first of them; figures stand in `alerts`."""
    one = about[0] if len(about) == 1 else None
    ids = "\0".join(sorted(each.id for each in about))
    subject = about[0].subject if about else ""
    return Message(
        id=one.id if one is not None else hashlib.sha256(ids.encode()).hexdigest()[:ID_DIGITS],
        subject=f"{subject} and {len(about) - 1} more" if len(about) > 1 else subject,
        since=min((each.since for each in about), default=0.0), figure=one.figure if one is not None else 0.0,
        limit=one.limit if one is not None else 0.0, why=one.why if one is not None else "", alerts=about, **more,
    )  # fmt: skip


def body_of(message: Message) -> bytes:
    return msgspec.json.encode(message)


def title(m: Message) -> str:
    if m.state == "test":
        return f"[{m.cloud}] a test of skerry's alerts"
    return plain(f"[{m.cloud}] {'over: ' if m.state == 'over' else ''}{m.rule} {m.subject}")


def text(m: Message) -> str:
    """For people: all that the message says, in lines."""
    if m.state == "test":
        return f"{title(m)}\nNothing is wrong. Asked for on {m.host}."
    figure = f"{shown(m.figure, m.unit)}, limit {shown(m.limit, m.unit)}" if m.figure or m.limit else ""
    lines = [
        title(m),
        plain(m.why or m.means),
        *(f"- {plain(each.subject)}: {plain(each.why)}"[:PART] for each in m.alerts if len(m.alerts) > 1),
        f"since {datetime.fromtimestamp(m.since, UTC):%Y-%m-%d %H:%M:%S} UTC",
        figure,
        f"seen from {m.host}, which is in touch with {m.seen_by} of {m.fixed} fixed hosts: seen by {m.seen_by} of {m.fixed}",
        f"look: {plain(m.look)}" if m.look else "",
        f"id {m.id}",
    ]
    return "\n".join(line for line in lines if line)


def shown(figure: float, unit: str) -> str:
    return f"{figure:.0%}" if unit == "share" else f"{figure:g} {unit}".strip()


def named(m: Message, reach: dict[str, str]) -> Message:
    """With the cloud as people call it, where the letter says how."""
    return msgspec.structs.replace(m, cloud=plain(reach["cloud"])) if reach.get("cloud") else m


def plain(said: str) -> str:
    """In one line, and without anything that steers a terminal or ends a header."""
    return "".join(c if c.isprintable() else "?" for c in said)


# --- in the child -----------------------------------------------------------------------------------------------------


def deliver(message: Message, letter: Letter) -> Answer:
    """Never raises for what the receiver or the network does."""
    answer = Answer(ok=False, detail="not tried")
    for _ in range(TRIES):
        try:
            answer = _mail(message, letter.reach) if letter.kind == "smtp" else _http(message, letter)
        except Exception as error:
            answer = Answer(ok=False, detail=f"{type(error).__name__}: {error}"[:LINE])
            continue
        break
    return Answer(ok=answer.ok, detail=_without(answer.detail, letter.reach))


def _without(detail: str, reach: dict[str, str]) -> str:
    """No secret in what is told on."""
    for what, value in reach.items():
        if len(value) > 5 and what not in ("cloud", "to", "from", "server"):
            detail = detail.replace(value, "…")
    return plain(detail)


def request_of(message: Message, letter: Letter) -> tuple[str, str, dict[str, str], bytes]:
    """(method, URL, headers, body) in the form of its kind."""
    reach, body = letter.reach, b""
    headers = {"User-Agent": "skerry", "Content-Type": "application/json"}
    url = reach.get("url", "")
    if letter.kind == "heartbeat":
        return "GET", url, {"User-Agent": "skerry"}, b""
    if letter.kind == "webhook":
        body = body_of(message)
        headers |= {"Skerry-Id": message.id, "Skerry-State": message.state}
        if letter.signature:
            headers["Skerry-Ed25519"] = letter.signature
        if secret := reach.get("secret"):
            headers["Skerry-Signature"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return "POST", url, headers, body
    message = named(message, reach)
    said: dict[str, Any] = {"text": text(message)}
    if letter.kind == "ntfy":
        url, _, topic = url.rstrip("/").rpartition("/")
        urgent = 4 if message.state == "firing" else 3
        said = {"topic": topic, "title": title(message), "message": text(message), "priority": urgent}
        if secret := reach.get("secret"):
            headers["Authorization"] = f"Bearer {secret}"
    elif letter.kind == "telegram":
        url = f"{url or 'https://api.telegram.org'}/bot{reach.get('secret', '')}/sendMessage"
        said = {"chat_id": reach.get("chat", ""), "text": text(message), "disable_web_page_preview": True}
    return "POST", url, headers, msgspec.json.encode(said)


def _http(message: Message, letter: Letter) -> Answer:
    import httpx

    method, url, headers, body = request_of(message, letter)
    with (
        httpx.Client(timeout=LETTER_S / TRIES, follow_redirects=False) as client,
        client.stream(method, url, headers=headers, content=body) as response,
    ):
        got = b""
        for piece in response.iter_bytes():
            got += piece
            if len(got) >= ANSWER_BYTES:
                break
        first = got[:ANSWER_BYTES].decode(errors="replace").strip().split("\n")[0][:LINE]
        return Answer(ok=response.is_success, detail=f"{response.status_code} {response.reason_phrase} {first}".strip())


def _mail(message: Message, reach: dict[str, str]) -> Answer:
    import smtplib
    from email.message import EmailMessage
    from email.utils import formatdate

    import httpx

    message, mail = named(message, reach), EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = reach["from"], reach["to"], title(message)
    mail["Date"] = formatdate(message.time)
    mail["Message-ID"] = f"<{message.id}.{message.state}@skerry>"
    # One thread for each alert, from whichever host, alone or with others.
    mail["References"] = " ".join(
        f"<{id}@skerry>" for id in dict.fromkeys([message.id, *(a.id for a in message.alerts)])
    )
    mail["Skerry-Id"] = message.id
    mail.set_content(text(message))
    host, _, port = reach["server"].rpartition(":")
    tls, context = reach.get("tls", "starttls"), httpx.create_ssl_context()  # of the same authorities as for HTTP
    if tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host.strip("[]"), int(port), timeout=LETTER_S / TRIES, context=context)
    else:
        server = smtplib.SMTP(host.strip("[]"), int(port), timeout=LETTER_S / TRIES)
    try:
        if tls == "starttls":
            server.starttls(context=context)
        if reach.get("user"):
            server.login(reach["user"], reach.get("secret", ""))
        code, said = 0, b""
        server.ehlo_or_helo_if_needed()
        server.mail(reach["from"])
        for to in reach["to"].split(","):
            code, said = server.rcpt(to.strip())
            if code not in (250, 251):
                return _said(code, said)
        return _said(*server.data(mail.as_bytes()))
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.quit()


def _said(code: int, said: bytes) -> Answer:
    return Answer(ok=code in (250, 251), detail=f"{code} {said.decode(errors='replace').strip()}"[:LINE])


def main() -> NoReturn:
    from concurrent.futures import ThreadPoolExecutor

    post = msgspec.json.decode(sys.stdin.buffer.read(1 << 20), type=Post)
    with ThreadPoolExecutor(8) as pool:
        answers = dict(
            zip(
                [one.name for one in post.letters],
                pool.map(lambda one: deliver(post.message, one), post.letters),
                strict=True,
            )
        )
    sys.stdout.buffer.write(msgspec.json.encode(answers))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
