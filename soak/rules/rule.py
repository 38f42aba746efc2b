"""What a rule to be broken is. Values only."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """`rule`: in one sentence, with its section of design.md. `file`: below src/skerry; `before` stands there exactly once, and with
    `after` instead of it the rule is broken. `tests`: below tests/; each of them has to fail then.
    """

    name: str
    rule: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
