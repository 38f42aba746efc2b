"""Steps that are run from the command line by themselves: their figures, what went wrong, and what they left, whatever happens."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from soak.cloud import ROOT


class Steps(Protocol):
    work: Path
    figures: dict[str, Any]

    def run(self) -> None: ...

    def close(self) -> list[str]:
        """Take everything down; what is left behind on this machine."""
        ...


def main(make: Callable[[str, Console], Steps], *, prog: str, words: str | None, name: str, held: str) -> int:
    """`name`: of the lab, unless another is said, and of the file of figures in build/. `held`: what is said when all went well."""
    parser = argparse.ArgumentParser(prog=prog, description=words)
    parser.add_argument("--name", default=name, help="of the lab")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started it in the background
    console = Console(highlight=False, soft_wrap=True)
    steps = make(options.name, console)
    wrong = ""
    try:
        steps.run()
    except KeyboardInterrupt:
        wrong = "interrupted"
    except Exception as error:  # the figures until then, and the clean-up, matter as much
        wrong = f"{type(error).__name__}: {error}"
        (steps.work / "wrong").write_text(wrong)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        left = steps.close()
    figures = {**steps.figures, "wrong": wrong, "leftovers": left}
    (ROOT / "build" / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    console.print(f"[red]{wrong}[/]" if wrong else f"[green]{held}[/]", markup=True)
    return 1 if wrong or left else 0
