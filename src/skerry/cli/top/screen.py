"""The screen of `skerry top`: one glance after the other, drawn. What stands in its tables is rows.py's; nothing is decided here."""

from __future__ import annotations

import contextlib
import os
from contextlib import aclosing
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.events import Click, Resize
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from skerry.cli.output import clean
from skerry.cli.top import rows
from skerry.cli.top.detail import Detail
from skerry.cli.top.grid import Grid
from skerry.cli.top.help import Help
from skerry.cli.top.history import KEPT, POINTS, History
from skerry.cli.top.look import CSS, DARK, LIGHT, Tones
from skerry.cli.top.rows import VIEWS
from skerry.cli.top.totals import Totals, head
from skerry.client import metrics, overview
from skerry.client.overview import Overview
from skerry.client.session import Session
from skerry.errors import SkerryError

LOW = 20  # lines: a screen that is lower leaves the totals out


class Top(App[SkerryError]):
    """Ends with the error that ended it, or None."""

    CSS = CSS
    TITLE = "skerry top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i), f"view('{name}')", name, show=False) for i, name in enumerate(VIEWS, 1)),
        Binding("tab", "next_view(1)", "view", key_display="1-5", priority=True),
        Binding("shift+tab", "next_view(-1)", show=False, priority=True),
        Binding("greater_than_sign", "sort(1)", "sort", key_display="< >"),
        Binding("less_than_sign", "sort(-1)", show=False),
        Binding("r", "reverse", "reverse", show=False),
        # These turn the keys that follow to somewhere else, so they act at once: whoever types fast types the next one before a
        # widget has taken this one.
        Binding("slash", "filter", "filter", key_display="/", priority=True),
        Binding("enter", "keep", show=False, priority=True),
        Binding("escape", "clear", show=False, priority=True),
        Binding("e", "events", "events"),
        Binding("p", "pause", "pause", show=False),
        Binding("t", "light", "light", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, session: Session, every_s: float = 1.0) -> None:
        colours = not os.environ.get("NO_COLOR")
        if colours:
            os.environ.pop("NO_COLOR", None)  # "" is no wish; Textual takes it for one
        super().__init__(ansi_color=None if colours else True)
        self.session, self.every_s = session, every_s
        self.tones = Tones(colours=colours)
        self.history = History()
        self.seen: Overview | None = None
        self._added_s = 0.0
        self.view = "services"
        self._sorts = {name: (view.sort, False) for name, view in VIEWS.items()}
        self.paused = False

    def compose(self) -> ComposeResult:
        yield Static(id="head", classes="one", markup=False)
        yield Static(id="lost", markup=False)
        yield Totals(self.tones, id="totals")
        yield Static(id="views", classes="one", markup=False)
        with Vertical():
            yield Grid(self.tones, id="grid")
            yield Static(id="empty", markup=False)
        yield Input(placeholder="words to look for; enter keeps them, escape ends it", id="filter")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        if self.tones.colours:
            self.theme = DARK.name
        self.query_one(Grid).focus()
        self._draw()
        self.run_worker(self._watch(), name="watching")

    async def _watch(self) -> None:
        try:
            async with aclosing(overview.watching(self.session, every_s=self.every_s)) as glances:
                async for seen in glances:
                    self._see(seen)
        except SkerryError as error:  # refused for good
            self.exit(error, return_code=error.exit_code)

    async def _look_back(self, seen: Overview) -> None:
        """What was before we came, as far as hosts have kept it: lines that begin in the middle say little."""
        step_s = max(round(self.every_s), 1)
        with contextlib.suppress(SkerryError):
            past = await metrics.query(self.session, (), KEPT, since=-step_s * POINTS, step_s=step_s)
            self.history.begin(past.series, seen)

    def _see(self, seen: Overview) -> None:
        if self.seen is None and not seen.lost:
            self.run_worker(self._look_back(seen), name="looking back")
        self.seen = seen
        if seen.at - self._added_s >= 0.9 * self.every_s:  # a change between two looks is no point of its own
            self._added_s = seen.at
            self.history.add(seen)
        if not self.paused:
            self._draw()

    # -- drawing

    def _draw(self) -> None:
        with contextlib.suppress(NoMatches):  # it is being opened, or taken down, one widget after the other
            if self.screen_stack:
                self._draw_all(self.screen_stack[0])

    def _draw_all(self, base: Screen[Any]) -> None:
        seen = self.seen
        if isinstance(self.screen, Detail) and seen is not None:
            self.screen.see(seen)
            return
        lost = base.query_one("#lost", Static)
        lost.set_class(bool(seen and seen.lost), "shown")
        if seen is None:
            base.query_one("#head", Static).update(self.tones.text((f"skerry  {clean(self.session.name)}", "title")))
            self._say_empty("asking the hosts …")
            return
        if seen.lost:
            lost.update(f"no host answers; what is shown is of before; trying on: {clean(seen.lost)}")
        base.query_one("#head", Static).update(head(self.tones, seen, self.size.width - 2, paused=self.paused))
        totals = base.query_one(Totals)
        totals.display = self.size.height >= LOW
        totals.show(seen, self.history)
        base.query_one("#views", Static).update(self._tabs(seen))
        view = VIEWS[self.view]
        sort, reverse = self._sorts[self.view]
        wanted = base.query_one("#filter", Input).value
        every = view.lines(seen, self.history)
        lines = rows.arranged(every, sort, reverse=reverse, wanted=wanted)
        self._say_empty("" if lines else f"nothing has {clean(wanted)!r} in it: escape" if every else view.empty)
        base.query_one("#grid", Grid).fill(view.columns, lines, sort, reverse=reverse)

    def _say_empty(self, words: str) -> None:
        empty = self.screen_stack[0].query_one("#empty", Static)
        empty.set_class(bool(words), "shown")
        self.screen_stack[0].query_one("#grid", Grid).display = not words
        empty.update(words)

    def _tabs(self, seen: Overview) -> Text:
        counts = {
            "services": len(seen.services), "slots": len(seen.slots), "hosts": len(seen.hosts),
            "machines": len(seen.machines), "warnings": len(seen.firing) + len(seen.warnings),
        }  # fmt: skip
        text = self.tones.text()
        for i, name in enumerate(VIEWS, 1):
            tone = "chosen" if name == self.view else "bad" if name == "warnings" and counts[name] else ""
            style = self.tones.style(tone) + Style(meta={"view": name})
            text.append(f" {i} {name} {counts[name]} " if counts[name] else f" {i} {name} ", style)
            text.append(" ")
        wanted = self.screen_stack[0].query_one("#filter", Input).value
        if wanted:
            text.append(f" /{clean(wanted)}", self.tones.style("watch"))
        return text

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._draw)

    # -- what keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the tables are not those of what lies over them, nor of a filter that is typed."""
        mine = {"view", "next_view", "sort", "reverse", "filter", "keep", "clear", "events", "pause"}
        if action in mine and len(self.screen_stack) != 1:
            return False
        typing = isinstance(self.focused, Input)
        return typing if action == "keep" else not typing if action == "filter" else True

    def action_view(self, name: str) -> None:
        if name != self.view:
            self.view = name
            self.query_one("#grid", Grid).forget()
            self._draw()

    def on_click(self, event: Click) -> None:
        if name := event.style.meta.get("view"):
            self.action_view(name)

    def action_next_view(self, step: int) -> None:
        names = list(VIEWS)
        self.action_view(names[(names.index(self.view) + step) % len(names)])

    def action_sort(self, step: int) -> None:
        keys = [c.key for c in VIEWS[self.view].columns if c.title or c.key == "mark"]
        sort, _ = self._sorts[self.view]
        self._sort_by(keys[(keys.index(sort) + step) % len(keys)] if sort in keys else keys[0])

    def _sort_by(self, column: str) -> None:
        column = "cpu" if column == "cpu_line" else column
        sort, reverse = self._sorts[self.view]
        figures = column in {"cpu", "memory", "in", "out", "restarts", "load", "disk", "slots", "usd_hour", "reserved"}
        self._sorts[self.view] = (column, not reverse if column == sort else figures)
        self._draw()

    def action_reverse(self) -> None:
        sort, reverse = self._sorts[self.view]
        self._sorts[self.view] = (sort, not reverse)
        self._draw()

    def on_grid_sorted(self, event: Grid.Sorted) -> None:
        self._sort_by(event.column)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        self.screen.set_focus(field)  # at once; Widget.focus does it later

    def action_keep(self) -> None:
        self.query_one("#filter", Input).remove_class("shown")
        self.screen.set_focus(self.query_one("#grid", Grid))
        self._draw()

    def action_clear(self) -> None:
        field = self.query_one("#filter", Input)
        field.call_later(field.clear)  # after what was typed into it before
        self.action_keep()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self._draw()

    def on_grid_opened(self, event: Grid.Opened) -> None:
        self._open(event.key)

    def _open(self, key: str) -> None:
        kind, _, name = key.partition(" ")
        if kind == "alert" and self.seen is not None:
            name = name.partition(" ")[2]
            kind = rows.kinds_of(self.seen).get(name, "")
        if kind in ("service", "slot", "host") and self.seen is not None and len(self.screen_stack) == 1:
            self.push_screen(Detail(self, kind, name))

    def action_events(self) -> None:
        if self.seen is not None:
            self.push_screen(Detail(self, "cloud", self.seen.cloud))

    def action_pause(self) -> None:
        self.paused = not self.paused
        self._draw()

    def action_light(self) -> None:
        if self.tones.colours:
            self.tones.dark = not self.tones.dark
            self.theme = DARK.name if self.tones.dark else LIGHT.name
            self._draw()

    def action_help(self) -> None:
        if not isinstance(self.screen, Help):
            self.push_screen(Help())
