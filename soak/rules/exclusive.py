"""Section 5: exclusive slots."""

from __future__ import annotations

from soak.rules.rule import Rule

STORY = "core/test_stories.py::test_the_story_goes_as_it_is_written"

EXCLUSIVE = (
    Rule(
        "voter-silent-after-start",
        "5, exclusive: a voter grants nothing for the length of a lease after its start.",
        "core/leases/voter.py",
        "        if now_s < self._silent_s:",
        "        if False:",
        ("core/test_leases.py::test_after_its_start_a_voter_says_nothing_for_the_length_of_a_lease",),
    ),
    Rule(
        "granted-when-it-is-on-disk",
        "5, exclusive: what a voter grants is on its disk before anybody hears of it.",
        "agent/door.py",
        "        elif binding:  # before",
        "        elif False:  # before",
        (
            "core/test_granting.py::"
            "test_a_grant_that_anybody_has_heard_of_survives_a_power_cut_that_takes_all_that_was_not_synced",
        ),
    ),
    Rule(
        "nothing-counts-before-it-is-on-disk",
        "5, exclusive: a grant counts for its own voter only when it has come back from the disk.",
        "core/leases/desk.py",
        's.bind("grant", lease,',
        's.publish("grant", lease,',
        ("core/test_granting.py::test_a_voter_whose_disk_is_full_grants_nothing_and_says_so",),
    ),
    Rule(
        "renewed-only-whom-the-disk-names",
        "5, exclusive: right after its start a voter renews only whom its own disk names.",
        "core/leases/desk.py",
        "and not (silent and self._kept.get(lease) != own)",
        "and True",
        ("core/test_granting.py::test_voters_whose_disks_have_lost_it_renew_nobody_for_the_length_of_a_lease",),
    ),
    Rule(
        "voter-counts-longer",
        "5, exclusive: a voter counts D(1 + 2 rho), for its clock may be the fast one.",
        "core/leases/voter.py",
        "self.length_s = lease_s * (1 + 2 * rho)",
        "self.length_s = lease_s",
        ("core/test_leases.py::test_what_is_promised_is_nobody_elses_until_it_has_run_out",),
    ),
    Rule(
        "nothing-to-another",
        "5, exclusive: a voter grants nothing to another while its promise holds.",
        "core/leases/voter.py",
        "        if own is not None and own.holder != case.asker and not case.own_freed:",
        "        if False:",
        ("core/test_leases.py::test_what_is_promised_is_nobody_elses_until_it_has_run_out",),
    ),
    Rule(
        "higher-numbers-only",
        "5, exclusive: a voter grants only a higher number.",
        "core/leases/voter.py",
        "        if case.number <= highest:",
        "        if False:",
        ("core/test_leases.py::test_a_number_that_was_granted_is_never_granted_to_another_nor_a_lower_one",),
    ),
    Rule(
        "holder-counts-shorter",
        "5, exclusive: a holder counts D(1 - 2 rho), less the stop time.",
        "core/leases/holder.py",
        "self._length_s = lease_s * (1 - 2 * rho) - stop_s",
        "self._length_s = lease_s * (1 - 2 * rho)",
        ("core/test_leases.py::test_a_holder_counts_from_before_it_asked_less_what_a_kill_takes",),
    ),
    Rule(
        "holder-counts-from-before-it-asked",
        "5, exclusive: a holder counts from before it asked what was answered, not from its newest ask.",
        "core/leases/holder.py",
        "            voter: self._asked[promise.turn]\n",
        "            voter: self.asked_s\n",
        ("core/test_leases.py::test_a_holder_counts_from_before_it_asked_less_what_a_kill_takes",),
    ),
    Rule(
        "more-than-half",
        "5, exclusive: a lease needs more than half of the voters.",
        "core/leases/quorum.py",
        "    return 2 * sum(voter in yes",
        "    return 3 * sum(voter in yes",
        ("core/test_leases.py::test_more_than_half_is_enough_and_while_voters_change_of_old_and_new",),
    ),
    Rule(
        "old-and-new-voters",
        "5, exclusive: while voters change, more than half of old and of new have to agree.",
        "core/leases/quorum.py",
        "return bool(self.now) and all(",
        "return bool(self.now) and any(",
        ("core/test_leases.py::test_more_than_half_is_enough_and_while_voters_change_of_old_and_new",),
    ),
    Rule(
        "promises-of-this-life",
        "5, exclusive: a promise made to an earlier life of the holder counts for nothing.",
        "core/leases/holder.py",
        "            if promise.life == self.life and promise.turn >= mine.turn",
        "            if promise.turn >= mine.turn",
        ("core/test_leases.py::test_a_promise_of_anything_else_counts_for_nothing",),
    ),
    Rule(
        "no-start-without-a-lease",
        "5, exclusive: nothing of an exclusive slot starts without its lease.",
        "core/leases/slots.py",
        '    return s.leases.want(s, lease) or f"waits',
        '    return s.leases.want(s, lease) and f"waits',
        (f"{STORY}[an_exclusive_slot]",),
    ),
    Rule(
        "lower-numbers-are-dropped",
        "5, exclusive: hosts drop the traffic of a container with a lower number.",
        "core/leases/slots.py",
        "(node != lease.node or state.fencing < lease.number)",
        "False",
        ("core/test_exclusive.py::test_a_machine_frozen_whole_and_thawed_is_let_through_by_nobody",),
    ),
    Rule(
        "the-guard-ends-it",
        "5, exclusive: at the end of a lease the guard kills, whatever the agent does.",
        "guarding/table.py",
        "if not each.ended_s and each.kept.until_s <= now_s]",
        "if not each.ended_s and each.kept.until_s <= now_s - 60]",
        ("guarding/test_table.py::test_who_is_not_renewed_ends_once_and_no_later_word_brings_it_back",),
    ),
    Rule(
        "ended-is-ended",
        "5, exclusive: what the guard has ended no later word of an agent brings back.",
        "guarding/table.py",
        "ended_s=before.ended_s if before is not None else 0.0",
        "ended_s=0.0",
        ("guarding/test_table.py::test_who_is_not_renewed_ends_once_and_no_later_word_brings_it_back",),
    ),
    Rule(
        "the-guard-keeps-whom-it-was-not-told-of",
        "5, exclusive: a stopped or new agent frees nothing that still runs.",
        "guarding/table.py",
        "            if id not in new and runs(each.kept):",
        "            if False:",
        ("guarding/test_table.py::test_an_agent_that_knows_nothing_yet_frees_nobody_who_runs",),
    ),
)
