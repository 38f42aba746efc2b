"""Where a slot's data is: which of those that say "it is here" is believed (docs/decisions/0037).

Data made anywhere else is another's data, so this is decided once and kept. A node believes what it saw: the first that came by the
slot in its turn and said that its data is there. Some fixed nodes keep what they believe as a fact, which outlives their starts and
tells those that come later. Against these words, and against what it saw itself, a node that only says so gets nothing:
neither its rank nor its health nor its patience counts, and when the home is down the slot waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from skerry.core.facts import Decline, Home, SlotState
from skerry.core.placement import forbids
from skerry.core.records import Slot
from skerry.core.situation import Situation
from skerry.core.versions import Want

DATA_PATIENCE = 4  # where data is made, two first claims at once cost more than a later start
KEEPERS = 5  # fixed nodes that keep a word about a slot's home; a third of them may lie
_FAIR = 0.5  # of the time that a node waits for one before it: so far views of it may differ


def home_of(s: Situation, slot: Slot, want: Want) -> tuple[str, ...]:
    """The node that has the slot's data, () if none has, or the slot has none."""
    if not s.stays_with_data(slot.app, want.service):
        return ()
    told = _told(s, slot)
    home = _believed(s, slot, want, told)
    if home:
        s.first_home[slot] = home
    else:
        s.first_home.pop(slot, None)
    return (home,) if home else ()


def _told(s: Situation, slot: Slot) -> list[str]:
    """Enrolled nodes that say that its data is with them."""
    return [
        node
        for node, state in sorted(s.known.about("slot", str(slot)).items())
        if isinstance(state, SlotState) and state.data and (node in s.known.nodes or node == s.me)
    ]


def _believed(s: Situation, slot: Slot, want: Want, told: Sequence[str]) -> str:
    if not told:
        return ""
    own = s.first_home.get(slot) or _word(s, slot, s.me)
    if own not in told:
        own = s.me if s.me in told and slot in s.homes else ""
    words = Counter(
        word
        for author in s.known.about("home", str(slot))
        if author != s.me and author in s.known.nodes and (word := _word(s, slot, author)) in told and word != author
    )
    if own and own != s.me:
        words[own] += 1
    best = words.most_common(2)
    if best and best[0][1] and (len(best) < 2 or best[0][1] > best[1][1]):
        return best[0][0]
    if own:
        return _better(s, slot, told) if own == s.me else own
    order = s.order(slot)
    return next((node for node in order if node in told and not is_early(s, slot, want, node)), "")


def _word(s: Situation, slot: Slot, author: str) -> str:
    said = s.known.of(author, "home", str(slot), Home)
    return said.node if said is not None else ""


def _better(s: Situation, slot: Slot, told: Sequence[str]) -> str:
    """Of two that made its data while they were parted, and with nobody to ask, the better by the order; else this node."""
    order = s.order(slot)
    for node in order[: order.index(s.me)] if s.me in order else ():
        if node in told and node in s.unseen_then.get(slot, ()) and s.presence.is_up(node):
            return node
    return s.me


def is_early(s: Situation, slot: Slot, want: Want, node: str) -> bool:
    """Whether a node took a slot with data before its turn, as far as this one has watched: then it counts for nothing yet.

    What stood when this node came is believed: it can't know, and others' words say otherwise if it is false.
    """
    order = s.order(slot)
    if node == s.me:
        return False
    declines = s.known.about("decline", str(slot))
    before = [
        other
        for other in order[: order.index(node) if node in order else len(order)]
        if (other == s.me or s.presence.is_up(other))
        and s.is_active(other)
        and not (isinstance(decline := declines.get(other), Decline) and decline.spec == want.spec)
        and not s.barred_until(slot, other)
        and not forbids(s, slot, want, other)
    ]
    if any(s.claim_of(other, slot) is not None for other in before):
        return True  # one before it has come by the slot, and perhaps fetches its image still
    since = s.vacant.get(slot)
    if since is None or since < s.awake_s():
        return False
    if node not in order or s.claim_of(node, slot) is None:
        return True  # data without a claim, of a slot that nobody has had since we watch
    at = since + len(before) * s.timing.claim_delay_s * DATA_PATIENCE * _FAIR
    if s.now < at:
        s.later(slot, at)
        return True
    return False


def keep_words(s: Situation, app: str, service: str, slots: Sequence[Slot]) -> None:
    """Say where the data of these slots is, if this node is one of those that do; forget what is true of nothing any more."""
    said = [
        slot
        for key in s.known.told_by(s.me, "home")
        if (slot := Slot.read(key)) is not None and slot[:2] == (app, service)
    ]
    numbers = s.numbers(app, service)
    for slot in said:
        if (slot in slots or slot.index not in numbers) and not _told(s, slot):
            s.publish("home", str(slot), None, "nobody has its data any more")
    want = s.wants[app].services.get(service) if app in s.wants else None
    if want is None or not s.stays_with_data(app, want.service):
        return
    for slot in slots:
        home = s.first_home.get(slot, "")
        if home == s.me and slot not in s.unseen_then:
            before = _word(s, slot, s.me) == s.me  # from an earlier life: whoever was down then was down long ago
            unseen = (node for node in s.known.nodes if node != s.me and not s.presence.is_up(node))
            s.unseen_then[slot] = frozenset(() if before else unseen)
        if home and s.keeps_home(slot, KEEPERS):
            s.publish("home", str(slot), Home(node=home), "this node knows its data to be there")
