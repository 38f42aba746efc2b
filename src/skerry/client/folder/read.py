"""A folder's files, strictly read: every mistake with file and line, all at once. Asks no host.

A file that isn't there says nothing about its kind: hosts without hosts.yaml are nobody's business here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from skerry.client.compose import ComposeApp, ComposeErrors, Mistake, load, values
from skerry.client.compose.document import TEXT_MAX_BYTES
from skerry.client.compose.document import read as read_tree
from skerry.client.compose.interpolate import interpolate, parse_env
from skerry.client.compose.load import FILE_NAMES
from skerry.client.compose.mistakes import Findings
from skerry.client.compose.section import Section, Value
from skerry.client.folder.alerts import ReceiverWish, RuleWish, read_receiver, read_rule
from skerry.client.folder.tables import (
    HOST,
    HOSTS,
    POOL,
    POOLS,
    RECEIVER,
    RECEIVERS,
    ROLE,
    ROLES,
    RULE,
    RULES,
    TOOLS,
    TOOLS_FILE,
)
from skerry.client.folder.tools import ToolsWish, read_tools
from skerry.client.identity import read_public
from skerry.client.offers import offers_said
from skerry.core.intent import Operator
from skerry.errors import BadInput, SkerryError
from skerry.trust.identity import is_key

T = TypeVar("T")
FILES = ("hosts.yaml", "pools.yaml", "roles.yaml", "tools.yaml", "receivers.yaml", "rules.yaml")
MANY = 10_000
_SECONDS = ("join", "down", "drain", "age", "grace")
_TEXTS = ("provider", "size", "image", "endpoint")
_USD = {"price": "price_usd_month", "spend": "spend_usd_month", "cpus": "cpus"}


class BadFolder(BadInput):
    """The files of a folder can't be used. `mistakes` holds all that was found."""

    code = "bad-folder"

    def __init__(self, folder: Path, mistakes: list[tuple[str, Mistake]]) -> None:
        self.mistakes = [mistake._replace(key=f"{file}: {mistake.key}") for file, mistake in mistakes]
        count = f"{len(mistakes)} mistake{'s'[: len(mistakes) - 1]}"
        lines = [f"{file}, {mistake}" if mistake.line else f"{file}: {mistake}" for file, mistake in mistakes[:100]]
        super().__init__(f"{folder} has {count}", "\n".join(lines), "mend each line, then `skerry plan` again")


class HostWish(msgspec.Struct, frozen=True, kw_only=True):
    """`None` and "" of a field: not said, so it stays as it is."""

    target: str = ""
    jump: str = ""
    host_keys: tuple[str, ...] = ()
    zone: str | None = None
    labels: dict[str, str] | None = None
    address: str = ""
    state: str = ""
    image_budget_bytes: int | None = None


class PoolWish(msgspec.Struct, frozen=True, kw_only=True):
    """`fields`: those of core's Pool that were said. `keepers`: None: not said."""

    fields: dict[str, Any]
    keepers: tuple[str, ...] | None = None


class RoleWish(msgspec.Struct, frozen=True, kw_only=True):
    """`public`: None where only the `key` of a role that is there was named."""

    key: str
    apps: tuple[str, ...]
    public: Operator | None = None


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """None: there is no file of that kind."""

    hosts: dict[str, HostWish] | None = None
    pools: dict[str, PoolWish] | None = None
    roles: dict[str, RoleWish] | None = None
    tools: dict[str, ToolsWish] | None = None
    receivers: dict[str, ReceiverWish] | None = None
    rules: dict[str, RuleWish] | None = None
    apps: dict[str, ComposeApp] | None = None
    warnings: tuple[str, ...] = ()


