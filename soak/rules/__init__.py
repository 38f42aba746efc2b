"""The rules of design.md, sections 5 and 6, each with a way to break it and the tests that have to notice: data for soak.mutations."""

from __future__ import annotations

from soak.rules.deciding import DECIDING
from soak.rules.exclusive import EXCLUSIVE
from soak.rules.holding import HOLDING
from soak.rules.rule import Rule
from soak.rules.trust import TRUST

__all__ = ["RULES", "Rule"]

RULES: tuple[Rule, ...] = (*DECIDING, *HOLDING, *EXCLUSIVE, *TRUST)
