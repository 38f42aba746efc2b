"""Which version of an app is wanted: the newest pair of documents, or the one to turn back to. Pure. See docs/decisions/0003."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from skerry.core.intent import App, Release, Service, init_of, spec_of
from skerry.core.knowledge import Knowledge
from skerry.core.records import Document


class Want(msgspec.Struct, frozen=True):
    """What every slot of a service shall run. `init`: the image that makes its data before its first start, "" for none.

    `back`: somebody went back to it by hand."""

    service: Service  # replicas, placement and update from the newest app document
    image: str
    spec: str
    versions: tuple[int, int]  # (app, release)
    init: str = ""
    back: bool = False

    @property
    def may_overlap(self) -> bool:
        """Whether two of a slot may run for a moment, so that it moves while it is well."""
        return not (self.service.volumes or self.service.exclusive)

    @property
    def images(self) -> tuple[str, ...]:
        """All that a host needs of it."""
        return (self.image, self.init) if self.init else (self.image,)


class AppWant(msgspec.Struct, frozen=True):
    """`known` False: the documents don't fit together yet; what runs is left alone. `deleted`: nothing is wanted any more.

    `newest`: service -> spec of the newest pair (what a verdict is about). `specs`: every spec that these documents can make.
    `images`: service -> images to keep. `failures`: service -> why its newest version failed, and what follows from that.
    `turned_back`: why the newest is not wanted, "" if it is. `earlier`: images of the kept history, in short.
    `before`: what the slots that a canary leaves alone go on running; empty where nothing of it may run.
    """

    known: bool
    deleted: bool = False
    services: dict[str, Want] = {}
    newest: dict[str, str] = {}
    newest_versions: tuple[int, int] = (0, 0)
    specs: dict[str, Want] = {}
    images: dict[str, tuple[str, ...]] = {}
    failures: dict[str, str] = {}
    turned_back: str = ""
    mixed: bool = False
    has_fallback: bool = False
    before: dict[str, Want] = {}
    earlier: frozenset[str] = frozenset()
    pools: tuple[str, ...] = ()


NOTHING = AppWant(known=True)


def wanted(name: str, known: Knowledge, failed: Callable[[str, str], str]) -> AppWant:
    """What is wanted of app `name`. `failed(service, spec)`: why that version must be turned back, "" if it need not."""
    app_doc, release_doc = known.documents.get(f"app/{name}"), known.documents.get(f"release/{name}")
    if app_doc is None or not isinstance(app_doc.body, App):
        return AppWant(known=False)
    app = app_doc.body
    if app.deleted:
        return AppWant(known=True, deleted=True)
    if release_doc is None or not isinstance(release_doc.body, Release):
        return AppWant(known=False)
    fallback = fallback_of(known, app_doc, release_doc)
    newest = (app_doc, release_doc)
    if release_doc.body.fits > app_doc.version:  # made for an app document that has not come yet
        earlier = _held(known, release_doc.path, release_doc.body.fallback)
        if earlier is None or not isinstance(earlier.body, Release) or earlier.body.fits > app_doc.version:
            return AppWant(known=False)
        newest = (app_doc, earlier)
        fallback = fallback_of(known, app_doc, earlier)
    services = _services(*newest, app)
    specs = {want.spec: want for want in services.values()}
    back = {name: _going_back(want) for name, want in _services(*fallback, app).items()} if fallback is not None else {}
    specs |= {want.spec: want for want in back.values()}
    failures, reason = {}, ""
    for service, want in services.items():
        if why := failed(service, want.spec):
            told = f"version {want.versions[0]}.{want.versions[1]} of {service} failed: {why}"
            failures[service] = f"{told}; {_follows(want.service.update.failure_action, back.get(service), bool(back))}"
            if want.service.update.failure_action == "rollback" and back:
                reason = reason or told
    return AppWant(
        known=True,
        services=back if reason else services,
        newest={service: want.spec for service, want in services.items()},
        newest_versions=(newest[0].version, newest[1].version),
        specs=specs,
        images=_images(services, back),
        failures=failures,
        turned_back=reason,
        mixed=newest[0].version > release_fits(newest[1]),
        has_fallback=bool(back),
        before={} if reason else back,
        pools=app.pools,
        earlier=frozenset(name for names in release_doc.body.earlier for name in names.split()),
    )


def _going_back(want: Want) -> Want:
    """The way back goes as `rollback_config` says, else as the way on went; what is back there is known, and no canary."""
    service = want.service
    back = msgspec.structs.replace(service, update=service.rollback or service.update, canary=())
    return msgspec.structs.replace(want, service=back)


def _follows(failure_action: str, back: Want | None, has_fallback: bool) -> str:
    if failure_action == "pause":
        return "the rollout is paused"
    if failure_action == "continue":
        return "the rollout goes on"
    if back is not None:
        return f"turned back to version {back.versions[0]}.{back.versions[1]}"
    return "turned back to the version before" if has_fallback else "there is no version before it to turn back to"


def release_fits(document: Document) -> int:
    return document.body.fits if isinstance(document.body, Release) else 0


def _held(known: Knowledge, path: str, digest: str) -> Document | None:
    return known.by_hash(path, digest) if digest else None


def fallback_of(known: Knowledge, app: Document, release: Document) -> tuple[Document, Document] | None:
    """The pair to turn back to: the release's fallback, with the app's own where that fits it."""
    assert isinstance(app.body, App) and isinstance(release.body, Release)
    back = _held(known, release.path, release.body.fallback) or (release if app.body.fallback else None)
    if back is None or not isinstance(back.body, Release):
        return None
    earlier = _held(known, app.path, app.body.fallback)
    if earlier is not None and isinstance(earlier.body, App) and earlier.version >= back.body.fits:
        return (earlier, back)
    return (app, back) if back is not release and app.version >= back.body.fits else None


def _services(app: Document, release: Document, newest: App) -> dict[str, Want]:
    assert isinstance(app.body, App) and isinstance(release.body, Release)
    wants = {}
    for name, service in sorted(app.body.services.items()):
        image = release.body.images.get(name)
        if image is None:
            continue  # its image is under way
        now = newest.services.get(name, service)
        update, canary = (now.rollback or now.update, ()) if release.body.back else (now.update, now.canary)
        shown = msgspec.structs.replace(
            service,
            replicas=now.replicas,
            update=update,
            rollback=now.rollback,
            canary=canary,
            scale=now.scale,
            placement=now.placement,
        )
        init = release.body.images.get(init_of(name), "")
        wants[name] = Want(
            shown, image, spec_of(service, image, init), (app.version, release.version), init, release.body.back
        )
    return wants


def _images(*pairs: dict[str, Want]) -> dict[str, tuple[str, ...]]:
    kept: dict[str, tuple[str, ...]] = {}
    for services in pairs:
        for name, want in services.items():
            kept[name] = tuple(dict.fromkeys((*kept.get(name, ()), *want.images)))
    return kept
