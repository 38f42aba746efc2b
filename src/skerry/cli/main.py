"""The command `skerry`: which verbs there are, and how errors end. Verbs are loaded when they are called.

Nothing heavy may be imported here: `skerry --help` and completion wait for it (tests/cli/test_speed.py).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from skerry.cli.options import EXIT_CODES
from skerry.cli.output import Terminal
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# verb -> its line in `skerry --help`; the module skerry.cli.<verb> holds `command`. tests/cli/test_help.py holds both.
VERBS = {
    "init": "Make a new cloud: keys, root of trust, recovery file.",
    "host": "Join, list, drain, upgrade and remove hosts.",
    "machine": "Rent, list and return machines by pools.",
    "deploy": "Build, sign and roll out a compose file.",
    "diff": "Show what a deploy would change.",
    "ps": "Show every replica: where, how, since when.",
    "logs": "Show what the replicas of SUBJECTS write.",
    "metrics": "Show figures of SUBJECTS and how they went.",
    "ui": "Show the cloud in a browser, served from this machine to this machine alone.",
    "events": "Show what happened in the cloud, and why.",
    "ls": "Show what lies at SLOT:/PATH.",
    "cat": "Show the file SLOT:/PATH.",
    "cp": "Copy SLOT:/PATH, a file or a folder, out of a container; or with --write into it.",
    "procs": "Show the processes of SLOT.",
    "sockets": "Show the sockets of SLOT and which process has them.",
    "crashes": "Show what is kept of containers that crashed: how they ended, their last lines, their files.",
    "files": "Show what SLOT has changed since it started.",
    "capture": "Show the packets of SLOT, or write them to a file.",
    "alert": "Be told when something is wrong: receivers, rules, silences.",
    "audit": "Verify that hosts' diaries are what they were.",
    "explain": "Explain where SUBJECT stands and why.",
    "debug": "Look into a running container, or a host, with a tool from outside.",
    "sh": "Sit at a shell beside a running container; its files are at /target.",
    "status": "Show whether the cloud is well.",
    "top": "Watch hosts, apps and slots on a live screen.",
    "scale": "Change how many replicas a service has.",
    "rollback": "Go back to the release before this one.",
    "rm": "Remove an app; its volumes stay.",
    "volume": "List and remove named volumes.",
    "image": "Build images, try them here, look into them, and hand them on.",
    "role": "Say who else may sign, and who may look in.",
    "trace": "Show the system calls of SLOT's processes as they happen, by strace from outside.",
    "profile": "Draw where the time of SLOT's processes goes: a flame graph as SVG, to be opened in any browser.",
    "core": "Write the memory of SLOT's first process to a core file here, for gdb.",
    "cores": "List, fetch and remove the core files that hosts keep.",
    "tools": "Make, list and remove images with tools for looking into containers.",
    "sign": "Add your signature to what waits for it.",
    "key": "Carry keys to another machine, or recover them.",
    "cloud": "List the clouds known here, select one.",
    "plan": "Show what `skerry apply` would change: hosts, pools, roles, tools, alerts and apps of FOLDER.",
    "apply": "Make the cloud what FOLDER says, hosts first, apps last; again it changes nothing.",
    "export": "Write hosts, pools, roles, tools, alerts and apps into FOLDER, to begin with.",
    "api": "Serve the cloud to programs: REST with OpenAPI 3.1.",
    "doctor": "Check this machine and the cloud for common faults.",
    "lab": "Run whole small machines here, to try and to test.",
    "sim": "Try the cloud's own rules on what you have, without a cloud.",
    "completion": "Print the completion script for a shell.",
    "version": "Show the version.",
}


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found: click.Command = importlib.import_module(f"skerry.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without importing every verb to ask for its help."""
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(verb, help=line) for verb, line in VERBS.items() if verb.startswith(incomplete)]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, 1)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean `skerry {near[0]}`?" if near else ""))
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        import skerry

        click.echo(f"skerry {skerry.__version__}")
        ctx.exit()


@click.command(
    cls=Verbs, name="skerry", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
def skerry() -> None:
    """One cloud without a centre, from a handful of cheap machines.

    \b
    Example: skerry init
             skerry host add root@198.51.100.7
             skerry deploy compose.yaml
             skerry ps
    """


skerry.epilog = "Exit codes: " + "; ".join(f"{code} {words}" for code, words in EXIT_CODES.items()) + "."


class Usage(SkerryError):
    """The command line itself is wrong."""

    code = "usage"
    exit_code = 2


class Interrupted(SkerryError):
    """Ctrl-C. What was accepted by a host stays accepted."""

    code = "interrupted"


_ACCEPTED = "what a host has accepted goes on; `skerry ps` shows it"


def run(args: Sequence[str]) -> int:
    """Run one command line; gives the exit code. Bugs of our own come through as they are, with their traceback."""
    before_dashes = args[: args.index("--")] if "--" in args else args
    terminal = Terminal(as_json="--json" in before_dashes)
    try:
        result = skerry.main(list(args), prog_name="skerry", standalone_mode=False, obj=terminal)
        return result if isinstance(result, int) else 0
    except SkerryError as error:
        terminal.error(error)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        where = f"{ctx.command_path} --help" if ctx else "skerry --help"
        terminal.error(Usage(error.format_message(), fix=f"see {where}"))
        return 2
    except (KeyboardInterrupt, click.Abort):
        of_image = list(args[:1]) == ["image"]  # no host is asked by these
        left = "what was done is kept: again goes on from there" if of_image else _ACCEPTED
        terminal.error(Interrupted("interrupted", "", left))
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader (`| head`) has gone: nothing is left to say, nor anybody to say it to
        return 0
    except OSError as error:
        from skerry.store.disk import told  # here, as few commands get so far

        if (known := told(error)) is None:
            raise
        terminal.error(known)
        return known.exit_code


def main() -> None:
    sys.exit(run(sys.argv[1:]))
