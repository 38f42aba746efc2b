"""For all tests: the same examples in each run, and under `make` no test left out for want of a program."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Examples that differ are for `make fuzz`; how long one takes says how busy this machine is.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# A shell's background job is born deaf to Ctrl-C, and its children with it: what a test interrupts would go on.
signal.signal(signal.SIGINT, signal.default_int_handler)

MAY_BE_LEFT_OUT = ("other users", "every user", "too busy", "machine code")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SKERRY_ALL_TESTS, whose setter has installed all that tests call, a skip for want of it is a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SKERRY_ALL_TESTS") and not os.geteuid():
        why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in why for words in MAY_BE_LEFT_OUT):
            report.outcome = "failed"
            report.longrepr = f"left out though all that it needs should be here: {why}"
    return report
