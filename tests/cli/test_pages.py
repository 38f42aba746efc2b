"""docs/errors.md and the tables of docs/compose.md are made from the code. `REWRITE=1 pytest tests/cli` writes them anew."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from pathlib import Path

import msgspec

import skerry
from core.test_explaining import cloud, explained
from core.test_placement import service
from skerry.cli.explain import outline
from skerry.client.compose.table import TABLES
from skerry.errors import SkerryError

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- made from src/skerry/client/compose/table.py -->", "<!-- end -->"
HEAD = """# Errors

Every error says what was refused or failed, why, and how to mend it, and bears a code that never changes its meaning:
scripts may rely on it. With `--json` it is the document on stdout: `{"error": {"code", "what", "why", "fix", "type"}}`.
`passing` is worth another try, `final` is not. The exit code is the command's.

This page is made from the code (tests/cli/test_pages.py).

| code | exit | type | what it means |
| --- | --- | --- | --- |
"""


def errors() -> list[type[SkerryError]]:
    for module in pkgutil.walk_packages(skerry.__path__, "skerry."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[SkerryError]] = []
    todo = [SkerryError]
    while todo:
        for kind in todo.pop().__subclasses__():
            todo.append(kind)
            if kind.__module__.startswith("skerry."):
                found.append(kind)
    return sorted(set(found), key=lambda kind: (kind.code, kind.__qualname__))


def own_code(kind: type[SkerryError]) -> bool:
    return "code" in vars(kind) and isinstance(vars(kind)["code"], str)


def errors_page() -> str:
    from skerry.errors import Passing

    rows = []
    for kind in errors():
        if own_code(kind):
            words = " ".join((kind.__doc__ or "").split())
            sentence = re.split(r"(?<=\.) (?=[A-Z`])", words, maxsplit=1)[0].replace("|", "\\|")
            rows.append(
                f"| `{kind.code}` | {kind.exit_code} | {'passing' if issubclass(kind, Passing) else 'final'} | {sentence} |"
            )
    return HEAD + "\n".join(rows) + "\n"


def compose_tables() -> str:
    parts = []
    for path, table in TABLES.items():
        rows = {use: [(k, e) for k, e in table.items() if e.use == use] for use in ("honoured", "noted", "refused")}
        parts.append(f"### {f'`{path}`' if path else 'Top level'}\n\n| key | | |\n| --- | --- | --- |")
        for use, entries in rows.items():
            for key, entry in entries:
                words = entry.words + (f"; {entry.fix}" if use == "refused" and entry.fix != "remove it" else "")
                parts.append(f"| `{key}` | {use if use != 'noted' else 'without effect, with a warning'} | {words} |")
        parts[-1] += "\n"
    return "\n".join(parts)


def agree(path: Path, wanted: str) -> None:
    if os.environ.get("REWRITE"):
        path.write_text(wanted)
    assert path.read_text() == wanted, "REWRITE=1 pytest tests/cli/test_pages.py, then read the difference"


def test_the_page_of_errors_is_the_codes() -> None:
    agree(DOCS / "errors.md", errors_page())


def test_no_two_errors_share_a_code() -> None:
    codes: dict[str, type[SkerryError]] = {}
    for kind in errors():
        if own_code(kind):
            other = codes.setdefault(kind.code, kind)
            assert other is kind, f"{other.__qualname__} and {kind.__qualname__} both have {kind.code}"


def test_the_compose_page_is_the_table() -> None:
    text = (DOCS / "compose.md").read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    agree(DOCS / "compose.md", f"{before}{BEGIN}\n{compose_tables()}\n{END}{after}")


def test_the_compose_example_of_the_page_is_good() -> None:
    from skerry.client.compose import parse

    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / "compose.md").read_text(), re.DOTALL):
        parse(block, environ={"TOKEN": "x"}, name="app")


def test_the_page_of_folders_is_the_table() -> None:
    from skerry.client.folder.tables import TABLES as folder

    begin = "<!-- made from src/skerry/client/folder/tables.py -->"
    before, _, rest = (DOCS / "folder.md").read_text().partition(begin)
    _, _, after = rest.partition(END)
    parts = [
        f"### `{path}`\n\n| key | |\n| --- | --- |\n"
        + "".join(f"| `{key}` | {entry.words} |\n" for key, entry in table.items())
        for path, table in folder.items()
    ]
    agree(DOCS / "folder.md", f"{before}{begin}\n" + "\n".join(parts) + f"\n{END}{after}")


def test_what_the_page_of_placement_shows_of_explain_is_what_the_command_says() -> None:
    cluster, _ = cloud({"web": msgspec.structs.replace(service(), constraints=("label.disk==ssd",))}, hosts=3)()
    told = explained(cluster, "web/0")
    answer = msgspec.json.decode(msgspec.json.encode({told.slot: told}))
    said = re.sub(r"sha256:[0-9a-f]{64}", "sha256:…", "\n".join(outline(answer)))
    assert f"```\n{said}\n```" in (DOCS / "placement.md").read_text(), said
