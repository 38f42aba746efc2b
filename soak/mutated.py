"""The inner program of soak.mutations: runs tests against the package on PYTHONPATH and says what failed.

A program by itself, started with -P: nothing but the copied tree may be imported. Arguments: where to write, that package's
folder, tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skerry


class Watcher:
    def __init__(self) -> None:
        self.ran: dict[str, bool] = {}  # node id -> whether it failed
        self.failures: list[dict[str, Any]] = []
        self.uncollected: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if report.when == "call" or report.failed:
            self.ran[item.nodeid] = report.failed
        if report.failed and call.excinfo is not None:
            kinds = [kind.__name__ for kind in call.excinfo.type.__mro__]
            said = next(iter(str(call.excinfo.value).splitlines()), "")
            self.failures.append({"test": item.nodeid, "when": report.when, "kinds": kinds, "said": said[:120]})
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.uncollected.append(f"{report.nodeid}: {str(report.longrepr)[-200:]}")


def main(out: str, package: str, *tests: str) -> int:
    watcher, found = Watcher(), str(Path(skerry.__file__).parent)
    ended = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[watcher]) if found == package else 0
    told = {
        "package": found,
        "ended": int(ended),
        "ran": watcher.ran,
        "failures": watcher.failures,
        "uncollected": watcher.uncollected,
    }
    Path(out).write_text(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
