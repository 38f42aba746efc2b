"""Section 5: order, claims, presence, elasticity."""

from __future__ import annotations

from soak.rules.rule import Rule

STORY = "core/test_stories.py::test_the_story_goes_as_it_is_written"

DECIDING = (
    # --- order --------------------------------------------------------------------------------------------------------
    Rule(
        "order-salt",
        "5, order: the hash is over the enrolment's path and a salt that its signer chose.",
        "core/order.py",
        "hashlib.sha256(_salted(path, node.salt) + name.encode())",
        'hashlib.sha256(_salted(path, "") + name.encode())',
        ("core/test_rules.py::test_the_order_of_a_known_cloud_never_changes",),
    ),
    Rule(
        "order-weight",
        "5, order: a node gets slots by the weight of its enrolment.",
        "core/order.py",
        "return node.weight / -math.log(share) if",
        "return 1 / -math.log(share) if",
        ("core/test_rules.py::test_a_heavier_node_of_a_zone_gets_its_share",),
    ),
    Rule(
        "zones-first",
        "5, order: slot i begins at zone i mod Z.",
        "core/order.py",
        "[turn % len(groups)]",
        "[0]",
        (
            "core/test_rules.py::test_slot_i_begins_at_zone_i_mod_z_and_the_next_ranks_are_in_other_zones",
            f"{STORY}[zones]",
        ),
    ),
    # --- claims -------------------------------------------------------------------------------------------------------
    Rule(
        "claim-by-rank",
        "5, claims: rank k claims after k times the delay, if nobody has.",
        "core/claims.py",
        "+ rank * delay_s  #",
        "+ 0 * delay_s  #",
        ("core/test_rules.py::test_a_node_claims_in_its_turn_and_not_before",),
    ),
    Rule(
        "claims-what-fits",
        "5, claims: a node never claims what does not fit.",
        "core/claims.py",
        "    if lacks:\n        return DeclineIt(lacks)",
        "    if False:\n        return DeclineIt(lacks)",
        ("core/test_rules.py::test_a_slot_without_room_is_never_claimed", f"{STORY}[no_room]"),
    ),
    Rule(
        "room-is-counted",
        "5, claims: what is reserved already is no room.",
        "core/claims.py",
        "free_bytes = self.memory_bytes - self.used_memory_bytes",
        "free_bytes = self.memory_bytes",
        ("core/test_rules.py::test_a_slot_without_room_is_never_claimed",),
    ),
    Rule(
        "decline-lets-the-next-go",
        "5, claims: after a decline the next goes without waiting.",
        "core/standing.py",
        "            or (isinstance(decline, Decline) and decline.spec == want.spec)\n"
        "            or s.barred_until(standing.slot, node)",
        "            or s.barred_until(standing.slot, node)",
        ("core/test_cluster.py::test_where_all_before_it_have_no_room_a_node_claims_at_once",),
    ),
    Rule(
        "down-counts-as-declined",
        "5, claims: a node known to be down counts as having declined.",
        "core/standing.py",
        "            s.presence.is_down(node)\n            or not s.is_active(node)",
        "            not s.is_active(node)",
        (f"{STORY}[a_machine_dies]",),
    ),
    Rule(
        "bars-double",
        "5, claims: each failure bars a node for twice as long.",
        "core/bars.py",
        "self._first_s * 2.0 **",
        "self._first_s * 1.0 **",
        ("core/test_rules.py::test_each_failure_bars_for_twice_as_long_up_to_a_limit",),
    ),
    Rule(
        "drops-are-barred",
        "5, claims: who grabs and drops a slot is barred from it.",
        "core/gathering.py",
        "        s.drops.bar(slot, node, s.now)",
        "        pass",
        ("core/test_siege.py::test_who_grabs_and_drops_is_soon_barred",),
    ),
    Rule(
        "claims-are-synced",
        "5, claims: a claim is synced before anything starts under it.",
        "core/deciding.py",
        "Claim(spec=want.spec, image=want.image, rank=rank, reason=reason), reason, sync=True)",
        "Claim(spec=want.spec, image=want.image, rank=rank, reason=reason), reason, sync=False)",
        ("core/test_node.py::test_a_claim_is_published_before_its_container_starts",),
    ),
    Rule(
        "asks-its-neighbours-first",
        "5, claims: a node that starts asks its neighbours before it claims.",
        "core/situation.py",
        "        return alone if linked is None else min(alone, linked + self.timing.resume_link_s)",
        "        return self.boot_s",
        ("core/test_node.py::test_a_node_claims_nothing_before_a_neighbour_told_it_what_is_held",),
    ),
    Rule(
        "new-nodes-catch-up-first",
        "6, past: a node that holds nothing yet asks what holds before its first claim.",
        "core/situation.py",
        "        if self.new:\n            return math.inf\n",
        "",
        (
            "core/test_node.py::"
            "test_a_node_whose_records_are_new_claims_nothing_before_it_has_caught_up_however_long_that_takes",
        ),
    ),
    Rule(
        "others-slots-after-20-s",
        "5, claims: slots that another held are taken over only after 20 s up.",
        "core/timing.py",  # two places keep to it, each by itself
        "takeover_after_s: float = 20.0",
        "takeover_after_s: float = 0.0",
        ("core/test_node.py::test_right_after_its_start_a_node_leaves_the_slots_of_others_alone",),
    ),
    # --- presence -----------------------------------------------------------------------------------------------------
    Rule(
        "disk-is-no-sign-of-life",
        "5, claims: what was loaded from disk is no sign that anybody else lives.",
        "core/presence.py",
        "        if from_disk or node == self.me:",
        "        if node == self.me:",
        ("core/test_presence.py::test_what_the_disk_held_is_no_sign_of_life",),
    ),
    Rule(
        "newer-up-ends-lost",
        "5, presence: a newer `up`, by any path, proves life whatever votes say.",
        "core/presence.py",
        " and (vote.boot, vote.beat) >= seen.beat",
        "",
        ("core/test_presence.py::test_a_vote_counts_only_while_no_newer_up_came_and_the_voter_lives",),
    ),
    Rule(
        "votes-of-the-living",
        "5, presence: a vote counts only while its voter's own `up` is fresh.",
        "core/presence.py",
        " and self.is_up(voter) and",
        " and",
        ("core/test_presence.py::test_a_vote_of_a_node_that_is_down_counts_for_nothing",),
    ),
    Rule(
        "down-after-40-s",
        "5, presence: a node is down when no newer `up` came for 40 s, whatever watchers say.",
        "core/presence.py",
        "at, why = seen.beat_s + timing.silent_s, f",
        "at, why = seen.beat_s + 10 * timing.silent_s, f",
        (
            "core/test_presence.py::test_a_liar_that_keeps_silent_about_a_dead_node_delays_it_to_forty_seconds_at_most",
            "core/test_siege.py::test_a_dead_machine_that_a_captured_one_calls_alive_is_missed_after_40_seconds",
        ),
    ),
    Rule(
        "votes-need-a-probe",
        "5, presence: a missed node is down only when a probe through another failed too.",
        "core/presence.py",
        "        if against:\n            return",
        "        if True:\n            return",
        ("core/test_presence.py::test_a_node_that_another_reaches_is_not_down",),
    ),
    # --- elasticity ---------------------------------------------------------------------------------------------------
    Rule(
        "wishes-median",
        "5, elasticity: nodes take the median of the keepers' wishes.",
        "core/scaling.py",
        "sorted(wishes)[len(wishes) // 2]",
        "sorted(wishes)[-1]",
        (
            "core/test_scaling.py::"
            "test_a_minority_of_keepers_moves_the_median_to_no_number_that_honest_ones_would_not_wish",
        ),
    ),
    Rule(
        "of-two-wishes-the-higher",
        "5, elasticity: of two wishes the higher counts.",
        "core/scaling.py",
        "sorted(wishes)[len(wishes) // 2]",
        "sorted(wishes)[(len(wishes) - 1) // 2]",
        ("core/test_wishing.py::test_one_of_two_can_raise_it_to_the_bound_and_never_lower_it",),
    ),
    Rule(
        "wishes-are-clamped",
        "5, elasticity: wishes are clamped to the app's min and max.",
        "core/wishing.py",
        "asked, before = min(wanted, high), s.",
        "asked, before = wanted, s.",
        ("core/test_wishing.py::test_one_of_two_can_raise_it_to_the_bound_and_never_lower_it",),
    ),
    Rule(
        "only-keepers-wish",
        "5, elasticity: only the wishes of keepers that policy names count.",
        "core/wishing.py",
        "for node in keepers(s) if isinstance(said := told.get(node), Wish)}",
        "for node in told if isinstance(said := told.get(node), Wish)}",
        (
            "core/test_wishing.py::"
            "test_only_keepers_wish_and_when_none_lives_the_last_number_stands_and_then_slowly_the_apps",
        ),
    ),
)
