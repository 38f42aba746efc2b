"""How many machines of a pool are needed now, and the most that were of late. The arithmetic is in packing.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from skerry.core.facts import Machine, Next, Rent, Up
from skerry.core.intent import App, Pool
from skerry.core.records import MachineSlot, Slot
from skerry.core.renting import offers
from skerry.core.renting.berths import Book
from skerry.core.renting.packing import Bin, Item, Seller, Size, best_first, pack, spared

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
    """Machines that are there or on their way, and those that are lacking, less those whose work fits elsewhere.

    Where several pools may serve a need, each one's keepers reckon for all: machines are filled the cheapest first and go the
    dearest first, so that all come to the same end.
    """
    size = size_of(s, book, of)
    slots = sorted(slots_of(s, book.pool))
    here = {slot: standing(s, slot) for slot in slots}
    have = [slot for slot in slots if here[slot] in ("real", "pending")]
    sellers = _sellers(s)
    bins = _bins(s, book.pool, size, have, sellers)
    items = _items(s, {bin.path for bin in bins}, sellers)
    for bin in bins:
        for item in items:
            if item.at == bin.path:
                bin.put(item)
    packed = pack([item for item in items if not item.at], bins, book.pool, size, max(0, of.max - len(have)))
    _tell_homeless(s, book, packed.homeless)
    if packed.more:
        return len(have) + packed.more
    candidates = sorted(
        [*have, *_may_go_elsewhere(s, book.pool, bins)],
        key=lambda slot: (here.get(slot) != "pending", dearest_first(s, slot)),
    )
    settled = [item._replace(at=packed.placed.get(item.name, item.at)) for item in items]
    gone = spared(settled, bins, [slot.path for slot in candidates])
    return len(have) - sum(slot.path in gone for slot in have)


def dearest_first(s: Situation, slot: MachineSlot) -> tuple[float, str, int]:
    """The order in which machines go when what is left fits elsewhere; the other way round they are filled."""
    said = best_word(s, slot)
    return (-said.price_usd_hour if said is not None else 0.0, slot.pool, -slot.index)


def _may_go_elsewhere(s: Situation, pool: str, bins: list[Bin]) -> list[MachineSlot]:
    """Machines of other pools that their keepers may give back: all above the least number."""
    there: dict[str, list[MachineSlot]] = {}
    for bin in bins:
        slot = MachineSlot.of_path(bin.path)
        if slot is not None and slot.pool != pool:
            there.setdefault(slot.pool, []).append(slot)
    found = []
    for name, slots in there.items():
        of = s.known.body(f"pool/{name}", Pool)
        most = len(slots) - (of.min if of is not None else 0)
        found += sorted(slots, key=lambda slot: dearest_first(s, slot))[: max(0, most)]
    return found


def standing(s: Situation, slot: MachineSlot) -> Literal["real", "pending", "draining", "leaving"]:
    """How a machine slot stands, by what keepers say (the living ones first) and its enrolment.

    pending: nothing was rented for it yet. A draining or leaving one is neither capacity nor missing, nor is one that was asked
    for where nobody answers: by its token it can't join any more, and other slots go on at other providers.
    """
    node = s.known.nodes.get(slot.path)
    said = best_word(s, slot)
    if said is not None and said.state in ("returning", "gone"):
        return "leaving"
    if (node is not None and node.state == "draining") or (said is not None and said.state == "draining"):
        return "draining"
    if said is None or said.state in ("booting", "joined"):
        return "real"
    if said.token and not said.id and s.wall(s.now) > said.token_until:
        of = s.known.body(f"pool/{slot.pool}", Pool)
        return "leaving" if of is not None and of.others else "real"
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


def _bins(s: Situation, pool: str, size: Size | None, have: list[MachineSlot], sellers: dict[str, Seller]) -> list[Bin]:
    """Fixed hosts, then machines of all pools, those on their way too, the cheapest first; draining ones hold nothing."""
    bins = []
    for path in sorted(s.known.nodes):
        room = _room(s, path)
        if room is not None and MachineSlot.of_path(path) is None and not s.known.nodes[path].voter_only:
            bins.append(Bin(path, *room))
    others = [slot for name in sellers if name != pool for slot in slots_of(s, name) if standing(s, slot) == "real"]
    for slot in sorted([*have, *others], key=lambda slot: dearest_first(s, slot), reverse=True):
        room = _room(s, slot.path)
        if room is not None:
            bins.append(Bin(slot.path, *room))
        else:
            coming = size if slot.pool == pool else sellers[slot.pool].size
            cpus, memory_bytes = coming if coming is not None else (float("inf"), 1 << 62)
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


def _items(s: Situation, hosts: set[str], sellers: dict[str, Seller]) -> list[Item]:
    """Every wanted slot. What a host holds that takes nothing more counts as held by nobody."""
    items = []
    for app, want_app in sorted(s.wants.items()):
        body = s.known.body(f"app/{app}", App)
        selling = [sellers[pool] for pool in (body.pools if body is not None else ()) if pool in sellers]
        for service, want in sorted(want_app.services.items()):
            eligible = frozenset(s.eligible(app, service))
            anywhere = not s.stays_with_data(app, want.service) and not want.service.constraints
            for index in s.numbers(app, service):
                slot = Slot(app, service, index)
                found = s.standings.get(slot)
                if want.service.placement.every_node and MachineSlot.of_path(next(iter(s.order(slot)), "")):
                    continue  # it is there because the machine is, never the other way round
                at = next((c.node for c in found.claimants if not c.against), "") if found is not None else ""
                if found is not None and found.home and not at:
                    continue  # it waits for its data: no other host helps
                needs = want.service.needs
                cpus, memory_bytes = needs.reserve_cpus, needs.reserve_memory_bytes
                pools = best_first(selling if anywhere else (), cpus, memory_bytes)
                items.append(Item(str(slot), cpus, memory_bytes, eligible, pools, at if at in hosts else ""))
    return items


def _sellers(s: Situation) -> dict[str, Seller]:
    """All pools, as their keepers tell what the next machine costs. One that has all that it may have is open to nothing more."""
    found = {}
    for path, document in s.known.documents.items():
        of = document.body
        if not isinstance(of, Pool) or of.deleted:
            continue
        name = path.removeprefix("pool/")
        full = sum(
            standing(s, slot) in ("real", "draining", "leaving") and s.presence.is_up(slot.path)
            for slot in slots_of(s, name)
        )
        told = _next_of(s, name, of)
        size = Size(told.cpus, told.memory_bytes) if told is not None and told.memory_bytes else None
        usd_hour = told.usd_hour if told is not None else float("inf")
        found[name] = Seller(name, usd_hour, size, full < of.max and (told is None or told.usd_hour >= 0))
    return found


def _next_of(s: Situation, pool: str, of: Pool) -> Next | None:
    """What the living keepers say: of those that could rent one the median, so that none alone makes a pool cheap or dear."""
    said = [
        body.next
        for keeper, body in s.known.about("rent", pool).items()
        if isinstance(body, Rent) and body.next is not None and keeper in of.keepers and not s.presence.is_down(keeper)
    ]
    can = sorted((one for one in said if one.usd_hour >= 0), key=lambda one: (one.usd_hour, one.memory_bytes, one.cpus))
    return can[(len(can) - 1) // 2] if can else next(iter(said), None)


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
        middle = (len(rooms) - 1) // 2  # the median; the library's takes half a megabyte
        return Size(sorted(room.cpus for room in rooms)[middle], sorted(room.memory_bytes for room in rooms)[middle])
    found = offers.fitting(book, of)
    if found:
        return Size(found[0].cpus, usable(found[0].memory_bytes))
    if of.cpus and of.memory_bytes:
        return Size(of.cpus, usable(of.memory_bytes))
    return None


def usable(memory_bytes: int) -> int:
    """What containers may have of a machine's memory."""
    return max(0, memory_bytes - OVERHEAD_BYTES)


def _is_of(path: str, pool: str) -> bool:
    slot = MachineSlot.of_path(path)
    return slot is not None and slot.pool == pool
