"""What all commands share: the options that they all take, and a help that ends with an example and the exit codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import click

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "usage or bad input",
    3: "refused by trust",
    4: "no host reachable",
    5: "not finished in time",
}


class Command(click.Command):
    """A command whose help has the two closing sections. `example`: lines as they would be typed."""

    example: str = ""
    codes: tuple[int, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = self.example.splitlines()
        formatter.write_paragraph()
        formatter.write(f"Example: {lines[0]}\n" + "".join(f"         {line}\n" for line in lines[1:]))
        formatter.write_paragraph()
        formatter.write_text("Exit codes: " + "; ".join(f"{code} {EXIT_CODES[code]}" for code in self.codes) + ".")


def command(
    group: click.Group | None = None,
    name: str | None = None,
    *,
    example: str,
    codes: tuple[int, ...] = (0, 1, 2, 4),
    cloud: bool = True,
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command; its function gets the Terminal first. `cloud`: it takes --cloud and --passphrase-file."""

    def decorate(function: Callable[..., Any]) -> Command:
        function = click.pass_obj(function)
        function = click.option("--json", is_flag=True, expose_value=False, help="One JSON document on stdout.")(
            function
        )
        if cloud:
            function = passphrase_file(function)
            function = click.option(
                "--cloud", default="", metavar="NAME", help="Which cloud; else $SKERRY_CLOUD, else the selected one."
            )(function)
        made = click.command(name, cls=Command)(function)
        made.example, made.codes = example, codes
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def passphrase_file(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--passphrase-file",
        type=click.Path(dir_okay=False),
        default=None,
        metavar="FILE",
        help="Holds the passphrase of the keys; else $SKERRY_PASSPHRASE, else you are asked.",
    )(function)


class Duration(click.ParamType[float]):
    """ "90", "30s", "1m30s" -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from skerry.client.compose.values import duration_s

        try:
            return float(value) if value.isdigit() and len(value) < 9 else duration_s(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[float]):
    """ "8h" from now, or "2026-12-24T18:00Z" -> unix seconds that are still to come."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        import time
        from datetime import datetime

        if "-" not in value:
            return time.time() + Duration().convert(value, param, ctx)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; such as 8h, or 2026-12-24T18:00Z", param, ctx)
        if moment.timestamp() <= time.time():
            self.fail(f"{value} is over", param, ctx)
        return moment.timestamp()


def timeout(default: str) -> Callable[..., Any]:
    """`--timeout`, as `timeout_s`, of a command that waits for what it asked for."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=Duration(),
        default=default,
        show_default=True,
        help="How long to wait for it.",
    )


class Size(click.ParamType[int]):
    """ "512m", "20g" -> bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from skerry.client.compose.values import size_bytes

        try:
            return size_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """ "name=value" -> (name, value)."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        left, equals, right = value.partition("=")
        if not (left and equals):
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return left, right


def crashed(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--crashed",
        is_flag=True,
        help="In what is kept of its last crash (for a day): what it wrote in passing places.",
    )(function)


class SlotPath(NamedTuple):
    """A place in a container's file system."""

    slot: str
    path: str

    @classmethod
    def read(cls, text: str) -> SlotPath | None:
        """Of "web/1:/tmp/x"; None for what is none."""
        slot, colon, path = text.partition(":")
        return cls(slot, path) if slot and colon and path.startswith("/") else None


class InSlot(click.ParamType[SlotPath]):
    """ "web/1:/tmp/x" -> (slot, path). `bare`: what has no path means this one."""

    name = "slot:/path"

    def __init__(self, bare: str = "") -> None:
        self._bare = bare

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SlotPath:
        if isinstance(value, SlotPath):
            return value
        found = SlotPath.read(value if ":" in value or not self._bare else f"{value}:{self._bare}")
        if found is None:
            self.fail(f"{value!r} is not SLOT:/PATH, such as {value.partition(':')[0] or 'web/1'}:/tmp/x", param, ctx)
        return found
