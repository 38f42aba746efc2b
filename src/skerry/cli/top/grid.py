"""The table of a view. It is told whole and sends only what has changed: over a slow line each cell counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from skerry.cli.top.look import Tones
from skerry.cli.top.rows import GAP, Cell, Column, Line, fitting


class _Mark(Text):
    """The first cell of a line, which knows whose it is: so that lines can be put in another order."""

    key = ""


class Grid(DataTable[Text]):
    """Lines of cells under columns that fit."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "look into", key_display="enter"),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("g", "scroll_top", show=False),
        Binding("G", "scroll_bottom", show=False),
    ]

    class Sorted(Message):
        """Somebody clicked on a column's title."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    class Opened(Message):
        """Somebody wants to see more of a line."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, tones: Tones, id: str | None = None) -> None:
        super().__init__(
            id=id, cursor_type="row", cell_padding=0, cursor_foreground_priority="renderable", zebra_stripes=False
        )
        self._tones = tones
        self._fitting: list[Column] = []
        self._shown: dict[str, dict[str, Cell]] = {}
        self._order: list[str] = []
        self._titles: tuple[str, bool, bool] = ("", False, True)

    def fill(self, columns: Sequence[Column], lines: Sequence[Line], sort: str, *, reverse: bool) -> None:
        fits = fitting(columns, lines, max(self.size.width - 1, 40))  # one for the scroll bar
        titles = (sort, reverse, self._tones.dark)
        chosen = self.chosen
        anew = fits != self._fitting or titles != self._titles
        if anew:
            self._begin(fits, titles)
        wanted = {line.key: line for line in lines}
        for key in self._shown.keys() - wanted.keys():
            self.remove_row(key)
            del self._shown[key]
        for key, line in wanted.items():
            if key not in self._shown:
                self.add_row(*(self._cell(line, column) for column in fits), key=key)
            elif line.cells != self._shown[key]:
                for column in fits:
                    if line.cells.get(column.key) != self._shown[key].get(column.key):
                        self.update_cell(key, column.key, self._cell(line, column))
            self._shown[key] = line.cells
        order = list(wanted)
        if order != self._order or anew:
            place = {key: i for i, key in enumerate(order)}
            self.sort(fits[0].key, key=lambda mark: place[mark.key])
            self._order = order
            if chosen in place:
                self.move_cursor(row=place[chosen], scroll=True)

    @property
    def chosen(self) -> str:
        """The key of the line that the cursor is on; "" where there is none."""
        return self._order[self.cursor_row] if 0 <= self.cursor_row < len(self._order) else ""

    def forget(self) -> None:
        """Another view follows."""
        self._fitting, self._titles = [], ("", False, True)
        self._shown.clear()
        self._order.clear()
        self.clear(columns=True)

    def _begin(self, fits: list[Column], titles: tuple[str, bool, bool]) -> None:
        self.clear(columns=True)
        self._shown.clear()
        self._fitting, self._titles = fits, titles
        sort, reverse, _ = titles
        for column in fits:
            arrow = ("▼" if reverse else "▲") if column.key == sort and column.title else ""
            title = (column.title + arrow)[: column.width]
            label = title.rjust(column.width) if column.right else title.ljust(column.width)
            self.add_column(Text(label + " " * GAP, no_wrap=True, end=""), width=column.width + GAP, key=column.key)

    def _cell(self, line: Line, column: Column) -> Text:
        made = self._tones.cell(line.cells.get(column.key, Cell("")), column.width, right=column.right)
        if column != self._fitting[0]:
            return made
        mark = _Mark(no_wrap=True, end="")
        mark.append_text(made)
        mark.key = line.key
        return mark

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value:
            self.post_message(self.Opened(event.row_key.value))

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        if event.column_key.value:
            self.post_message(self.Sorted(event.column_key.value))
