"""The whole way from a compose file to a ComposeApp: read, check, translate. Only `load` touches files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from skerry.client.compose import values
from skerry.client.compose.across import across
from skerry.client.compose.document import TEXT_MAX_BYTES
from skerry.client.compose.document import read as read_tree
from skerry.client.compose.interpolate import interpolate, parse_env
from skerry.client.compose.mistakes import ComposeErrors, Findings
from skerry.client.compose.plan import ComposeApp, ServicePlan
from skerry.client.compose.receivers import receivers_of
from skerry.client.compose.section import Section, Value
from skerry.client.compose.service import Context, service_of
from skerry.client.compose.table import NETWORK, TOP, VOLUME, X_APP, X_VOLUME
from skerry.errors import BadInput
from skerry.trust import checks_app
from skerry.trust.refusals import OutOfBounds

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
SERVICES_MAX = 64  # as trust has it


class NoComposeFile(BadInput):
    """There is no such file, or it can't be read."""

    code = "no-compose-file"


def load(path: Path, *, environ: Mapping[str, str], env_file: Path | None = None, name: str = "") -> ComposeApp:
    """Read a compose file (or the folder that holds one) and all that it refers to.

    `environ` goes before `env_file` (default: `.env` beside the file). `name`: the app's name, else the file's `name:`,
    else the folder's. Raises ComposeErrors with every mistake in it, NoComposeFile.
    """
    if path.is_dir():
        found = next((path / each for each in FILE_NAMES if (path / each).is_file()), None)
        if found is None:
            raise NoComposeFile(f"{path} holds no compose file", f"looked for {', '.join(FILE_NAMES)}", "name the file")
        path = found
    return load_text(_content(path), path.parent, environ=environ, env_file=env_file, name=name, file=str(path))


