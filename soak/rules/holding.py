"""Section 5: one holder, rebalancing, data, health, rollouts."""

from __future__ import annotations

from soak.rules.rule import Rule

STORY = "core/test_stories.py::test_the_story_goes_as_it_is_written"

HOLDING = (
    # --- one holder ---------------------------------------------------------------------------------------------------
    Rule(
        "one-holder-by-rank",
        "5, claims: the best-ranked claim that is witnessed healthy holds the slot.",
        "core/standing.py",
        "claimants.sort(key=lambda c: (*_merit(s, slot, want, c), c.rank, c.node))",
        "claimants.sort(key=lambda c: (*_merit(s, slot, want, c), -c.rank, c.node))",
        ("core/test_cluster.py::test_a_healed_partition_leaves_no_gap_and_no_double_after_a_second[0]",),
    ),
    Rule(
        "healthy-before-rank",
        "5, claims: one that is not healthy holds no slot, whatever its rank, also for routes and names.",
        "core/standing.py",
        "    return not claimant.done, bool(",
        "    return False, bool(",
        (f"{STORY}[rebalancing]",),
    ),
    Rule(
        "loser-stops-when-winner-is-well",
        "5, claims: a loser stops only when the winner is healthy.",
        "core/deciding.py",
        "    winner = standing.winner\n    own = next(",
        "    winner = min(standing.claimants, key=lambda c: c.rank, default=None)\n    own = next(",
        (f"{STORY}[rebalancing]",),
    ),
    Rule(
        "rebalancing-improves",
        "5, claims: rebalancing only ever improves ranks.",
        "core/rebalance.py",
        "if own is None or own >= holder.rank or ahead(",
        "if own is None or ahead(",
        ("core/test_node.py::test_a_node_takes_no_slot_from_a_better_one_that_holds_it_well",),
    ),
    Rule(
        "rebalancing-one-at-a-time",
        "5, claims: rebalancing moves one slot of a service at a time.",
        "core/rebalance.py",
        "        if index < slot.index and _improvable(s, other, want):",
        "        if False:",
        (f"{STORY}[rebalancing]",),
    ),
    # --- data and images ----------------------------------------------------------------------------------------------
    Rule(
        "home-of-data-counts",
        "5, data: a slot with a volume is nobody's but the node's that has it.",
        "core/standing.py",
        "        if home and node not in home:\n            continue",
        "        if False:\n            continue",
        (
            "core/test_homes.py::"
            "test_a_home_of_a_worse_rank_keeps_its_slot_from_a_liar_of_a_better_one_over_a_reboot_of_all",
        ),
    ),
    Rule(
        "data-is-waited-for",
        "5, data: a slot with a volume waits for the node that has it.",
        "core/deciding.py",
        "    if standing.home and s.me not in standing.home:\n        s.whys[slot]",
        "    if False:\n        s.whys[slot]",
        (f"{STORY}[data_waits]",),
    ),
    Rule(
        "disposable-data-keeps-nothing",
        "5, data: a slot whose volume the app calls disposable does not wait for the node that has it.",
        "core/situation.py",
        "return body.volumes if body is not None else {}",
        "return {}",
        (
            "core/test_homes.py::test_a_slot_of_a_lost_host_begins_empty_elsewhere_if_its_volume_is_disposable_and_waits_if_it_is_not",
        ),
    ),
    Rule(
        "three-keep-the-images",
        "5, data: the first three nodes of the order for the service's name keep its images.",
        "core/timing.py",
        "image_keepers: int = 3",
        "image_keepers: int = 1",
        ("core/test_cluster.py::test_the_first_three_of_a_services_order_keep_its_image_whoever_runs_it",),
    ),
    # --- health -------------------------------------------------------------------------------------------------------
    Rule(
        "two-witnesses-against-the-owner",
        "5, health: against its owner a slot is unhealthy when both of two, or most of three, witnesses say so.",
        "core/health.py",
        "if against >= 2 and against * 2 > len(witnesses):",
        "if against >= 1:",
        ("core/test_rules.py::test_two_of_two_witnesses_overrule_the_owner_and_one_does_not",),
    ),
    Rule(
        "most-of-the-witnesses",
        "5, health: fewer than most of the witnesses change nothing.",
        "core/health.py",
        "if against >= 2 and against * 2 > len(witnesses):",
        "if against >= 2:",
        ("core/test_rules.py::test_two_of_two_witnesses_overrule_the_owner_and_one_does_not",),
    ),
    Rule(
        "the-owners-no-holds",
        "5, health: witnesses make nothing healthy that its owner calls unhealthy.",
        "core/health.py",
        "    if not owner:",
        "    if owner is None:",
        ("core/test_rules.py::test_witnesses_never_make_healthy_what_its_owner_does_not",),
    ),
    Rule(
        "moves-if-others-are-well",
        "5, health: a slot moves for bad health only if others of that version are well.",
        "core/standing.py",
        "        if not s.others_well(slot, mark.spec):",
        "        if False:",
        ("core/test_cluster.py::test_a_slot_does_not_move_for_bad_health_while_no_other_of_its_version_is_well",),
    ),
    # --- rollout ------------------------------------------------------------------------------------------------------
    Rule(
        "fewer-than-parallelism",
        "5, rollout: fewer than `parallelism` of the slots of lower number may be not yet done.",
        "core/rollout.py",
        "    if len(waiting) < parallelism:",
        "    if len(waiting) <= parallelism:",
        ("core/test_rules.py::test_a_slot_moves_only_when_fewer_than_parallelism_before_it_are_not_done",),
    ),
    Rule(
        "lower-slots-go-first",
        "5, rollout: a slot waits for those of lower number.",
        "core/turns.py",
        "want) for index in numbers if index < slot.index]\n    if (early",
        "want) for index in numbers if index < 0]\n    if (early",
        (f"{STORY}[an_update]",),
    ),
    Rule(
        "delay-between-slots",
        "5, rollout: the next goes `delay` after the one before is witnessed healthy.",
        "core/rollout.py",
        "        elif now_s < slot.done_s + delay_s:",
        "        elif False:",
        ("core/test_rules.py::test_the_delay_counts_from_when_the_one_before_was_well",),
    ),
    Rule(
        "two-nodes-make-a-verdict",
        "5, rollout: one node of several on which a version failed is no verdict.",
        "core/rollout.py",
        "return len(failed_on) >= 2 or",
        "return len(failed_on) >= 1 or",
        (
            "core/test_rules.py::test_a_version_fails_on_two_nodes_or_on_the_only_candidate",
            f"{STORY}[one_sick_machine]",
        ),
    ),
    Rule(
        "the-only-candidate",
        "5, rollout: a version that failed on the only candidate has failed.",
        "core/rollout.py",
        "(len(failed_on) == 1 and bool(candidates) and all(n in failed_on for n in candidates))",
        "False",
        (
            "core/test_rules.py::test_a_version_fails_on_two_nodes_or_on_the_only_candidate",
            f"{STORY}[only_one_candidate]",
        ),
    ),
    Rule(
        "others-may-be-candidates",
        "5, rollout: one failure is a verdict only where nobody else could run the version, those that are down counted.",
        "core/verdicts.py",
        "[n for n in s.eligible(app, service) if s.is_active(n) and n not in declined]",
        "[n for n in s.eligible(app, service) if s.is_active(n) and n not in declined and not s.presence.is_down(n)]",
        ("core/test_cluster.py::test_one_node_alone_does_not_condemn_a_version_for_the_others",),
    ),
    Rule(
        "most-of-the-holders-say-it",
        "5, rollout: a verdict whose evidence one hasn't seen counts when more than half of the holders say it.",
        "core/verdicts.py",
        "    if len(electorate & set(said)) * 2 > len(electorate):",
        "    if said:",
        ("core/test_siege.py::test_one_that_holds_a_services_only_slot_does_not_turn_the_whole_app_back",),
    ),
    Rule(
        "tolerated-failures",
        "5, rollout: as many slots may fail as `max_failure_ratio` lets before a verdict.",
        "core/failures.py",
        "    too_many = len(failed) > tolerated(",
        "    too_many = len(failed) >= tolerated(",
        ("core/test_rollouts.py::test_a_share_may_fail_before_anything_follows",),
    ),
    Rule(
        "tolerated-slots-hold-up-nobody",
        "5, rollout: a slot whose failure is tolerated does not hold up the next.",
        "core/turns.py",
        "    tolerates = goes_on or (update",
        "    tolerates = goes_on or (False and update",
        ("core/test_rollouts.py::test_a_slot_whose_failure_is_tolerated_does_not_hold_up_the_next",),
    ),
    Rule(
        "the-fallback-is-wanted",
        "5, rollout: after a verdict every node turns back to the release named as the fallback.",
        "core/versions.py",
        "        services=back if reason else services,",
        "        services=services,",
        (
            "core/test_versions.py::test_turning_back_takes_the_app_document_too_but_keeps_the_newest_number_of_replicas",
        ),
    ),
    Rule(
        "the-fallback-by-hash",
        "5, rollout: the fallback is the release whose hash the newest names, no other.",
        "core/knowledge.py",
        "return self.older.get(path, {}).get(digest)",
        "return next(iter(self.older.get(path, {}).values()), None)",
        ("core/test_versions.py::test_older_documents_are_kept_up_to_a_bound_and_never_the_named_one_goes",),
    ),
)
