"""What a key deploys that may change images and nothing else, such as CI's: the release alone, of an app as operators signed it."""

from __future__ import annotations

import msgspec

from skerry.client.changes import changed_fields
from skerry.client.compose.plan import ComposeApp
from skerry.core.history import earlier_of
from skerry.core.intent import App, Body, Release, Service, init_of
from skerry.core.records import Document
from skerry.errors import TrustRefusal


class NotForThisKey(TrustRefusal):
    """This key may change an app's images and nothing else, and more was asked for."""

    code = "not-for-this-key"


def release_alone(
    compose: ComposeApp, digests: dict[str, str], held_app: Document | None, held_release: Document | None
) -> tuple[App, list[tuple[str, Body]]]:
    """For a key that may change images and nothing else (CI): the rest of the file must be what operators have signed.

    Of the environment only the names can be compared: the values are sealed, and not to this key.
    """
    if held_app is None or not isinstance(held_app.body, App) or held_app.body.deleted:
        raise NotForThisKey(
            f"{compose.name} was not deployed",
            "this key may release images of an app that is there, and no operator has signed this one",
            "let an operator deploy it first",
        )
    app = held_app.body
    services = {
        name: msgspec.structs.replace(
            planned.service, environment=dict.fromkeys(planned.environment, "sealed"), init=init_of(name) in digests
        )
        for name, planned in compose.services.items()
    }
    signed = {
        name: msgspec.structs.replace(service, environment=dict.fromkeys(service.environment, "sealed"), attempt=0)
        for name, service in app.services.items()
    }
    asked = App(services=_bare(services), volumes=dict(compose.volumes), pools=compose.pools)
    differs = changed_fields(msgspec.structs.replace(app, services=_bare(signed), fallback=""), asked)
    if differs:
        raise NotForThisKey(
            f"{compose.name} was not deployed",
            "this key may change its images and nothing else, and the file differs from what operators have signed in "
            + ", ".join(field for field, _, _ in differs),
            "let an operator deploy the changed file",
        )
    old = held_release.body if held_release is not None and isinstance(held_release.body, Release) else None
    if old is not None and old.images == digests:
        return app, []
    fallback = held_release.hash if held_release is not None else ""
    return app, [
        (
            f"release/{compose.name}",
            Release(images=digests, fits=held_app.version, fallback=fallback, earlier=earlier_of(old, digests)),
        )
    ]


def _bare(services: dict[str, Service]) -> dict[str, Service]:
    """Without what a zone's name was turned into: of one file it is another in another year."""
    bare = {}
    for name, service in services.items():
        scale = service.scale
        if scale is not None:
            schedules = tuple(msgspec.structs.replace(schedule, offsets=()) for schedule in scale.schedules)
            scale = msgspec.structs.replace(scale, schedules=schedules)
        bare[name] = msgspec.structs.replace(service, scale=scale)
    return bare
