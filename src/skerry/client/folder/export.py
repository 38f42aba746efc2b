"""What there is, written as a folder of files, so that people can begin. Nothing that is there is overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.client import pools
from skerry.client.apps import live
from skerry.client.compose import interpolate
from skerry.client.enrolment import ssh_target
from skerry.client.folder import alerts as alerting
from skerry.client.folder import tools as tooling
from skerry.client.folder.compose_out import compose_of, number, seconds, yaml_text
from skerry.client.folder.plan import ci_roles, fixed_hosts
from skerry.client.session import Session
from skerry.core.intent import App, Node, Pool, Release, Role
from skerry.errors import Refusal
from skerry.trust import seal

_POOL = Pool(provider="", max=0, network="")


class FolderNotEmpty(Refusal):
    """`export` overwrites nothing."""

    code = "folder-not-empty"
    exit_code = 2


async def export(session: Session, folder: Path, *, secrets: bool = False) -> dict[str, Any]:
    """`secrets`: the plain values of apps' environments and of what reaches receivers, too, each in its .env (mode 600).

    Gives {files, notes}: what a file can't say stands in the notes and at its head. Raises FolderNotEmpty.
    """
    await session.sync(1)
    files, notes = _files(session, secrets)
    _write(folder, files)
    return {"files": list(files), "notes": notes}


def _files(session: Session, secrets: bool) -> tuple[dict[str, str], list[str]]:
    notes: list[str] = []
    files: dict[str, str] = {
        "hosts.yaml": yaml_text({"hosts": {name: _host(node) for name, node in sorted(fixed_hosts(session).items())}}),
        "pools.yaml": yaml_text({"pools": {name: pool_of(pool) for name, pool in pools.all_pools(session).items()}}),
        "roles.yaml": yaml_text({"roles": {name: _role(role) for name, role in sorted(ci_roles(session).items())}}),
    }
    files["tools.yaml"] = yaml_text({"tools": tooling.written(session)})
    files["rules.yaml"] = yaml_text({"rules": alerting.rules_written(session)})
    receivers = alerting.receivers_written(session)
    told = ""
    if receivers.values and not secrets:
        told = f"# values for {', '.join(sorted(receivers.values))} are sealed: set them, or write them into .env beside this file\n"
    notes += [f"receivers.yaml: {line}" for line in receivers.lost]
    told += "".join(f"# not said here: {line}\n" for line in receivers.lost)
    files["receivers.yaml"] = told + yaml_text({"receivers": receivers.said})
    if receivers.values and secrets:
        files[".env"] = env_text(receivers.values)
    for name, app in sorted(live(session).items()):
        release = session.document(f"release/{name}")
        body = release.body if release is not None and isinstance(release.body, Release) else None
        written = compose_of(name, app, body)
        head = [f"# not said here: {line}\n" for line in written.lost]
        notes += [f"apps/{name}: {line}" for line in written.lost]
        if written.variables and not secrets:
            names = ", ".join(sorted(written.variables.values()))
            head.append(f"# values for {names} are sealed: set them, or write them into .env beside this file\n")
        files[f"apps/{name}/compose.yaml"] = "".join(head) + written.text
        if written.variables and secrets:
            files[f"apps/{name}/.env"] = _environment(session, name, app, written.variables)
    return files, notes


def _write(folder: Path, files: dict[str, str]) -> None:
    """Raises FolderNotEmpty."""
    if folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty(f"nothing was written to {folder}", "there is something in it", "name a new folder")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600 if path.name == ".env" else 0o644)
        path.write_text(text, encoding="utf-8")


def _host(node: Node) -> dict[str, Any]:
    said = {
        "target": ssh_target(node),
        "zone": node.zone,
        "labels": dict(node.labels),
        "images": f"{node.image_budget_bytes}b" if node.image_budget_bytes else "",
    }
    return {key: value for key, value in said.items() if value} | (
        {"state": "draining"} if node.state == "draining" else {}
    )


def pool_of(pool: Pool) -> dict[str, Any]:
    said: dict[str, Any] = {"provider": pool.provider, "min": pool.min, "max": pool.max}
    names = {"size": "size", "cpus": "cpus", "price": "price_usd_month", "spend": "spend_usd_month", "image": "image",
             "endpoint": "endpoint", "weight": "weight", "creates_per_hour": "creates_per_hour"}  # fmt: skip
    for key, field in names.items():
        if (value := getattr(pool, field)) != getattr(_POOL, field):
            said[key] = number(value) if isinstance(value, float) else value
    for key in ("join", "down", "drain", "age", "grace"):
        if (value := getattr(pool, f"{key}_s")) != getattr(_POOL, f"{key}_s"):
            said[key] = seconds(value)
    if pool.memory_bytes:
        said["memory"] = f"{pool.memory_bytes}b"
    if not said.keys() & {"size", "cpus", "memory"}:  # a file has to say what a machine needs
        said["cpus"] = "0"
    options = dict(pool.options)
    if pool.others:
        del said["provider"]
        said.pop("endpoint", None)
        said["providers"] = [f"{o.provider}={o.endpoint}" if o.endpoint else o.provider for o in pool.offers().values()]
        for offer in pool.others:
            theirs = offer.options | ({"image": offer.image} if offer.image else {})
            options |= {f"{offer.name}.{key}": value for key, value in theirs.items()}
    lists = {"regions": list(pool.regions), "options": options, "labels": dict(pool.labels)}
    return said | {k: v for k, v in lists.items() if v} | {"keepers": [p.removeprefix("node/") for p in pool.keepers]}


def _role(role: Role) -> dict[str, Any]:
    return {"key": role.keys[0] if role.keys else "", "apps": [path.removeprefix("release/") for path in role.paths]}


def _environment(session: Session, name: str, app: App, variables: Mapping[tuple[str, str], str]) -> str:
    """Raises CannotOpen."""
    key = session.content_key(session.document(f"secret/{name}"))
    plain = {service: seal.open_values(key, body.environment) for service, body in app.services.items()}
    plain[""] = seal.open_values(key, app.ship)
    return env_text({variable: plain[service][key] for (service, key), variable in variables.items()})


def env_text(values: Mapping[str, str]) -> str:
    """As compose's own readers take it, too."""
    return "".join(f'{name}="{value.translate(_ESCAPED)}"\n' for name, value in values.items())


_ESCAPED = str.maketrans({char: f"\\{letter}" for letter, char in interpolate.ESCAPES.items()})
