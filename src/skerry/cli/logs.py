"""`skerry logs`: what replicas and hosts write, from all hosts, as one."""

from __future__ import annotations

import gc
import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from skerry.cli import loglines, run, streams
from skerry.cli.debug import look_in
from skerry.cli.options import Duration
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal
from skerry.errors import BadInput

if TYPE_CHECKING:
    from skerry.client.session import Session

JOURNAL = "/usr/share/skerry/journal"  # of the tools image
AT_ONCE = 5000  # lines written at once


@declare(
    name="logs",
    example="skerry logs -f web\nskerry logs web/1 --since 10m --grep timeout\n"
    "skerry logs shop --since 2h --until 1h -E --grep ' 5[0-9][0-9] '\nskerry logs vps-1\n"
    "skerry logs vps-1 --journal --since 1h",
    codes=(0, 1, 2, 3, 4),
)
@click.argument("subjects", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on showing new lines, until you interrupt it.")
@click.option("--tail", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="How many past lines.")
@click.option(
    "--since",
    "since_s",
    type=Duration(),
    default=None,
    metavar="AGE",
    help="Only lines younger than that, such as 10m.",
)
@click.option(
    "--until",
    "until_s",
    type=Duration(),
    default=None,
    metavar="AGE",
    help="Only lines older than that.",
)
@click.option("--grep", default="", metavar="TEXT", help="Only lines with this text in them.")
@click.option("-E", "--regex", is_flag=True, help="The text of --grep is a regular expression, as Python has them.")
@click.option("-i", "--ignore-case", is_flag=True, help="Capital letters or not, for --grep.")
@click.option("--journal", is_flag=True, help="Of one host: all that its services and its kernel say.")
@click.option("--raw", is_flag=True, help="Show lines that are JSON as they are.")
def command(
    terminal: Terminal,
    subjects: tuple[str, ...],
    follow: bool,
    tail: int,
    since_s: float | None,
    until_s: float | None,
    grep: str,
    regex: bool,
    ignore_case: bool,
    journal: bool,
    raw: bool,
    cloud: str,
    passphrase_file: str | None,
) -> int | None:
    """Show what the replicas of SUBJECTS write.

    SUBJECTS are slots (web/1), services (web), apps or hosts; none: all apps. Of a host its agent's log is shown. Lines are
    chosen on the hosts, so that only those travel that are shown. A host's journal is read by a tool on it, and needs the right
    debug-host: it tells of everything that runs there.
    """
    from skerry.client import views

    now_s = time.time()
    if journal:
        if len(subjects) != 1 or grep:
            raise BadInput(
                "no journal was shown", "it is of one host, and whole", "skerry logs HOST --journal | grep TEXT"
            )
        return look_in(
            terminal, cloud, passphrase_file, "", _of_journal(now_s, since_s, until_s, tail, follow), host=subjects[0],
            tools="base", with_input=False, tty=False, write=False, limit_s=0.0, process=0, join="",
        )  # fmt: skip
    wanted: dict[str, Any] = {
        "tail": tail,
        "since": now_s - since_s if since_s is not None else 0.0,
        "until": now_s - until_s if until_s is not None else 0.0,
        "grep": grep,
        "regex": regex,
        "ignore_case": ignore_case,
    }
    lines = loglines.Lines(raw=raw)

    async def show(session: Session) -> None:
        if follow or terminal.as_json:
            await streams.show(
                terminal, views.logs(session, list(subjects), follow=follow, **wanted), follow, lines.text
            )
            return
        gc.disable()  # a tenth of the time, for many lines: all of them are shown, and then it ends
        past = await views.past_logs(session, views.LogsWanted(list(subjects), **wanted))
        for row in past.unanswered:
            streams.warn(terminal, row)
        if not past.lines and not past.unanswered:
            terminal.say("(no lines)")
        for begin in range(0, len(past.lines), AT_ONCE):
            terminal.text(lines.block(past.lines[begin : begin + AT_ONCE]))

    run.in_cloud(terminal, cloud, passphrase_file, show)
    return None


def _of_journal(now_s: float, since_s: float | None, until_s: float | None, tail: int, follow: bool) -> list[str]:
    """The command that a tool on the host runs. `since_s`, `until_s`: seconds back from now."""
    times = {"--since": since_s, "--until": until_s}
    words = [f"{name}=@{now_s - age_s:.0f}" for name, age_s in times.items() if age_s is not None]
    argv = ["sh", JOURNAL, "-o", "short-iso", *words]
    if follow:
        return [*argv, "-f", *(["--no-tail"] if words else ["-n", str(tail)])]
    return ["sh", "-c", f"{shlex.join(argv)} | tail -n {tail}"]  # its own -n means the first ones where --since is said
