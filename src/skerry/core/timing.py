"""Every waiting time of the deciding rules, in one place, each with what it buys. Values only."""

from __future__ import annotations

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a monotonic clock, unless a name says otherwise."""

    up_every_s: float = 1.0  # how often a node says that it lives
    claim_delay_s: float = 0.5  # rank k waits k times this: longer than a claim takes to arrive
    takeover_after_s: float = 20.0  # a node that just started leaves others' slots alone for so long
    restart_grace_s: float = 2.0  # an agent that said goodbye may be back by then: an upgrade moves nothing
    ask_again_s: float = 1.0  # between two questions whether somebody else reaches a missed node
    new_data_after_s: float = (
        5.0  # after start and first link: who has a slot's data has said so by then, on a slow line too
    )
    silent_s: float = 40.0  # without a newer `up` for so long a node is down, whatever watchers say
    bar_first_s: float = 8.0  # a failure bars a node from a slot; each further one for twice as long
    bar_most_s: float = 600.0
    forgiven_s: float = 30.0  # a slot held well for so long was not grabbed to be dropped
    start_limit_s: float = 60.0  # to become healthy, where the probe's start_period says nothing
    start_exits: int = 3  # more exits than this within the start limit: it can't run here
    backoff_first_s: float = 0.5  # before a container that ended is started again; doubles
    backoff_most_s: float = 30.0
    backoff_reset_s: float = 60.0  # well for so long: the next exit starts from backoff_first_s again
    running_is_well_s: float = 1.0  # a service without a probe is healthy when it has run for so long
    unwell_moves_s: float = 10.0  # once healthy and now not: its owner may mend it for so long
    unwell_restart_s: float = 15.0  # nobody took it: its owner starts it anew
    resume_link_s: float = 0.5  # after a start: a first neighbour has told what it knows by then
    resume_alone_s: float = 3.0  # after a start: nobody answers, so go on alone
    forget_image_s: float = (
        600.0  # an image that nothing refers to is kept so long: a deploy brings it before its documents
    )
    forget_after_start_s: float = (
        60.0  # of that at least so much in each life: neighbours may tell that something refers to it
    )
    forget_tools_s: float = 86_400.0  # the same of tools that operators have signed, from when they were last used here
    fetch_tools_s: float = (
        120.0  # tools that were asked for here are fetched, and kept whatever else needs room, for so long
    )
    fetch_retry_first_s: float = 1.0
    fetch_retry_most_s: float = 30.0
    mixed_wait_s: float = 0.2  # a newer app document than its release: the matching release may be under way
    superseded_wait_s: float = 0.5  # a rollout that takes over from another one begins when all nodes know of it
    image_keepers: int = 3  # nodes that keep every wanted image and the fallback's
    rank_all: int = (
        64  # of up to so many nodes every slot's whole order is made: in small clouds nothing is saved by less
    )
    link_everyone: int = 30  # up to so many nodes everyone links with everyone
    links: int = 10  # above that: so many each
    # Of leases (core/leases). A holder's host may lose its power right after a renewal: another starts the slot this long after.
    # An agent that starts anew has what is left of it: D(1 - 2 rho) - stop - D/4 at least, 3.7 s.
    lease_s: float = 5.5
    lease_rho: float = 0.01  # greatest relative error of a clock's rate
    lease_stop_s: float = 0.25  # so long before its lease ends a container is killed, for that takes a moment
    lease_least_s: float = 1.0  # nothing is started under a lease with less left
    lease_split_s: float = 0.3  # two asked at once and neither has enough voters: by then all their answers are there
    # Of keepers and the machines that they rent. What an operator decides (join_s, down_s, ...) stands in the pool.
    rent_look_s: float = 5.0  # so often a keeper asks itself how many machines are needed
    wish_step_s: float = 60.0  # a pool's wishes are kept in steps of at least this
    provider_limit_s: float = (
        60.0  # a call to a provider that has not ended by then is killed: nobody knows what it did
    )
    settle_s: float = 150.0  # so long after a create was begun it may still come to be, or be missing from lists
    list_again_s: float = 10.0  # between two looks at a machine on its way in or out
    sweep_s: float = 60.0  # between two looks at all that bears the cloud's tag
    provider_retry_first_s: float = 15.0  # after a provider's failure; doubles
    provider_retry_most_s: float = 900.0
    return_slack_s: float = 1800.0  # so long a provider may refuse to take a machine back before a ceiling is passed
    # Of alerts. For how long something must be wrong stands in the rules (core/alerting/rules.py), and in `alert/rules`.
    alert_look_s: float = 5.0
    alert_settle_s: float = 30.0  # after a start: by then the others have told what they know
    alert_adopt_s: float = 120.0  # after a start: what fires by others' word has fired before
    alert_turn_s: float = 30.0  # so long the next host waits for the one before it to have sent
    alert_gather_s: float = 5.0  # so long a letter waits for what else fires by its rule
    alert_beat_s: float = 60.0  # between two heartbeats to an outside URL
