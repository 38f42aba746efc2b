"""One slot, service, host, or the whole cloud, from near: its figures, its lines and events as they come, and its explanation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Click
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, RichLog, Static

from skerry.cli import streams
from skerry.cli.loglines import Lines
from skerry.cli.output import age, clean
from skerry.cli.top.drawing import amount, chart, cores, percent, seconds, share
from skerry.cli.top.reasons import Parts, reasons
from skerry.cli.top.rows import CPU, IN, MEMORY, OUT
from skerry.client import views
from skerry.client.overview import Overview
from skerry.core.records import is_meant
from skerry.errors import SkerryError

if TYPE_CHECKING:
    from skerry.cli.top.screen import Top

PAST = 200  # lines and events that are shown at once
KEPT = 5000  # lines that can be scrolled back to
TOGETHER_S = 0.1  # what comes within it is drawn at once
AT_ONCE = 400  # of it; more than anybody reads: the newest of them, and how many were left out
AGAIN_S = 2.0
LOW = 20


class Detail(Screen[None]):
    """`kind`: slot, service, host or cloud."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,q", "back", "back", key_display="esc"),
        Binding("l", "show('logs')", "logs"),
        Binding("e", "show('events')", "events"),
        Binding("x", "show('explain')", "explain"),
        Binding("tab", "next(1)", show=False, priority=True),
        Binding("shift+tab", "next(-1)", show=False, priority=True),
        Binding("question_mark", "app.help", "help", key_display="?"),
    ]

    def __init__(self, top: Top, kind: str, name: str) -> None:
        super().__init__()
        self.top, self.kind, self.name_ = top, kind, name
        self.parts: list[str] = [part for part in ("logs", "events", "explain") if part in _PARTS[kind]]
        self.part: str = self.parts[0]
        self._begun: set[str] = set()
        self._lines = Lines(colour=top.tones.colours)

    def compose(self) -> ComposeResult:
        yield Static(id="head", classes="one", markup=False)
        yield Static(id="figures", markup=False)
        yield Static(id="views", classes="one", markup=False)
        with ContentSwitcher(initial=self.part):
            for log in ("logs", "events"):
                yield RichLog(id=log, max_lines=KEPT, min_width=0, wrap=True, markup=False, highlight=False)
            with VerticalScroll(id="explain"):
                yield Static(id="explained", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._show(self.part)
        if self.top.seen is not None:
            self.see(self.top.seen)

    # -- figures

    def see(self, seen: Overview) -> None:
        tones = self.top.tones
        words, tone = self._stands(seen)
        self.query_one("#head", Static).update(
            tones.text(
                ("skerry ", "line"), (f"{self.kind} ", "dim"), (clean(self.name_), "title"), ("   ", ""), (words, tone)
            )
        )
        figures = self.query_one("#figures", Static)
        figures.display = self.kind != "cloud" and self.size.height >= LOW
        if figures.display:
            figures.update(self._charts(seen))

    def _stands(self, seen: Overview) -> tuple[str, str]:
        if seen.lost:
            return "no host answers; trying on", "bad"
        if self.kind == "host":
            for host in seen.hosts:
                if host.name == self.name_:
                    return clean(f"{host.state}  {host.address}  {host.why}"), "good" if host.state == "up" else "bad"
            return "no longer in the cloud", "watch"
        rows = [row for row in seen.slots if is_meant([self.name_], row.slot)]
        if self.kind == "slot" and rows:
            row = rows[0]
            where = f"on {row.node}" if row.node else "nowhere"
            why = row.why or row.verdict
            words = f"{row.state} {where}  version {row.version}  {age(row.since)}" + (f"  {why}" if why else "")
            return clean(words), "good" if row.well else "bad"
        if rows:
            well = sum(row.well for row in rows)
            return f"{well} of {len(rows)} well", "good" if well == len(rows) else "bad"
        return ("as they come", "dim") if self.kind == "cloud" else ("nothing of it runs or is wanted", "watch")

    def _charts(self, seen: Overview) -> Text:
        tones, history = self.top.tones, self.top.history
        if self.kind == "host":
            subject, parts = f"node/{self.name_}", [f"node/{self.name_}"]
        else:
            subject, parts = self.name_, [row.slot for row in seen.slots if is_meant([self.name_], row.slot)]
        width = max((self.size.width - 8) // 3, 16)
        cpu, memory = seen.total(parts, CPU), seen.total(parts, MEMORY)
        of = seen.total(parts, "memory_total_bytes" if self.kind == "host" else "memory_limit_bytes")
        net = [
            None if a is None and b is None else (a or 0.0) + (b or 0.0)
            for a, b in zip(history.of(subject, IN), history.of(subject, OUT), strict=True)
        ]
        cells = (
            ("CPU", f"{cores(cpu)} cores", chart(history.of(subject, CPU), width, 3)),
            ("MEMORY", amount(memory) + (f" of {amount(of)}, {percent(share(memory, of))}" if of else ""),
             chart(history.of(subject, MEMORY), width, 3, of)),
            ("NET", f"↓{amount(seen.total(parts, IN))} ↑{amount(seen.total(parts, OUT))} /s", chart(net, width, 3)),
        )  # fmt: skip
        text = tones.text()
        for i, (title, value, _) in enumerate(cells):
            text.append_text(
                tones.text((title, "dim"), (" " * max(width - len(title) - len(value), 1), ""), (value, ""))
            )
            text.append("   " if i < 2 else "\n")
        for line in range(3):
            text.append_text(tones.text(("   ".join(drawn[line] for _, _, drawn in cells) + "\n", "line")))
        text.append_text(tones.text((self._rest(seen, parts), "dim")))
        return text

    def _rest(self, seen: Overview, parts: list[str]) -> str:
        """Figures that have no line of their own: those that are known."""
        known = [
            ("throttled", percent, "cpu_throttled_share", max),
            ("cpu pressure", percent, "cpu_pressure_share", max),
            ("memory pressure", percent, "memory_pressure_share", max),
            ("io pressure", percent, "io_pressure_share", max),
            ("pids", lambda v: f"{v:.0f}", "pids", sum),
            ("disk r/s", amount, "disk_read_bytes_per_s", sum),
            ("w/s", amount, "disk_written_bytes_per_s", sum),
            ("probe", seconds, "probe_s", max),
            ("requests/s", lambda v: f"{v:.1f}", "requests_per_s", sum),
        ]
        shown = []
        for words, write, name, fold in known:
            values = [value for part in parts if (value := seen.figure(part, name)) is not None]
            if values:
                shown.append(f"{words} {write(fold(values))}")  # type: ignore[operator]
        return "  ".join(shown)[: self.size.width - 2] or "no figures of it are known now"

    # -- parts

    def action_back(self) -> None:
        self.dismiss(None)

    def action_next(self, step: int) -> None:
        self._show(self.parts[(self.parts.index(self.part) + step) % len(self.parts)])

    def action_show(self, part: str) -> None:
        self._show(part)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "show" or parameters[0] in self.parts

    def on_click(self, event: Click) -> None:
        if part := event.style.meta.get("part"):
            self.action_show(part)

    def _show(self, part: str) -> None:
        self.part = part
        self.query_one(ContentSwitcher).current = part
        self.query_one(f"#{part}").focus()
        text = self.top.tones.text()
        for each in self.parts:
            style = self.top.tones.style("chosen" if each == part else "") + Style(meta={"part": each})
            text.append(f" {each} ", style)
            text.append(" ")
        self.query_one("#views", Static).update(text)
        if part not in self._begun:
            self._begun.add(part)
            work = {"logs": self._logs, "events": self._events, "explain": self._explain}[part]
            self.run_worker(work(), name=part, group=part)

    async def _logs(self) -> None:
        def rows() -> AsyncGenerator[dict[str, Any]]:
            return views.logs(self.top.session, [self.name_], follow=True, tail=PAST)

        await self._follow("logs", rows, self._log_line)

    def _log_line(self, row: dict[str, Any]) -> Text:
        tones = self.top.tones
        made = tones.text((streams.clock(row.get("time")), "dim"), (" ", ""))
        slot = clean(row.get("slot"))
        if self.kind == "service":
            made.append(slot.rpartition(".")[2] + " ", tones.of_slot(slot))
        words = Text.from_ansi(
            self._lines.text({**row, "time": "", "slot": ""}).lstrip(" ")
        )  # ours: its own are cleaned
        words.style = tones.style("watch" if row.get("stream") == "stderr" else "")
        made.append_text(words)
        made.no_wrap = False
        return made

    async def _events(self) -> None:
        def rows() -> AsyncGenerator[dict[str, Any]]:
            return views.events(self.top.session, follow=True, tail=PAST if self.kind == "cloud" else 5 * PAST)

        await self._follow("events", rows, self._event_line)

    def _event_line(self, row: dict[str, Any]) -> Text | None:
        if not self._of_this(row):
            return None
        made = self.top.tones.text(
            (streams.clock(row.get("time")), "dim"), (f" {clean(row.get('node'))} ", "line2"), (clean(row.get("kind")), "title"),
            (f" {clean(row.get('subject'))} " if row.get("subject") else " ", "line"),
            (clean(row.get("reason", row.get("text", ""))), ""),
        )  # fmt: skip
        made.no_wrap = False
        return made

    def _of_this(self, row: dict[str, Any]) -> bool:
        subject = str(row.get("subject") or "")
        if self.kind == "cloud":
            return True
        if self.kind == "host":
            return self.name_ in (row.get("node"), subject.removeprefix("node/"))
        return is_meant([self.name_], subject) or subject in (self.name_, f"app/{self.name_.partition('.')[0]}")

    async def _follow(
        self,
        part: str,
        rows: Callable[[], AsyncGenerator[dict[str, Any]]],
        line: Callable[[dict[str, Any]], Text | None],
    ) -> None:
        """Rows as they come, for ever; many at once are drawn together."""
        log, tones = self.query_one(f"#{part}", RichLog), self.top.tones
        waiting: deque[Text] = deque(maxlen=AT_ONCE)
        left_out = 0

        async def draw() -> None:
            nonlocal left_out
            while True:
                await asyncio.sleep(TOGETHER_S)
                at_end = log.is_vertical_scroll_end
                if left_out:
                    log.write(
                        tones.text((f"… {left_out} lines came faster than they are shown", "watch")), scroll_end=at_end
                    )
                    left_out = 0
                while waiting:
                    log.write(waiting.popleft(), scroll_end=at_end)

        drawing = asyncio.create_task(draw())
        try:
            told = ""
            while True:
                try:
                    async with aclosing(rows()) as coming:
                        async for row in coming:
                            told = ""
                            made = self._unanswered(row) if "unanswered" in row else line(row)
                            if made is not None:
                                left_out += len(waiting) == AT_ONCE
                                waiting.append(made)
                except SkerryError as error:
                    if str(error) != told:
                        told = str(error)
                        waiting.append(tones.text((clean(f"{error}; trying on"), "bad")))
                await asyncio.sleep(AGAIN_S)
        finally:
            drawing.cancel()

    def _unanswered(self, row: dict[str, Any]) -> Text:
        return self.top.tones.text((clean(f"{row['node']} did not answer: {row['unanswered']}"), "watch"))

    async def _explain(self) -> None:
        shown = self.query_one("#explained", Static)
        before: list[Parts] = []
        while True:
            try:
                lines = reasons(await views.explain(self.top.session, self.name_))
            except SkerryError as error:
                lines = [[(clean(error), "bad")]]
            if lines != before:
                before = lines
                shown.update(Text("\n").join([self._wrapped(line) for line in lines]))
            await asyncio.sleep(AGAIN_S)

    def _wrapped(self, parts: Parts) -> Text:
        made = self.top.tones.text(*parts)
        made.no_wrap, made.overflow = False, "fold"
        return made


_PARTS = {
    "slot": ("logs", "events", "explain"),
    "service": ("logs", "events", "explain"),
    "host": ("logs", "events", "explain"),
    "cloud": ("events",),
}
