"""One service of a compose file as core's Service: names, image, command, environment, rights, dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from skerry.client.compose import deployment, mounts, values
from skerry.client.compose.allowing import allowed_of
from skerry.client.compose.canary import canary_of, check_canary
from skerry.client.compose.endpoint import endpoint_of
from skerry.client.compose.environment import environment_of
from skerry.client.compose.placement import placement_of
from skerry.client.compose.plan import ImageRef, Recipe, ServicePlan
from skerry.client.compose.probe import probe_of
from skerry.client.compose.scaling import check_scale, scale_of
from skerry.client.compose.section import Section, Value
from skerry.client.compose.table import BUILD, DEPENDS, DEPLOY, NETWORK_OF_SERVICE, SERVICE, ULIMITS, X_SKERRY
from skerry.client.compose.wishes import check_wishes, probe_of_recipe
from skerry.core.intent import Depends, Service

if TYPE_CHECKING:
    from skerry.image.building.recipe import Recipe as BuildRecipe

_FORMERLY = {"mariadbd": ("mysqld",)}
CONDITIONS: dict[str, Literal["started", "healthy", "completed"]] = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}


@dataclass(frozen=True)
class Context:
    """What a service's reader needs of the world. `read` and `recipe_in`: see load.parse."""

    variables: Mapping[str, str]
    read: Callable[[str], str | None]
    recipe_in: Callable[[str], dict[str, Any] | None]
    services: frozenset[str]
    volumes: Mapping[str, bool]  # name -> disposable
    networks: frozenset[str]


def service_of(name: str, value: Value, context: Context) -> ServicePlan:
    """What can't be read is left at its default; whoever asked throws the plan away once there are mistakes."""
    section = value.section(SERVICE)
    deploy = section.section("deploy", DEPLOY)
    own = section.section("x-skerry", X_SKERRY)
    scaled, tried = (own.get("scale"), own.get("canary")) if own else (None, None)
    scale = scale_of(scaled)
    told = deploy.get("replicas") if deploy else None
    replicas = deployment.replicas_of(deploy) if scale is None or told is not None else max(scale.min, 1)
    ports = mounts.ports_of(section.get("ports"))
    exposed = mounts.expose_of(section.get("expose"))
    volumes, tmpfs = mounts.volumes_of(section.get("volumes"), frozenset(context.volumes))
    hostname = _text(section, "hostname", _hostname)
    aliases = _aliases(section, context, scale.max if scale is not None else replicas)
    names = frozenset({name, hostname.lower(), *aliases} - {""})
    known_ports = sorted({port.target for port in ports} | set(exposed))
    paths = (section.get("tmpfs"), own.get("writable") if own else None)
    writable = dict.fromkeys((*tmpfs, *(path for part in paths if part for path in part.texts(_tmpfs))))
    grace, drain = section.get("stop_grace_period"), own.get("drain") if own else None
    grace_s = grace.read(values.duration_s) if grace else None
    drain_s = drain.read(values.duration_s) if drain else None
    _always(section)
    image, entrypoint = _image(section, own, context), _command(section.get("entrypoint"))
    recipe = _parsed(image)
    environment = environment_of(section, context.variables, context.read)
    probe = probe_of(section.get("healthcheck"), own.get("probe") if own else None, known_ports, names)
    if recipe is not None and isinstance(image, Recipe):
        check_wishes(recipe, str(image.content.get("recipe")), section, environment, volumes, writable)
        if section.get("healthcheck") is None and probe is None:
            probe = probe_of_recipe(recipe)
    command = _command(section.get("command"))
    allowed, callers = allowed_of(own.get("allow") if own else None)
    service = Service(
        replicas=replicas,
        command=command if entrypoint or recipe is None else _without_program(command, recipe),
        entrypoint=entrypoint,
        user=_text(section, "user", _user),
        working_dir=_text(section, "working_dir", values.absolute),
        hostname=hostname,
        ports=ports,
        expose=exposed,
        volumes=volumes,
        writable=tuple(writable),
        capabilities=tuple(sorted(set(_texts(section, "cap_add", values.capability)))),
        probe=probe,
        needs=deployment.needs_of(deploy),
        restart=deployment.restart_of(section.get("restart"), deploy),
        update=deployment.update_of(deploy, replicas),
        rollback=deployment.rollback_of(deploy, replicas),
        canary=canary_of(tried),
        constraints=deployment.constraints_of(deploy),
        placement=placement_of(deploy, own, replicas if scale is None else scale.max, scaled is not None),
        depends_on=_depends(section.get("depends_on"), context, name),
        aliases=tuple(alias for alias in aliases if alias != name),
        stop_signal=_text(section, "stop_signal", values.signal_name),
        stop_grace_s=10.0 if grace_s is None else grace_s,
        drain_s=0.2 if drain_s is None else drain_s,
        allow=allowed,
        callers=callers,
        agents=_flag(own, "agents"),
        scale=scale,
        metrics=endpoint_of(own.get("metrics") if own else None),
        exclusive=_flag(own, "exclusive"),
        leases=_flag(own, "leases"),
        core_bytes=deployment.core_bytes_of(section.section("ulimits", ULIMITS)),
    )
    if scaled is not None and scale is not None:
        check_scale(service, scaled, told, context.volumes)
    if tried is not None:
        check_canary(service, tried)
    lines = {key: (part.tree.line, part.tree.column) for key, part in section.places()}
    return ServicePlan(service, environment, image, lines)