def read_folder(folder: Path, environ: Mapping[str, str]) -> Folder:
    """`environ`: for ${NAME} in compose files and receivers. Raises BadFolder."""
    mistakes: list[tuple[str, Mistake]] = []
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder", "", f"make one: skerry export {folder}")
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yaml", ".yml") and path.name not in FILES:
            told = Mistake(0, 0, "", "is read by nothing", f"known are {', '.join(FILES)} and apps/NAME/compose.yaml")
            mistakes.append((path.name, told))
    hosts = _file(folder, "hosts.yaml", HOSTS, HOST, _host, mistakes)
    pools = _file(folder, "pools.yaml", POOLS, POOL, _pool, mistakes)
    roles = _file(folder, "roles.yaml", ROLES, ROLE, lambda value, s: _role(folder, value, s), mistakes)
    tools = _file(folder, "tools.yaml", TOOLS_FILE, TOOLS, lambda value, s: read_tools(folder, value, s), mistakes)
    variables = _variables(folder, environ, mistakes)
    receivers = _file(folder, "receivers.yaml", RECEIVERS, RECEIVER, read_receiver, mistakes, variables)
    rules = _file(folder, "rules.yaml", RULES, RULE, read_rule, mistakes)
    apps, warnings = _apps(folder / "apps", environ, mistakes)
    if mistakes:
        raise BadFolder(folder, mistakes)
    return Folder(
        hosts=hosts,
        pools=pools,
        roles=roles,
        tools=tools,
        receivers=receivers,
        rules=rules,
        apps=apps,
        warnings=tuple(warnings),
    )


def _variables(folder: Path, environ: Mapping[str, str], mistakes: list[tuple[str, Mistake]]) -> dict[str, str]:
    """For receivers: the environment goes before the folder's `.env`."""
    if not (folder / ".env").is_file() or not (folder / "receivers.yaml").is_file():
        return dict(environ)
    findings = Findings()
    found, wrong = parse_env(_text(folder / ".env", findings))
    for line, what in wrong:
        findings.mistake(line, 1, "", f"the line {what}", "write NAME=value")
    mistakes += [(".env", mistake) for mistake in findings.mistakes]
    return {**found, **environ}


def _file(
    folder: Path,
    name: str,
    top: dict[str, Any],
    table: dict[str, Any],
    reader: Callable[[Value, Section], T],
    mistakes: list[tuple[str, Mistake]],
    variables: Mapping[str, str] | None = None,
) -> dict[str, T] | None:
    """`variables`: for ${NAME} in values; None: there are none in this file."""
    path = folder / name
    if not path.exists():
        return None
    findings = Findings()
    found: dict[str, T] = {}
    text = _text(path, findings)
    resolve = (lambda value: value) if variables is None else (lambda value: interpolate(value, variables))
    tree = read_tree(text, findings, resolve) if text.strip() else None
    if tree is not None:
        section = Value(tree, "", findings).section(top)
        entries = section.get(name.removesuffix(".yaml"))
        for key, value in entries.pairs() if entries is not None else ():
            if not values.NAME.fullmatch(key):
                value.mistake(f"{key[:60]!r} can't be a name", "use lower-case letters, digits and dashes")
            if not (value.is_mapping or value.is_null):
                value.mistake("should be a mapping")
                continue
            found[key] = reader(value, value.section(table))
    mistakes += [(name, mistake) for mistake in findings.mistakes]
    return found


def _text(path: Path, findings: Findings) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX_BYTES + 1)
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        findings.mistake(0, 0, "", f"can't be read: {error}", "save it as UTF-8 text")
        return ""


def _host(value: Value, section: Section) -> HostWish:
    return HostWish(
        target=_word(section, "target"),
        jump=_word(section, "jump"),
        host_keys=_list(section, "host_keys") or (),
        zone=_read(section, "zone", str),
        labels=_map(section, "labels"),
        address=_word(section, "address"),
        state=(state.one_of("active", "draining") or "") if (state := section.get("state")) is not None else "",
        image_budget_bytes=_read(section, "images", lambda text: 0 if text == "0" else values.size_bytes(text)),
    )


