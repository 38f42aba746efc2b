"""Which images this node keeps, and from whom it gets them. Every wanted image and the fallback's stay with a few nodes.

They are fetched as soon as they are wanted, before a rollout reaches this node: a slot that moves finds its image here.
What a release within the kept history names stays where it is, as long as there is room; what nothing names is forgotten
after a while. Tools images come when they are asked for here, and go when they were not used for a day, sooner where room is
needed. This room says in which order images may go; how much room there is only the host knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from skerry.core.effects import Fetch, Forget, MayGo
from skerry.core.events import ImageFailed
from skerry.core.facts import Have
from skerry.core.history import short
from skerry.core.intent import SETUP_SHELL, Service
from skerry.core.order import order_by_name
from skerry.core.referring import Referring
from skerry.core.restarts import next_backoff
from skerry.core.versions import NOTHING

if TYPE_CHECKING:
    from skerry.core.situation import Situation


TOLD_MAX = 500  # of the 1,000 facts that a node may have


class Attempt(msgspec.Struct):
    """How fetching an image goes. `sources` of the attempt under way; `again_s`: try anew then."""

    sources: tuple[str, ...] = ()
    busy: bool = False
    again_s: float | None = None
    wait_s: float = 0.0
    why: str = ""


class Images:
    def __init__(self) -> None:
        self._held: dict[str, float | None] = {}  # image -> since when nothing refers to it
        self._attempts: dict[str, Attempt] = {}
        self._ages: dict[
            str, float
        ] = {}  # of those that were here when this life began, until something refers to them
        self._made_s: dict[str, float] = {}  # of those held
        self._too_large: dict[str, str] = {}  # why, of those that don't fit here
        self._may_go: tuple[str, ...] = ()
        self._found: dict[str, dict[str, str]] = {}  # image -> what the lint found in it
        self._tools: dict[str, str] = {}  # path of a document -> the tools image that it names
        self._used: dict[
            str, tuple[int, float]
        ] = {}  # tools image -> how often it runs here now, when it was last used
        self.referring = Referring()
        self.next_s = float("inf")

    def holds(self, image: str) -> bool:
        return image in self._held

    def lacks(self, images: Iterable[str]) -> str:
        """The first of these that isn't here, "" if all are."""
        return next((image for image in images if image not in self._held), "")

    def trouble(self, image: str) -> str:
        """Why it isn't here yet, in words."""
        attempt = self._attempts.get(image)
        return attempt.why if attempt is not None and attempt.why else "its image is under way"

    def is_coming(self, image: str) -> bool:
        """Whether it is being fetched right now."""
        attempt = self._attempts.get(image)
        return attempt is not None and attempt.busy

    def name_tools(self, path: str, image: str) -> None:
        """What operators have signed at a path of tools; "" once it is removed."""
        self._tools[path] = image
        if not image:
            del self._tools[path]

    def used(self, image: str, running: int, now_s: float) -> None:
        """A tools image is asked for, begins to run or has ended here."""
        self._used[image] = (running, now_s)

    def too_large(self, images: Iterable[str]) -> str:
        """Why one of these can't be here as things stand, "" if all can."""
        return next((self._too_large[image] for image in images if image in self._too_large), "")

    def more_room(self) -> list[str]:
        """What was too large may fit now; gives those."""
        images, self._too_large = list(self._too_large), {}
        for image in images:
            self._attempts.pop(image, None)
        return images

    def refused(self, image: str, init: str, service: Service) -> str:
        """Why a service must not start from these images: what the lint found and the app's document doesn't allow. Or ""."""
        if init and not service.init:
            return "its release names an init image, and no operator has agreed to one: deploy with an operator's key"
        for name, found, good in (
            ("image", self._found.get(image, {}), ""),
            ("init image", self._found.get(init, {}), SETUP_SHELL),
        ):
            kinds = [kind for kind in found if kind not in service.allow and kind != good]
            if kinds:
                others = f"; also {', '.join(kinds[1:])}" if kinds[1:] else ""
                return f"its {name} was refused: {found[kinds[0]]}{others}"
        return ""

    def ready(
        self, image: str, now_s: float, *, age_s: float = 0.0, found: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._held[image] = None
        self._made_s[image] = now_s - age_s
        self._too_large.pop(image, None)
        self._found[image] = dict(found)
        if age_s > 0:
            self._ages[image] = age_s
        self._attempts.pop(image, None)

    def gone(self, image: str) -> None:
        self._held.pop(image, None)
        self._made_s.pop(image, None)
        self._found.pop(image, None)

    def failed(self, event: ImageFailed, s: Situation) -> None:
        """Passing or not makes no difference: another source may have a whole one."""
        attempt = self._attempts.setdefault(event.image, Attempt())
        attempt.busy, attempt.why = False, event.why
        if event.too_large and event.image not in self._too_large:
            self._too_large[event.image] = event.why
            s.note("image-too-large", event.image[:19], event.why)
        attempt.wait_s = next_backoff(attempt.wait_s, s.timing.fetch_retry_first_s, s.timing.fetch_retry_most_s)
        attempt.again_s = s.now + attempt.wait_s

    def review(self, s: Situation) -> None:
        """Fetch what is wanted, forget what nothing has referred to for long, and say what is here."""
        self.referring.review(s)
        wanted = self._wanted(s)
        self.next_s = float("inf")
        for image in sorted(wanted):
            if image not in self._held:
                self._fetch(s, image, wanted[image])
        for image in [image for image in self._attempts if image not in wanted]:
            if not self._attempts[image].busy:
                del self._attempts[image]
        self._too_large = {image: why for image, why in self._too_large.items() if self.referring.names(image)}
        self._forget(s, wanted)
        self._say_held(s)
        self._say_what_may_go(s, wanted)

    def _wanted(self, s: Situation) -> dict[str, str]:
        """image -> why it shall be here."""
        wanted = self.referring.kept()
        for slot in s.own_claims():
            want_slot = s.want(slot)
            if want_slot is not None:
                wanted |= dict.fromkeys(want_slot.images, f"to run {slot}")
        for replica in s.replicas:
            if replica.phase not in ("stopping", "failed"):
                wanted |= dict.fromkeys(replica.images, f"to run {replica.slot}")
        for image, (running, used_s) in self._used.items():
            if running or s.now - used_s < s.timing.fetch_tools_s:
                wanted.setdefault(image, "tools to look into a container here")
        return wanted

    def _fetch(self, s: Situation, image: str, why: str) -> None:
        attempt = self._attempts.setdefault(image, Attempt())
        if attempt.busy:
            return
        sources = sources_of(s, image)
        if not sources:
            attempt.why = "no node that is up has its image"
            return  # a newer `object` fact, or a node that comes back, brings us here again
        if attempt.again_s is not None and s.now < attempt.again_s and sources == attempt.sources:
            self.next_s = min(self.next_s, attempt.again_s)
            return
        attempt.busy, attempt.sources, attempt.why = True, sources, ""
        s.out.append(Fetch(image=image, sources=sources, reason=why))

    def _say_held(self, s: Situation) -> None:
        """What others may ask for first; of the history only as much as leaves room for facts of slots."""
        names = self.referring.names
        told = set(sorted(self._held, key=lambda image: (not names(image), image))[:TOLD_MAX])
        for image in s.known.told_by(s.me, "object"):
            if image not in told:
                s.publish("object", image, None, "no longer held here")
        for image in sorted(told):
            s.publish("object", image, Have(), "held here")

    def _say_what_may_go(self, s: Situation, wanted: dict[str, str]) -> None:
        """First what nothing names, then what the history names, last what others keep as well; of each the oldest first.

        Never what is wanted or still runs here, nor what a service that has a slot here runs or turns back to.
        """
        here = {
            image for slot in s.own_claims() for image in s.wants.get(slot.app, NOTHING).images.get(slot.service, ())
        }
        names, before = self.referring.names, self.referring.named_before
        keep = {*wanted, *here, *s.replicas.images(), *(i for i in self._held if names(i) and self._too_few(s, i))}
        may_go = sorted(
            (image for image in self._held if image not in keep),
            key=lambda image: (names(image), before(short(image)), self._made_s[image], image),
        )
        if tuple(may_go) != self._may_go:
            self._may_go = tuple(may_go)
            s.out.append(MayGo(images=self._may_go, reason="not in use here, and kept by others or by none"))

    def _too_few(self, s: Situation, image: str) -> bool:
        """Whether it might be lost with the other hosts that have it."""
        others = sum(s.presence.is_up(node) for node in _holders(s, image) if node != s.me)
        return others < s.timing.image_keepers - 1

    def _forget(self, s: Situation, wanted: dict[str, str]) -> None:
        names, before = self.referring.names, self.referring.named_before
        tools = set(self._tools.values())
        self._used = {
            image: used for image, used in self._used.items() if used[0] or s.now - used[1] < s.timing.forget_tools_s
        }
        for running, used_s in self._used.values():
            if not running and used_s + s.timing.fetch_tools_s > s.now:
                self.next_s = min(self.next_s, used_s + s.timing.fetch_tools_s)
        for image, since in list(self._held.items()):
            kept_s = s.timing.forget_tools_s if image in tools else s.timing.forget_image_s
            if image in wanted or names(image) or before(short(image)):
                self._held[image] = None
                self._ages.pop(image, None)
            elif since is None:
                # Else a host whose agent starts anew every few minutes would keep every image for ever.
                had_s = min(self._ages.pop(image, 0.0), kept_s - s.timing.forget_after_start_s)
                self._held[image] = s.now - had_s
                self.next_s = min(self.next_s, s.now - had_s + kept_s)
            elif s.now - since < kept_s:
                self.next_s = min(self.next_s, since + kept_s)
            else:
                self.gone(image)
                s.out.append(Forget(image=image, reason=f"not wanted here for {s.now - since:.0f} s"))


def _holders(s: Situation, image: str) -> list[str]:
    return list(s.known.about("object", image))


def sources_of(s: Situation, image: str) -> tuple[str, ...]:
    """Nodes that are up and have it, neighbours first; within that by an order that differs from fetcher to fetcher."""
    holders = {
        n: s.known.nodes[n] for n in _holders(s, image) if n != s.me and n in s.known.nodes and s.presence.is_up(n)
    }
    order = order_by_name(f"{image} for {s.me}", holders)
    return tuple(sorted(order, key=lambda node: not s.presence.linked_up(node)))
