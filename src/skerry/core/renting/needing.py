"""How many machines of a pool are needed now, and the most that were of late. The arithmetic is in packing.py."""

from __future__ import annotations

import math
from statistics import median_low
from typing import TYPE_CHECKING, Literal

from skerry.core.facts import Machine, Rent, Up
from skerry.core.intent import App, Pool
from skerry.core.records import MachineSlot, Slot
from skerry.core.renting.berths import Book
from skerry.core.renting.dealings import Kind
from skerry.core.renting.packing import Bin, Item, Size, pack, spared

if TYPE_CHECKING:
    from skerry.core.situation import Situation

OVERHEAD_BYTES = 224 << 20  # of a machine's memory: its system, and the agent with what it keeps free
HOLE_STEPS = 2  # so many without a wish are a hole: what was needed then isn't known
KEPT = 30  # steps of `down_s` in which wishes are kept


def look(s: Situation, book: Book, of: Pool) -> None:
    """Once in a while: the wish as of now."""
    if s.now < book.wish_s + s.timing.rent_look_s * 0.9:
        return
    book.wish_s = s.now
    book.wish = wish(s, book, of)


def highest_wish(s: Situation, book: Book, of: Pool) -> int:
    """Of the last `down_s`, by our own fact. While that doesn't reach back so far, or has a hole, nothing is given back."""
    rent = s.known.of(s.me, "rent", book.pool, Rent)
    step_s = step_of(s, of)
    now = int(s.wall(s.now) // step_s)
    begin = now - math.ceil(of.down_s / step_s)
    highest, last = book.wish, begin
    for at, figure in rent.wishes if rent is not None and rent.step_s == step_s else ():
        if at - last > HOLE_STEPS and at > begin:
            return of.max
        if at >= begin:
            highest = max(highest, figure)
        last = at
    return highest if now - last <= HOLE_STEPS else of.max


def step_of(s: Situation, of: Pool) -> float:
    return max(s.timing.wish_step_s, of.down_s / KEPT)


def with_wish(s: Situation, book: Book, of: Pool, wishes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The ring with this moment's wish in it; a step after now is of a clock that was wrong."""
    step_s = step_of(s, of)
    now = int(s.wall(s.now) // step_s)
    ring = {at: figure for at, figure in wishes if at <= now and (now - at) * step_s <= of.down_s + 3 * step_s}
    ring[now] = max(ring.get(now, 0), book.wish)
    return tuple(sorted(ring.items()))


# --- what is needed ---------------------------------------------------------------------------------------------------


def wish(s: Situation, book: Book, of: Pool) -> int:
    """Machines that are there or on their way, and those that are lacking, less those whose work fits elsewhere."""
    size = size_of(s, book, of)
    slots = sorted(slots_of(s, book.pool))
    here = {slot: standing(s, slot) for slot in slots}
    have = [slot for slot in slots if here[slot] in ("real", "pending")]
    bins = _bins(s, book.pool, size, have)
    items = _items(s, {bin.path for bin in bins})
    for bin in bins:
        for item in items:
            if item.at == bin.path:
                bin.put(item)
    packed = pack([item for item in items if not item.at], bins, book.pool, size, max(0, of.max - len(have)))
    _tell_homeless(s, book, packed.homeless)
    if packed.more:
        return len(have) + packed.more
    candidates = sorted(have, key=lambda slot: (here[slot] != "pending", -slot.index))
    settled = [item._replace(at=packed.placed.get(item.name, item.at)) for item in items]
    return len(have) - len(spared(settled, bins, [slot.path for slot in candidates]))


def standing(s: Situation, slot: MachineSlot) -> Literal["real", "pending", "draining", "leaving"]:
    """How a machine slot stands, by what keepers say (the living ones first) and its enrolment.

    pending: nothing was rented for it yet. A draining or leaving one is neither capacity nor missing.
    """
    node = s.known.nodes.get(slot.path)
    said = best_word(s, slot)
    if said is not None and said.state in ("returning", "gone"):
        return "leaving"
    if (node is not None and node.state == "draining") or (said is not None and said.state == "draining"):
        return "draining"
    if said is None or said.state in ("booting", "joined"):
        return "real"
    return "real" if said.token or said.id else "pending"


def best_word(s: Situation, slot: MachineSlot) -> Machine | None:
    """What is said of a slot: by a living keeper that holds it, else the newest word of anybody."""
    words = [
        (not s.presence.is_down(keeper), body.state not in ("failed", "gone"), body.since, keeper, body)
        for keeper, body in s.known.about("machine", str(slot)).items()
        if isinstance(body, Machine)
    ]
    return max(words, key=lambda word: word[:4])[-1] if words else None


def slots_of(s: Situation, pool: str) -> set[MachineSlot]:
    """Slots of the pool that a keeper's fact or an enrolment names."""
    named = [MachineSlot.read(key) for key in s.known.facts.get("machine", {})]
    enrolled = [MachineSlot.of_path(path) for path in s.known.nodes]
    return {slot for slot in (*named, *enrolled) if slot is not None and slot.pool == pool}


def _bins(s: Situation, pool: str, size: Size | None, have: list[MachineSlot]) -> list[Bin]:
    """Fixed hosts, then machines; draining ones and those that are down hold nothing."""
    bins = []
    for path in sorted(s.known.nodes):
        room = _room(s, path)
        slot = MachineSlot.of_path(path)
        if room is not None and (slot is None or slot.pool != pool):
            bins.append(Bin(path, *room))
    bins.sort(key=lambda bin: MachineSlot.of_path(bin.path) is not None)
    for slot in have:
        room = _room(s, slot.path)
        if room is not None:
            bins.append(Bin(slot.path, *room))
        else:
            cpus, memory_bytes = size if size is not None else (float("inf"), 1 << 62)
            bins.append(Bin(slot.path, cpus, memory_bytes, enrolled=False))
    return bins


def _room(s: Situation, path: str) -> Size | None:
    """What containers may use there in all; None: it takes nothing now."""
    if path == s.me:
        return Size(s.cpus, s.memory_bytes) if s.is_active(path) else None
    up = s.known.of(path, "up", "", Up)
    if up is None or not s.presence.is_up(path) or not s.is_active(path):
        return None
    return Size(up.cpus, up.memory_bytes)


def _items(s: Situation, hosts: set[str]) -> list[Item]:
    """Every wanted slot. What a host holds that takes nothing more counts as held by nobody."""
    items = []
    for app, want_app in sorted(s.wants.items()):
        body = s.known.body(f"app/{app}", App)
        pools = tuple(pool for pool in (body.pools if body is not None else ()) if _is_open(s, pool))
        for service, want in sorted(want_app.services.items()):
            eligible = frozenset(s.eligible(app, service))
            anywhere = not s.stays_with_data(app, want.service) and not want.service.constraints
            for index in range(want.service.replicas):
                slot = Slot(app, service, index)
                found = s.standings.get(slot)
                at = next((c.node for c in found.claimants if not c.against), "") if found is not None else ""
                if found is not None and found.home and not at:
                    continue  # it waits for its data: no other host helps
                needs = want.service.needs
                items.append(
                    Item(str(slot), needs.reserve_cpus, needs.reserve_memory_bytes, eligible, pools if anywhere else (),
                         at if at in hosts else "")
                )  # fmt: skip
    return items


def _is_open(s: Situation, pool: str) -> bool:
    """Of several pools that an app is opened to the first counts that has room for another machine."""
    of = s.known.body(f"pool/{pool}", Pool)
    if of is None or of.deleted:
        return False
    full = sum(
        standing(s, slot) in ("real", "draining", "leaving") and s.presence.is_up(slot.path)
        for slot in slots_of(s, pool)
    )
    return full < of.max


def _tell_homeless(s: Situation, book: Book, homeless: tuple[str, ...]) -> None:
    if homeless != book.homeless:
        book.homeless = homeless
        if homeless:
            s.note(
                "machine-too-small", book.pool, f"no machine of this pool is large enough for {', '.join(homeless[:5])}"
            )


# --- sizes ------------------------------------------------------------------------------------------------------------


def size_of(s: Situation, book: Book, of: Pool) -> Size | None:
    """What one machine of the pool holds: as those that joined say, else by its size; None: not known yet."""
    rooms = [room for path in s.known.nodes if _is_of(path, book.pool) and (room := _room(s, path)) is not None]
    if rooms:
        return Size(median_low(room.cpus for room in rooms), median_low(room.memory_bytes for room in rooms))
    found = kinds_for(book, of)
    if found:
        return Size(found[0].cpus, max(0, found[0].memory_bytes - OVERHEAD_BYTES))
    if of.cpus and of.memory_bytes:
        return Size(of.cpus, max(0, of.memory_bytes - OVERHEAD_BYTES))
    return None


def _is_of(path: str, pool: str) -> bool:
    slot = MachineSlot.of_path(path)
    return slot is not None and slot.pool == pool


def kinds_for(book: Book, of: Pool) -> list[Kind]:
    """Sizes that the pool may take, the cheapest first; of equal ones the larger memory, then the name."""
    fit = [
        kind
        for kind in book.kinds or ()
        if (kind.name == of.size if of.size else kind.cpus >= of.cpus and kind.memory_bytes >= of.memory_bytes)
        and (not of.price_usd_month or kind.price_usd_month <= of.price_usd_month)
    ]
    return sorted(fit, key=lambda kind: (kind.price_usd_month, -kind.memory_bytes, kind.name))


def choices(book: Book, of: Pool, index: int) -> list[tuple[Kind, str]]:
    """(size, region) in the order in which machine `index` tries them: its own region first, the cheapest size in all of them.

    A pool that names no regions takes any where the size is to be had.
    """
    found = []
    for kind in kinds_for(book, of):
        regions = [region for region in of.regions if not kind.regions or region in kind.regions]
        regions = regions if of.regions else list(kind.regions) or [""]
        found += [(kind, regions[(index + i) % len(regions)]) for i in range(len(regions))]
    return found
