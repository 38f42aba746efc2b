"""docs/debugging.md as far as it can be held without a cloud: what it shows is what `python -m soak.debugging` acts out."""

from __future__ import annotations

import re

from soak.debugging import PAGE, SITUATIONS
from soak.page import Act, Page, Show, Until, normal

from skerry.client.compose import parse


def test_there_are_twenty_situations_and_each_command_shows_what_it_prints() -> None:
    page = Page.read(PAGE)
    assert page.text() == PAGE.read_text(), "what is read is written again as it was"
    assert [situation.title.partition(".")[0] for situation in page.situations] == [str(n) for n in range(1, 21)]
    for situation in page.situations:
        shown = [step for step in situation.steps if isinstance(step, Show)]
        assert shown and all(step.printed.strip() for step in shown), situation.title
        for step in situation.steps:
            if isinstance(step, Until):
                re.compile(step.regex)
        (begun,) = {type(situation.steps[0])}
        assert begun is Act


def test_every_situation_has_its_file_and_every_file_its_situation() -> None:
    named = {name for situation in Page.read(PAGE).situations for name in situation.files}
    assert named == {file.stem for file in SITUATIONS.glob("*.yaml")}
    for file in SITUATIONS.glob("*.yaml"):
        parse(file.read_text(), environ={}, name="app")
    used = "\n".join(file.read_text() for file in SITUATIONS.glob("*.yaml"))
    assert all(app.name in used for app in SITUATIONS.glob("*/*.py"))


def test_words_are_held_and_times_amounts_and_places_are_not() -> None:
    shown = "06:49:38.050 web/0  2.5 MiB  vps-1 10.77.2.1:58138 sha256:402cf5a27595 100.0%  ▁▂▃\n" * 2
    later = "2026-11-28 07:01:00.001 web/0 312 KiB vps-3 10.77.1.9:8000 sha256:aaaaaaaaaaaa 7.1%     ▁\n"
    assert normal(shown) == normal(later)
    assert normal(shown) != normal(shown.replace("web/0", "web/1"))
    assert normal("exit code 1") != normal("exit code 2")
