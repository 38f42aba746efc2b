"""What `?` shows."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = (
    ("1 … 5, tab", "services, slots, hosts, machines, warnings"),
    ("↑ ↓, j k, mouse", "choose a line"),
    ("enter", "look into it: live logs, events, explain"),
    ("escape", "back; ends a filter"),
    ("/", "show only lines with these words"),
    ("<  >, click a title", "sort by the column beside, by that one"),
    ("r", "the other way round"),
    ("e", "events of the whole cloud, as they come"),
    ("p", "hold the screen still, and go on"),
    ("t", "light, dark"),
    ("q, ctrl+q", "quit"),
)
WORDS = """● well   ◐ partly   ○ waits   ✗ failed or down   ! an alert fires
✓ a job that ended well   ☾ asleep   yellow ●: gets a new version
– is what no host knows: it is not 0. CPU is in cores, yellow
where it is throttled; MEM is red from 90 % of its limit; K, M, G
are powers of 1024; RST: restarts; ▲ ▼ beside a title: sorted by it"""


class Help(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "close", "close", priority=True),
    ]

    def compose(self) -> ComposeResult:
        text = Text("Keys\n", style="bold")
        for key, what in KEYS:
            text.append(f"  {key:<20}", style="bold")
            text.append(f"{what}\n", style="not bold")
        text.append("\nSigns\n", style="bold")
        text.append("\n".join(f"  {line}" for line in WORDS.splitlines()), style="not bold")
        with VerticalScroll(id="help"):
            yield Static(text, markup=False)

    def action_close(self) -> None:
        self.dismiss(None)
