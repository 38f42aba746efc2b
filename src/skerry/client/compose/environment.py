"""A service's environment, in plain: from `environment`, from the files that `env_file` names, from the person's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from skerry.client.compose.interpolate import parse_env
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import ENV_FILE
from skerry.trust.checks_app import ENV_NAME

VALUES_MAX_CHARS = 32 << 10  # the whole app has 64 KiB, encrypted
Read = Callable[[str], "str | None"]


def environment_of(section: Section, variables: Mapping[str, str], read: Read) -> dict[str, str]:
    """`environment` goes before `env_file`; of several files the later one."""
    out: dict[str, str] = {}
    if (files := section.get("env_file")) is not None:
        for item in files.one_or_many():
            out |= _env_file(item, read)
    value = section.get("environment")
    if value is None:
        return out
    for name, said, place in _variables(value):
        if not ENV_NAME.fullmatch(name):
            place.mistake(f"{name[:40]!r} can't be the name of a variable", "use letters, digits and underscores")
        elif said is not None:
            out[name] = said
        elif name in variables:
            out[name] = variables[name]
        else:
            place.mistake(
                f"{name[:60]} is not set", f'set it, put it into .env, or write {name[:60]}: "" for an empty one'
            )
    if sum(len(name) + len(text) for name, text in out.items()) > VALUES_MAX_CHARS:
        value.mistake(f"the values have more than {VALUES_MAX_CHARS >> 10} KiB in all", "put big ones into the image")
    return out


def _variables(value: Value) -> list[tuple[str, str | None, Value]]:
    """(name, value or None for "from outside", place)."""
    if value.is_mapping:
        return [(name, _said(child), child) for name, child in value.pairs()]
    out: list[tuple[str, str | None, Value]] = []
    for item in value.items():
        name, equals, text = (item.text() or "").partition("=")
        out.append((name, text if equals else None, item))
    return out


def _said(value: Value) -> str | None:
    """`NAME: ${EMPTY}` says an empty text, `NAME:` says nothing."""
    if value.is_null:
        return value.tree.raw if value.tree.given else None
    return value.text() or ""


def _env_file(item: Value, read: Read) -> dict[str, str]:
    path_value: Value | None = item
    required = True
    if item.is_mapping:
        section = item.section(ENV_FILE)
        path_value = section.get("path")
        if (flag := section.get("required")) is not None:
            required = flag.flag() is not False
    path = path_value.text() if path_value else None
    if path is None:
        if path_value is None:
            item.mistake("has no path")
        return {}
    text = read(path)
    if text is None:
        if required:
            item.mistake(f"{path[:200]} can't be read", "check the path; it starts from the compose file's folder")
        return {}
    found, wrong = parse_env(text)
    for line, what in wrong[:10]:
        item.mistake(f"{path[:200]}, line {line} {what}")
    return found
