"""How the screen looks: colours by tone, light and dark, and the style sheet. Without colours (NO_COLOR) tones are bold and dim."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.theme import Theme

from skerry.cli.top.rows import Cell

DARK = Theme(
    name="skerry-dark", dark=True, primary="#4db6ac", secondary="#5b8def", accent="#f2b84b", warning="#e3b341", error="#ff7b72",
    success="#7ed491", foreground="#d5dee7", background="#0f151c", surface="#0f151c", panel="#17212b",
)  # fmt: skip
LIGHT = Theme(
    name="skerry-light", dark=False, primary="#00796b", secondary="#2456b8", accent="#9a6700", warning="#9a6700", error="#c2242c",
    success="#1a7f37", foreground="#1c2733", background="#fbfcfd", surface="#fbfcfd", panel="#e9eef2",
)  # fmt: skip
TONES = {  # dark, light
    "good": ("#7ed491", "#1a7f37"),
    "watch": ("#e3b341", "#9a6700"),
    "bad": ("bold #ff7b72", "bold #c2242c"),
    "dim": ("#7a8a99", "#66727e"),
    "line": ("#43a39a", "#00897b"),
    "line2": ("#5b8def", "#2456b8"),
    "title": ("bold #eef3f7", "bold #0b1219"),
    "chosen": ("bold #0f151c on #4db6ac", "bold #ffffff on #00796b"),
    "": ("#d5dee7", "#1c2733"),
}
PLAIN = {"bad": "bold", "title": "bold", "chosen": "reverse", "dim": "dim"}
SLOTS = (
    "#6cb6ff",
    "#f2b84b",
    "#b392f0",
    "#7ed491",
    "#ff9e64",
    "#4db6ac",
    "#f28ab2",
    "#9fb3c8",
)  # by which one a log line is

CSS = """
Screen { background: $background; overflow: hidden; }
Grid, RichLog, VerticalScroll {
    scrollbar-background: $background; scrollbar-background-hover: $background; scrollbar-background-active: $background;
    scrollbar-color: $panel-lighten-2; scrollbar-color-hover: $primary; scrollbar-color-active: $primary;
    scrollbar-corner-color: $background;
}
ContentSwitcher { height: 1fr; }
#figures { height: auto; padding: 0 1; }
.one { height: 1; width: 100%; }
#head { background: $panel; padding: 0 1; }
#views { padding: 0 1; }
#totals { height: 3; padding: 0 1; }
#lost { background: $error; color: $background; text-style: bold; padding: 0 1; display: none; }
#lost.shown { display: block; height: auto; }
#filter { display: none; height: 1; border: none; padding: 0 1; background: $panel; }
#filter.shown { display: block; }
#filter:focus { border: none; }
#empty { display: none; height: 1fr; content-align: center middle; color: $foreground 60%; }
#empty.shown { display: block; }
Grid { height: 1fr; background: $background; padding: 0 0 0 1; scrollbar-size-vertical: 1; overflow-x: hidden; }
Grid > .datatable--header { background: $background; color: $foreground 55%; text-style: none; }
Grid:focus > .datatable--header { background: $background; color: $foreground 55%; background-tint: $foreground 0%; }
Grid > .datatable--even-row { background: $background; }
Grid > .datatable--odd-row { background: $background; }
Grid > .datatable--hover { background: $panel 60%; }
Grid > .datatable--header-hover { background: $panel; }
Grid > .datatable--cursor, Grid:focus > .datatable--cursor { background: $primary 25%; color: $foreground; text-style: none; }
Grid:focus { background-tint: $foreground 0%; }
Grid:nocolor > .datatable--cursor { text-style: reverse; }
RichLog { height: 1fr; background: $background; padding: 0 1; scrollbar-size-vertical: 1; }
RichLog:focus { background-tint: $foreground 0%; }
#explain { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
Footer { background: $panel; }
FooterKey .footer-key--key { color: $primary; background: $panel; text-style: bold; }
FooterKey .footer-key--description { color: $foreground 70%; background: $panel; }
Help { align: center middle; background: $background 60%; }
#help { width: 74; max-width: 100%; height: auto; max-height: 100%; background: $panel; padding: 0 1; border: round $primary; }
"""


class Tones:
    """Text in tones. `dark` may change."""

    def __init__(self, *, colours: bool) -> None:
        self.colours = colours
        self.dark = True

    def style(self, tone: str) -> Style:
        if not self.colours:
            return Style.parse(PLAIN.get(tone, "none"))
        return Style.parse(TONES[tone][0 if self.dark else 1])

    def text(self, *parts: tuple[str, str]) -> Text:
        """(words, tone) one after the other. Never read as markup."""
        made = Text(no_wrap=True, overflow="crop", end="")
        for words, tone in parts:
            made.append(words, self.style(tone))
        return made

    def of_slot(self, slot: str) -> Style:
        """Always the same colour for the same name."""
        if not self.colours:
            return Style.parse("none")
        return Style.parse(SLOTS[sum(slot.encode()) % len(SLOTS)] if self.dark else "#2456b8")

    def cell(self, cell: Cell, width: int, *, right: bool) -> Text:
        from skerry.cli.top.drawing import short

        text = short(cell.text, width)
        return self.text((text.rjust(width) if right else text.ljust(width), cell.tone))