def load_text(
    text: str,
    folder: Path,
    *,
    environ: Mapping[str, str],
    env_file: Path | None = None,
    name: str = "",
    file: str = "compose file",
) -> ComposeApp:
    """As `load`, of a text that stands in no file, or is read already. `folder`: what its paths start from."""
    variables: dict[str, str] = {}
    dotenv = env_file or folder / ".env"
    if env_file is not None or dotenv.is_file():
        variables, wrong = parse_env(_content(dotenv))
        if wrong:
            findings = Findings()
            for line, what in wrong:
                findings.mistake(line, 1, "", f"the line {what}", "write NAME=value")
            raise ComposeErrors(findings.mistakes, str(dotenv))

    def read_beside(named: str) -> str | None:
        try:
            return _content(folder / named)
        except (NoComposeFile, ValueError):  # ValueError: a NUL in the path
            return None

    def recipe_in(named: str) -> dict[str, Any] | None:
        from skerry.image.building.recipe import read_recipe

        try:
            recipe = read_recipe(folder / named)
        except ValueError:  # a NUL in the path
            return None
        return msgspec.to_builtins(recipe) if recipe else None

    variables = {**variables, **environ}
    return parse(text, environ=variables, name=name, folder=folder, file=file, read=read_beside, recipe_in=recipe_in)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX_BYTES + 1)
    except OSError as error:
        raise NoComposeFile(f"{path} can't be read", error.strerror or str(error), "check the path") from error
    if len(data) > TEXT_MAX_BYTES:
        raise NoComposeFile(
            f"{path} was not read", f"it is larger than {TEXT_MAX_BYTES >> 20} MiB", "is it the right file?"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoComposeFile(f"{path} was not read", f"byte {error.start} is not UTF-8", "save it as UTF-8") from error


def parse(
    text: str,
    *,
    environ: Mapping[str, str],
    name: str = "",
    folder: Path = Path(),
    file: str = "compose file",
    read: Callable[[str], str | None] = lambda path: None,
    recipe_in: Callable[[str], dict[str, Any] | None] = lambda folder: None,
) -> ComposeApp:
    """The pure part of `load`. `read`: content of a file named in the text (env_file), None if it isn't there;
    `recipe_in`: the recipe in a folder's image.toml (may raise BadRecipe).

    Gives a ComposeApp or raises ComposeErrors; never anything else, whatever the text is.
    """
    findings = Findings()
    tree = read_tree(text, findings, lambda value: interpolate(value, environ))
    app = None
    if tree is not None:
        root = Value(tree, "", findings)
        known = Context(environ, read, recipe_in, frozenset(), {}, frozenset())
        app = _app(root, known, name, folder, file)
    if app is None or findings.mistakes:
        raise ComposeErrors(findings.mistakes, file)
    return app


def _app(root: Value, known: Context, name: str, folder: Path, file: str) -> ComposeApp | None:
    if not root.is_mapping:
        root.mistake("this is not a compose file", "it begins with `services:`")
        return None
    section = root.section(TOP)
    app_name = name or _name_in(section) or re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not values.NAME.fullmatch(app_name):
        (section.get("name") or root).mistake(
            f"{app_name[:60]!r} can't be an app's name", "add name: with lower-case letters"
        )
    volumes = _volumes(section.get("volumes"))
    networks = _networks(section.get("networks"))
    services_value = section.get("services")
    if services_value is None:
        root.mistake("has no services", "add `services:` with at least one")
        return None
    pairs = list(services_value.pairs())
    if not 0 < len(pairs) <= SERVICES_MAX and services_value.is_mapping:
        services_value.mistake(f"should hold 1 to {SERVICES_MAX} services, not {len(pairs)}")
    context = replace(known, services=frozenset(n for n, _ in pairs), volumes=volumes, networks=frozenset(networks))
    services: dict[str, ServicePlan] = {}
    for service_name, value in pairs[:SERVICES_MAX]:
        if not values.NAME.fullmatch(service_name):
            dashed = re.sub("[^a-z0-9]+", "-", service_name.lower()).strip("-")[:60] or "web"
            value.mistake(
                f"{service_name[:60]!r} can't be a service's name",
                f"use lower-case letters, digits and dashes: {dashed}; the old one may stay as an alias (networks: default: aliases)",
            )
        if value.is_mapping:
            services[service_name] = service_of(service_name, value, context)
        else:
            value.mistake("should be a mapping", "begin with image:")
    across(app_name, services, dict(pairs))
    own = section.section("x-skerry", X_APP)
    ship = receivers_of(own.get("logs") if own else None)
    app = ComposeApp(app_name, services, volumes, folder, file, tuple(root.findings.warnings), _pools(own), ship)
    if not root.findings.mistakes:
        _as_hosts_will(app, root, dict(pairs))
    return app


def _as_hosts_will(app: ComposeApp, root: Value, places: Mapping[str, Value]) -> None:
    """Every bound that hosts hold a signed app to: what they would refuse is a mistake here, with its line."""
    try:
        checks_app.app(app.app())
    except OutOfBounds as error:
        field, _, rule = error.why.partition(": ")
        service, _, key = field.partition(".")
        places.get(service, root).mistake(f"{key or field}: {rule}")


def _pools(section: Section | None) -> tuple[str, ...]:
    value = section.get("pools") if section else None
    return tuple(dict.fromkeys(value.texts(_pool))) if value else ()


def _pool(text: str) -> str:
    if not values.NAME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} can't be a pool's name: lower-case letters, digits and dashes")
    return text


def _name_in(section: Section) -> str:
    value = section.get("name")
    return (value.text() if value else None) or ""


def _volumes(value: Value | None) -> dict[str, bool]:
    """Name -> disposable."""
    volumes: dict[str, bool] = {}
    for name, child in value.pairs() if value else ():
        if not values.WORD.fullmatch(name):
            child.mistake(
                f"{name[:60]!r} can't be a volume's name", "use lower-case letters, digits, dashes and underscores"
            )
        section = child.section(VOLUME)
        if (driver := section.get("driver")) is not None:
            driver.one_of("local")
        own = section.section("x-skerry", X_VOLUME)
        flag = own.get("disposable") if own else None
        volumes[name] = bool(flag.flag()) if flag else False
    return volumes


def _networks(value: Value | None) -> list[str]:
    names = []
    for name, child in value.pairs() if value else ():
        section = child.section(NETWORK)
        if (driver := section.get("driver")) is not None:
            driver.one_of("bridge", "overlay")
        names.append(name)
    return names