def _flag(own: Section | None, key: str) -> bool:
    value = own.get(key) if own else None
    return bool(value.flag()) if value else False


def _text(section: Section, key: str, reader: Callable[[str], str]) -> str:
    value = section.get(key)
    return (value.read(reader) if value else None) or ""


def _texts(section: Section, key: str, reader: Callable[[str], str]) -> list[str]:
    value = section.get(key)
    return [text for item in value.items() if (text := item.read(reader)) is not None] if value else []


def _always(section: Section) -> None:
    """Keys that may only say what holds anyway."""
    if (read_only := section.get("read_only")) is not None and read_only.flag() is False:
        read_only.mistake("the root is always read-only", "name the paths in x-skerry: writable, or mount a volume")
    _texts(section, "cap_drop", lambda text: text if text.upper() == "ALL" else values.capability(text))
    if (security := section.get("security_opt")) is not None:
        for item in security.items():
            if item.text() not in ("no-new-privileges:true", "no-new-privileges", "no-new-privileges=true", None):
                item.mistake(
                    "is not supported", "remove it; the default seccomp profile and no-new-privileges hold always"
                )


def _image(section: Section, own: Section | None, context: Context) -> ImageRef | Recipe:
    image, build, recipe = section.get("image"), section.get("build"), own.get("image") if own else None
    folder = _build_context(build) if build else "."
    if recipe is not None:
        if image is not None and build is None:
            image.mistake("there is an x-skerry: image too", "keep one: the recipe, or the built image")
        return Recipe({"context": folder, **_recipe(recipe)})
    if build is not None:
        return Recipe({"context": folder, **_recipe_beside(build, folder, context)})
    if image is None:
        section.value.mistake("names no image", "add image: NAME, or x-skerry: image: with a recipe")
        return ImageRef("")
    return ImageRef(image.text() or "")


def _build_context(build: Value) -> str:
    context: Value | None = build
    if build.is_mapping:
        context = build.section(BUILD).get("context")
    text = context.text() if context else "."
    if context and text and ("://" in text or text.startswith("git@")):
        context.mistake("the folder must be on this machine", "fetch it first")
    return text or "."


def _recipe(value: Value) -> dict[str, Any]:
    from skerry.image.building.recipe import BadRecipe, parse_recipe

    content = value.tree.plain()
    if not isinstance(content, dict):
        value.mistake("should be a recipe", "write {recipe: python, ...} or {recipe: debian, packages: [...]}")
        return {}
    if not isinstance(content.get("context", ""), str):
        value.mistake("context should be the project's folder", "write context: ./web")
        return {}
    try:
        parse_recipe({key: part for key, part in content.items() if key != "context"})
    except BadRecipe as error:
        value.mistake(error.why, error.fix)
    return content


def _recipe_beside(build: Value, folder: str, context: Context) -> dict[str, Any]:
    """The recipe in the project's image.toml."""
    from skerry.image.building.recipe import BadRecipe

    try:
        found = context.recipe_in(folder)
    except BadRecipe as error:
        build.mistake(f"{folder[:100]}/image.toml: {error.why}", error.fix)
        return {}
    if found is None:
        fix = f"let one be written: skerry image init {folder[:100]}; or write x-skerry: image:"
        build.mistake("has no recipe", fix)
    return found or {}


