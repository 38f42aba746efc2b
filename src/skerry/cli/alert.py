"""`skerry alert`: who is told when something is wrong, of what, and what is wrong now."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import run
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, clean, table
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.client.session import Session

CHANGES = (0, 1, 2, 3, 4)
SECRETS = {"telegram": "the bot's token", "smtp": "the password"}


@click.group(name="alert")
def command() -> None:
    """Be told when something is wrong: receivers, rules, silences."""


@declare(command, "ls", example="skerry alert ls")
def ls(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """Show what is wrong now, since when and who was told; and who is to be told."""
    from skerry.client import alerts

    found = run.in_cloud(terminal, cloud, passphrase_file, alerts.firing)
    rows = [
        {
            "rule": row["rule"],
            "subject": row["subject"],
            "since": age(row["since"]),
            "told": "; ".join(f"{', '.join(names)} by {host}" for host, names in row["sent"].items())
            or ("silenced" if row["silenced_until"] else "nobody yet"),
            "why": row["why"],
        }
        for row in found["firing"]
    ]
    text = [table(rows, ("rule", "subject", "since", "told", "why")) if rows else "(nothing is wrong)"]
    text += ["", table(found["receivers"], ("receiver", "kind", "at", "not_opened_to"))] if found["receivers"] else []
    for quiet in found["silences"]:
        what = f"{quiet.get('rule') or 'everything'} {quiet.get('subject', '')}".strip()
        text.append(f"silenced: {clean(what)}, for {age(2 * time.time() - quiet['until'])} more")
    if not found["receivers"]:
        terminal.warn("nobody is told: add a receiver, skerry alert add NAME --webhook URL")
    terminal.answer(found, "\n".join(text))


@declare(
    command, "add",
    example="skerry alert add ops --webhook https://example.com/hook --secret-file key\n"
    "skerry alert add phone --ntfy https://ntfy.sh/a-long-secret-topic\n"
    "skerry alert add mail --smtp mail.example.com:587 --from skerry@example.com --to me@example.com --user skerry",
    codes=CHANGES,
)  # fmt: skip
@click.argument("name")
@click.option("--webhook", metavar="URL", help="Gets each alert as JSON, signed (docs/alerts.md).")
@click.option("--smtp", metavar="HOST:PORT", help="Mail, with --from and --to; STARTTLS unless --tls says otherwise.")
@click.option("--ntfy", metavar="URL", help="A topic's URL, such as https://ntfy.sh/topic.")
@click.option(
    "--slack", metavar="URL", help="An incoming webhook of Slack, or of what takes the same (Discord: …/slack)."
)
@click.option("--telegram", metavar="CHAT", help="A chat's id; the bot's token is the secret.")
@click.option(
    "--heartbeat", metavar="URL", help="Asked for once a minute: whoever watches it hears when all is silent."
)
@click.option("--from", "sender", metavar="ADDRESS", help="Of mail.")
@click.option("--to", "to", multiple=True, metavar="ADDRESS", help="Of mail; repeatable.")
@click.option("--user", metavar="NAME", help="To log in to the mail server; the password is the secret.")
@click.option(
    "--tls", type=click.Choice(["starttls", "tls", "none"]), default="starttls", show_default=True, help="Of mail."
)
@click.option("--api", metavar="URL", help="Another server than Telegram's own.")
@click.option(
    "--secret-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Holds the secret: what a webhook is signed with, a token, a password; else $SKERRY_ALERT_SECRET.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="There is one of that name: this is its new address.")
def add(
    terminal: Terminal, name: str, webhook: str | None, smtp: str | None, ntfy: str | None, slack: str | None,
    telegram: str | None, heartbeat: str | None, sender: str | None, to: tuple[str, ...], user: str | None, tls: str,
    api: str | None, secret_file: Path | None, replace: bool, cloud: str, passphrase_file: str | None,
) -> None:  # fmt: skip
    """Tell a receiver, NAME, when something is wrong and when it is over.

    For an address that is itself a secret, give @FILE: it isn't left in the shell's history then.
    Addresses and secrets are sealed to the fixed hosts and to operators; machines of pools can't read them.
    """
    from skerry.client import alerts
    from skerry.client.receivers import receiver_of

    said = {
        "webhook": webhook,
        "smtp": smtp,
        "ntfy": ntfy,
        "slack": slack,
        "telegram": telegram,
        "heartbeat": heartbeat,
    }
    given = {kind: value for kind, value in said.items() if value}
    if len(given) != 1:
        raise BadInput(
            f"receiver {name} was not added", f"one of {', '.join('--' + kind for kind in said)} is needed", ""
        )
    given = {kind: _read(name, Path(value[1:])) if value.startswith("@") else value for kind, value in given.items()}
    secret = _secret(name, next(iter(given)), secret_file, user)
    receiver, reach = receiver_of(
        name, given, secret=secret, sender=sender or "", to=to, user=user or "", tls=tls, api=api or ""
    )
    result = run.in_cloud(
        terminal, cloud, passphrase_file,
        lambda session: alerts.add(session, name, receiver, reach, replace=replace), changes=True,
    )  # fmt: skip
    terminal.answer(result, f"{name} will be told; try it: skerry alert test {name}")


def _read(name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"receiver {name} was not added", f"{file} can't be read: {error}", "give a file of one line"
        ) from None


def _secret(name: str, kind: str, file: Path | None, user: str | None) -> str:
    if file is not None:
        return _read(name, file)
    secret = os.environ.get("SKERRY_ALERT_SECRET", "").strip()
    if secret and kind not in ("slack", "heartbeat"):
        return secret
    if (kind == "telegram" or (kind == "smtp" and user)) and sys.stdin.isatty():
        return str(click.prompt(f"{SECRETS[kind]} for {name}", hide_input=True, err=True)).strip()
    return ""


@declare(command, "rm", example="skerry alert rm ops", codes=CHANGES)
@click.argument("name")
def rm(terminal: Terminal, name: str, cloud: str, passphrase_file: str | None) -> None:
    """Tell receiver NAME nothing any more."""
    from skerry.client import alerts

    result = run.in_cloud(terminal, cloud, passphrase_file, lambda session: alerts.rm(session, name), changes=True)
    terminal.answer(result, f"{name} is told nothing any more")


@declare(
    command,
    "silence",
    example="skerry alert silence disk vps-2 --for 2h\nskerry alert silence all --for 30m",
    codes=CHANGES,
)
@click.argument("rule")
@click.argument("subject", required=False, default="")
@click.option("--for", "for_s", type=Duration(), metavar="TIME", help="For how long, such as 2h.")
@click.option("--end", is_flag=True, help="End it now.")
def silence(
    terminal: Terminal, rule: str, subject: str, for_s: float | None, end: bool, cloud: str, passphrase_file: str | None
) -> None:
    """Send nothing of RULE (`all`: of any), about SUBJECT or any, for a while.

    What still fires when it ends is told then.
    """
    from skerry.client import alerts

    if (for_s is None) is not end:
        raise BadInput("nothing was silenced", "for how long?", "--for 2h, or --end to end a silence")
    until = 0.0 if for_s is None else time.time() + for_s
    result = run.in_cloud(
        terminal, cloud, passphrase_file,
        lambda session: alerts.silence(session, "" if rule == "all" else rule, subject, until), changes=True,
    )  # fmt: skip
    what = f"{rule} {subject}".strip()
    terminal.answer(
        result, f"{what}: no silence any more" if end else f"{what}: silent for {age(time.time() - (for_s or 0))}"
    )


@declare(command, "rules", example="skerry alert rules")
def rules(terminal: Terminal, cloud: str, passphrase_file: str | None) -> None:
    """List the rules as they are in force."""
    from skerry.client import alerts

    async def work(session: Session) -> list[dict[str, Any]]:
        await session.sync(1)
        return alerts.rules_of(session)

    rows = run.in_cloud(terminal, cloud, passphrase_file, work)
    terminal.rows(rows, ("rule", "on", "limit", "unit", "for_s", "clear_s", "means"))


@declare(
    command, "rule",
    example="skerry alert rule disk --limit 0.8 --for 10m\nskerry alert rule restart-loop --off\n"
    "skerry alert rule checkout-slow --metric probe_s --of shop --above 0.5 --for 2m\nskerry alert rule checkout-slow --rm",
    codes=CHANGES,
)  # fmt: skip
@click.argument("rule")
@click.option("--on/--off", "on", default=None, help="Whether it counts at all.")
@click.option("--limit", type=click.FloatRange(0, 1e12), help="Beyond which figure; shares are 0 to 1.")
@click.option("--for", "for_s", type=Duration(), metavar="TIME", help="For how long before it fires.")
@click.option("--clear", "clear_s", type=Duration(), metavar="TIME", help="For how long not before it is over.")
@click.option("--reset", is_flag=True, help="As built in, but for what is said beside it.")
@click.option("--metric", metavar="FIGURE", help="A rule of your own: the figure that it looks at (docs/metrics.md).")
@click.option("--of", metavar="SUBJECT", help="Of this app, service or slot alone.")
@click.option("--host", metavar="HOST", help="Of this host; `all`: of every host.")
@click.option("--above", type=float, metavar="LIMIT", help="It fires above this.")
@click.option("--below", type=float, metavar="LIMIT", help="It fires below this.")
@click.option("--rm", is_flag=True, help="Remove a rule of your own.")
def rule_(
    terminal: Terminal, rule: str, on: bool | None, limit: float | None, for_s: float | None, clear_s: float | None,
    reset: bool, metric: str | None, of: str | None, host: str | None, above: float | None, below: float | None, rm: bool,
    cloud: str, passphrase_file: str | None,
) -> None:  # fmt: skip
    """Change how RULE fires, or make one of your own; `skerry alert rules` lists them.

    One of your own is looked at by each host for the slots that it runs: with --metric, and --above or --below.
    """
    from skerry.client import alerts, measures
    from skerry.core.alerting.rules import RULES

    if sum(given is not None for given in (limit, above, below)) > 1 or (of is not None and host is not None):
        raise BadInput(
            f"rule {rule} is unchanged", "--limit, --above and --below, --of and --host exclude one another", ""
        )
    about: dict[str, Any] = {
        "metric": metric,
        "of": of if host is None else "node/" if host == "all" else f"node/{host}",
    }
    about |= {"below": None if above is below is None else below is not None}
    said = {
        "limit": next((x for x in (limit, above, below) if x is not None), None),
        "for_s": for_s,
        "clear_s": clear_s,
    }
    said |= {"off": None if on is None else not on}
    changes: dict[str, Any] = {field: value for field, value in said.items() if value is not None}
    more: dict[str, Any] = {field: value for field, value in about.items() if value is not None}
    if rule in RULES and (more or rm):
        raise BadInput(
            f"rule {rule} is unchanged", "it is built in, and looks at no figure", "--limit, --off or --reset"
        )
    if rule not in RULES and reset:
        raise BadInput(f"rule {rule} is unchanged", "only a built-in one can be reset", "remove yours: --rm")
    if rm and (changes or more):
        raise BadInput(f"rule {rule} is unchanged", "--rm stands alone", "")
    if not changes and not more and not reset and not rm:
        raise BadInput(
            f"rule {rule} is unchanged", "what is to change?", "--limit, --for, --clear, --on, --off or --reset"
        )

    async def work(session: Session) -> dict[str, Any]:
        if rm:
            return await measures.rm(session, rule)
        if rule not in RULES:
            return await measures.set_measure(session, rule, {**changes, **more})
        return await alerts.set_rule(session, rule, changes, reset=reset)

    result = run.in_cloud(terminal, cloud, passphrase_file, work, changes=True)
    columns = ("rule", "on", "limit", "unit", "for_s", "clear_s", "means")
    terminal.answer(result, f"rule {rule} is no more" if rm else table([result], columns))


@declare(command, "test", example="skerry alert test ops", codes=(0, 1, 2, 3, 4))
@click.argument("name", required=False, default="")
@click.option("--host", default="", metavar="HOST", help="From this host; else from the first that answers.")
def test(terminal: Terminal, name: str, host: str, cloud: str, passphrase_file: str | None) -> int:
    """Send a test to receiver NAME, or to all, and show what they answered.

    Exit code 1: one did not take it.
    """
    from skerry.client import alerts

    rows = run.in_cloud(terminal, cloud, passphrase_file, lambda session: alerts.test(session, name, host))
    terminal.rows([{**row, "answer": row["detail"]} for row in rows], ("receiver", "kind", "from", "ok", "answer"))
    return 0 if all(row["ok"] for row in rows) else 1
