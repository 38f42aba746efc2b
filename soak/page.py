"""How docs/debugging.md is read and written: situations, what has to be acted before a command can show anything, and what it prints.

## A title                                  a situation begins
<!-- deploy leak -->                        soak/situations/leak.yaml is deployed
<!-- until skerry ps leak ~ running -->     waited for: these words (a regular expression) in what it prints
<!-- kill vps-3 --> <!-- boot vps-3 -->     a host loses its power, and is back
```console                                  each line that begins with "$ " is typed; what follows is what it printed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ACT = re.compile(r"<!-- (\w+) ([\w -]+?) -->")
UNTIL = re.compile(r"<!-- until (.+?) ~ (.+?) -->")


@dataclass
class Act:
    verb: str
    words: list[str]


@dataclass
class Until:
    command: str
    regex: str


@dataclass
class Show:
    command: str
    printed: str = ""


@dataclass
class Situation:
    title: str
    steps: list[Act | Until | Show] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """Of soak/situations, without .yaml, that are deployed in it."""
        acted = [step.words[0] for step in self.steps if isinstance(step, Act) and step.verb == "deploy"]
        shown = " ".join(step.command for step in self.steps if isinstance(step, Show))
        return [*acted, *re.findall(r"skerry deploy (\S+)\.yaml", shown)]

    @property
    def apps(self) -> list[str]:
        """Each file is an app of its own name; NAME-SOMETHING is another version of it."""
        return list(dict.fromkeys(name.partition("-")[0] for name in self.files))


class Page:
    """Lines as they stand, and a Show for each command in them."""

    def __init__(self) -> None:
        self.situations: list[Situation] = []
        self._parts: list[str | Show] = []

    @classmethod
    def read(cls, path: Path) -> Page:
        page, show, inside = cls(), None, False
        for line in path.read_text().splitlines():
            if inside and line.startswith("$ "):
                show = Show(line[2:])
                page._parts.append(show)
                page.situations[-1].steps.append(show)
                continue
            if line.startswith("```"):
                inside, show = line == "```console", None
            elif show is not None:
                show.printed += line + "\n"
                continue
            elif line.startswith("## "):
                page.situations.append(Situation(line[3:]))
            elif match := UNTIL.fullmatch(line):
                page.situations[-1].steps.append(Until(match[1], match[2]))
            elif match := ACT.fullmatch(line):
                page.situations[-1].steps.append(Act(match[1], match[2].split()))
            page._parts.append(line)
        page.situations = [situation for situation in page.situations if situation.steps]
        return page

    def text(self) -> str:
        return "".join(f"{p}\n" if isinstance(p, str) else f"$ {p.command}\n{p.printed}" for p in self._parts)


# What differs from run to run, and says nothing.
VARYING = (
    (r"\d{4}-\d\d-\d\d[T ]", ""),
    (r"\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "TIME"),
    (r"sha256:[0-9a-f]{6,64}|\b[0-9a-f]{12,64}\b", "ID"),
    (r"\b\d+\.\d+\.\d+\.\d+\b", "IP"),
    (r"\bvps-\d\b", "HOST"),
    (r"(-\d+){3}\b", "-N"),  # of a container, after its slot
    (r"\b\d+(\.\d+)? ?(ms|µs|s|m|h|d|%|B|[KMGT]i?B?)(/s)?\b", "AMOUNT"),
    (r"\d+(\.\d+)? ?%", "AMOUNT"),
    (r"\b\d+\.\d+\b", "N"),
    (r"\b\d{2,}\b", "N"),
    (r"[▁▂▃▄▅▆▇█]+", "LINE"),
    (r"-{3,}", "---"),
    (r"[ \t]+", " "),
)  # fmt: skip


def normal(printed: str) -> str:
    """The words that must hold: without times, amounts, addresses, hosts (where a slot lands is the order's) and how wide columns are.

    Lines that are then the same as the one before them are one: how many clients are connected is chance.
    """
    for regex, word in VARYING:
        printed = re.sub(regex, word, printed)
    lines = [line.strip() for line in printed.strip().splitlines()]
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line != before or not line)