def _command(value: Value | None) -> tuple[str, ...]:
    """Empty means "the image's own", so an empty list, which means "none" to compose, can't be said."""
    if value is None:
        return ()
    if value.is_list:
        words = [item.text() for item in value.items()]
        said = [word for word in words if word is not None]
    else:
        said = value.read(values.words) or []
    if not said:
        value.mistake("is empty", "remove the key to use the image's own")
    return tuple(said)


def _parsed(image: ImageRef | Recipe) -> BuildRecipe | None:
    """None for an image that is there already, and for a recipe that was refused where it was read."""
    if isinstance(image, ImageRef):
        return None
    from skerry.image.building.recipe import BadRecipe, parse_recipe

    try:
        return parse_recipe({key: part for key, part in image.content.items() if key != "context"})
    except BadRecipe:
        return None


def _without_program(command: tuple[str, ...], recipe: BuildRecipe) -> tuple[str, ...]:
    """`command: redis-server --appendonly yes`, as official images take it: the program is the recipe's entry point already."""
    first = recipe.entrypoint[0] if recipe.recipe == "debian" else ""
    name = first.rpartition("/")[2]
    own = bool(command) and command[0] in (first, name, *_FORMERLY.get(name, ()))
    return command[1:] if own else command


def _user(text: str) -> str:
    parts = text.split(":")
    if len(parts) > 2 or not all(
        part.replace("-", "").replace("_", "").isalnum() and len(part) <= 32 for part in parts
    ):
        raise ValueError(f"{text[:40]!r} is not a user: write uid:gid, or names that the image knows")
    return text


def _hostname(text: str) -> str:
    if not values.HOSTNAME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a host name")
    return text


def _alias(text: str) -> str:
    if not values.WORD.fullmatch(text.lower()):
        raise ValueError(f"{text[:40]!r} is not a name inside the app: letters, digits, dashes and underscores")
    return text.lower()


def _tmpfs(text: str) -> str:
    path, colon, options = text.partition(":")
    if colon:
        raise ValueError(f"options such as {options[:20]!r} are not supported: a tmpfs has at most 64 MiB")
    return values.absolute(path)


def _aliases(section: Section, context: Context, replicas: int) -> list[str]:
    aliases: list[str] = []
    if (container := section.get("container_name")) is not None and (alias := container.read(_alias)):
        aliases.append(alias)
        if replicas != 1:
            container.mistake(f"{replicas} replicas can't share one container name", "use networks: NAME: aliases")
    networks = section.get("networks")
    for name, network in _named(networks):
        if name != "default" and name not in context.networks:
            network.mistake(f"network {name[:40]!r} is not declared", f"add it: networks: {{{name[:40]}: }}")
        if network.is_mapping and (given := network.section(NETWORK_OF_SERVICE).get("aliases")) is not None:
            aliases += given.texts(_alias)
    if networks is not None and len(list(_named(networks))) > 1:
        networks.warning("all services of an app can reach each other: networks are names here")
    return list(dict.fromkeys(aliases))


def _named(value: Value | None) -> list[tuple[str, Value]]:
    """A list of names, or a mapping from names."""
    if value is None:
        return []
    if value.is_mapping:
        return list(value.pairs())
    return [(text, item) for item in value.items() if (text := item.text()) is not None]


def _depends(value: Value | None, context: Context, own_name: str) -> tuple[Depends, ...]:
    out: dict[str, Depends] = {}
    for name, child in _named(value):
        if name not in context.services or name == own_name:
            child.mistake(
                "a service can't wait for itself" if name == own_name else f"there is no service {name[:40]!r}"
            )
            continue
        out[name] = Depends(service=name)
        if not (value and value.is_mapping):
            continue
        section = child.section(DEPENDS)
        if (required := section.get("required")) is not None and required.flag() is False:
            required.mistake("is not supported: what is waited for is needed")
        condition = section.get("condition")
        if condition is None:
            child.mistake("has no condition", f"write condition: one of {', '.join(CONDITIONS)}")
        elif (said := condition.one_of(*CONDITIONS)) is not None:
            out[name] = Depends(service=name, condition=CONDITIONS[said])
    return tuple(out.values())