def _pool(value: Value, section: Section) -> PoolWish:
    fields: dict[str, Any] = {}
    for key in _TEXTS:
        if (text := _read(section, key, str)) is not None:
            fields[key] = text
    for key in ("min", "max", "creates_per_hour", "weight"):
        number = section.get(key)
        if number is not None and (count := number.number(0, MANY)) is not None:
            fields[key] = count
    for key, field in _USD.items():
        if (amount := _read(section, key, _amount)) is not None:
            fields[field] = amount
    for key in _SECONDS:
        if (seconds := _read(section, key, values.duration_s)) is not None:
            fields[f"{key}_s"] = seconds
    if (memory := _read(section, "memory", values.size_bytes)) is not None:
        fields["memory_bytes"] = memory
    for key in ("options", "labels"):
        if (mapping := _map(section, key)) is not None:
            fields[key] = mapping
    if (regions := _list(section, "regions")) is not None:
        fields["regions"] = regions
    if (several := _list(section, "providers")) is not None:
        try:
            fields |= offers_said(
                several, fields.get("endpoint", ""), fields.get("image", ""), fields.get("options", {})
            )
        except BadInput as error:
            value.mistake(error.what, error.fix)
        if len(several) > 1 and _list(section, "keepers") == ():
            value.mistake("has no keepers to choose among its `providers`", "name one provider:")
        if len(several) > 1 and fields.get("size"):
            value.mistake("has a `size`, which is one provider's word", "say what a machine needs: cpus:, memory:")
    for key in ("max",) if several else ("provider", "max"):
        if section.get(key) is None:
            value.mistake(f"has no `{key}`", f"add {key}:")
    if not fields.keys() & {"size", "cpus", "memory_bytes"}:
        value.mistake("says neither a size nor what a machine needs", "add size:, or cpus: and memory:")
    if fields.get("min", 0) > fields.get("max", MANY):
        value.mistake("has a `min` above its `max`", "lower it")
    return PoolWish(fields=fields, keepers=_list(section, "keepers"))


def _role(folder: Path, value: Value, section: Section) -> RoleWish:
    apps = _list(section, "apps") or ()
    if not apps:
        value.mistake("is for no app", "add apps: [NAME]")
    file, key = section.get("public"), section.get("key")
    if (file is None) == (key is None):
        value.mistake("needs one of `public` and `key`", "add public: FILE, as `skerry key new` wrote it")
        return RoleWish(key="", apps=apps)
    if key is not None:
        text = key.text() or ""
        if not is_key(text):
            key.mistake("is no key", "64 hex digits, as `skerry role ls --json` shows them")
        return RoleWish(key=text, apps=apps)
    assert file is not None
    try:
        public = read_public(folder / (file.text() or ""))
    except (SkerryError, ValueError) as error:
        file.mistake(str(error), "name the file that `skerry key new` wrote")
        return RoleWish(key="", apps=apps)
    return RoleWish(key=public.key, apps=apps, public=public)


def _apps(
    folder: Path, environ: Mapping[str, str], mistakes: list[tuple[str, Mistake]]
) -> tuple[dict[str, ComposeApp] | None, list[str]]:
    """Each folder in apps/ is an app of its name."""
    if not folder.is_dir():
        return None, []
    found: dict[str, ComposeApp] = {}
    warnings: list[str] = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        where = f"apps/{path.name}"
        file = next((path / name for name in FILE_NAMES if (path / name).is_file()), None)
        if file is None:
            mistakes.append((where, Mistake(0, 0, "", "holds no compose file", "add compose.yaml")))
            continue
        try:
            app = load(file, environ=environ)
            if app.name != path.name:
                told = Mistake(0, 0, "name", f"the file calls the app {app.name}", f"call both {path.name}")
                mistakes.append((f"{where}/{file.name}", told))
            found[path.name] = app
            warnings += [f"{where}/{file.name}, {warning}" for warning in app.warnings]
        except ComposeErrors as errors:
            mistakes += [(f"{where}/{file.name}", mistake) for mistake in errors.mistakes]
        except BadInput as error:
            mistakes.append((where, Mistake(0, 0, "", str(error), error.fix)))
    return found, warnings


def _read(section: Section, key: str, reader: Callable[[str], T]) -> T | None:
    value = section.get(key)
    return value.read(reader) if value is not None else None


def _word(section: Section, key: str) -> str:
    return _read(section, key, str) or ""


def _map(section: Section, key: str) -> dict[str, str] | None:
    value = section.get(key)
    return {name: child.text() or "" for name, child in value.pairs()} if value is not None else None


def _list(section: Section, key: str) -> tuple[str, ...] | None:
    value = section.get(key)
    return tuple(text for item in value.items() if (text := item.text())) if value is not None else None


def _amount(text: str) -> float:
    number = float(text) if text.replace(".", "", 1).isdigit() and len(text) < 32 else -1.0
    if number < 0:
        raise ValueError(f"{text[:40]!r} is no amount: write it as 20 or 0.5")
    return number
