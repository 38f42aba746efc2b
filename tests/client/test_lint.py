"""An image with a shell on its way to real agents: an operator learns it before anything is signed, a thief with CI's key from
every host; what operators allow runs, and everybody sees why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside
from client.test_roles import Person, ann, ci, deploy, held, person, small
from image.memory import elf_of
from skerry.cli.main import run
from skerry.client.images import LocalImages

__all__ = ["ann", "ci", "person", "small"]  # fixtures
pytestmark = pytest.mark.usefixtures("quick_age")
SHELL = elf_of((), "/lib64/ld-linux-x86-64.so.2", calls=("getopts", "unset", "umask", "export"))
ALLOW = "    x-skerry: {allow: {shell: the report calls sh}}\n"
WHY = "app has the commands of a shell"


def heads(small: Aside) -> Any:
    return small.look(lambda: small.cloud.agents["vps-1"].trusted.heads())


def runs(small: Aside) -> dict[str, list[str]]:
    return small.look(lambda: {name: sorted(runtime.disk.specs) for name, runtime in small.cloud.runtimes.items()})


def events(small: Aside, kind: str) -> list[str]:
    """What hosts have noted of this kind about web."""
    rows = [row for agent in small.cloud.agents.values() for row in small.look(lambda a=agent: a.events.tail(500))]  # type: ignore[misc]
    return [row.reason for row in rows if row.kind == kind and row.subject.startswith("web.web")]


def test_an_operator_learns_it_before_anything_is_signed(small: Aside, ann: Person) -> None:
    before = heads(small)
    error = deploy(ann, SHELL, code=1)
    assert (error["code"], error["type"]) == ("image-refused", "final")
    assert error["what"] == "the image of web.web was refused" and error["why"] == WHY
    assert "x-skerry: allow: {shell: why it is needed}" in error["fix"]
    assert ann.run("deploy", "compose.yaml", "--dry-run", code=1)["code"] == "image-refused"
    assert heads(small) == before and runs(small) == {"vps-1": [], "vps-2": []}


def test_every_host_refuses_what_a_stolen_ci_key_has_released(
    small: Aside, ann: Person, ci: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ann.run("ps")[0]["image"]
    served = runs(small)
    assert deploy(ci, SHELL, code=1)["code"] == "image-refused", "an honest CI learns it as well"
    monkeypatch.setattr(LocalImages, "vet", lambda *args: None)  # a thief's client asks no lint
    error = deploy(ci, SHELL, code=1)
    assert error["code"] == "rollout-failed" and f"its image was refused: {WHY}" in error["why"]
    assert held(small, "release/web").version == 2, "its signature is good"
    rows = ann.run("ps")
    assert all(row["healthy"] and row["image"] == good and WHY in row["verdict"] for row in rows) and len(rows) == 2
    assert runs(small) == served, "no container was stopped or started for it"
    assert any(WHY in why for why in events(small, "declined")) and any(
        WHY in why for why in events(small, "turned-back")
    )
    # A host that has not got the image yet may claim before it knows; then all know.
    assert len(events(small, "claimed")) <= 4 and len(events(small, "declined")) <= 4, "no storm"
    assert WHY in str(ann.run("explain", "web"))
    error = deploy(ci, SHELL, more=ALLOW, code=3)
    assert error["code"] == "not-for-this-key" and "services.web.allow" in error["why"]


def test_what_operators_allow_runs_and_ps_says_why(
    small: Aside, ann: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(ann, SHELL, more=ALLOW)
    rows = ann.run("ps")
    assert all(row["healthy"] and row["allows"] == {"shell": "the report calls sh"} for row in rows)
    run(["ps"])
    assert "allows shell: the report calls sh" in capsys.readouterr().out
    assert len(list((small.cloud.directory / "vps-1" / "state" / "lint").iterdir())) == 1, "the verdict is remembered"


def test_a_first_version_that_is_refused_waits_without_a_storm(
    small: Aside, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as thief:
        thief.setattr(LocalImages, "vet", lambda *args: None)
        error = deploy(ann, SHELL, code=1)
    assert error["code"] == "rollout-failed" and WHY in error["why"] and "no version before it" in error["why"]
    assert runs(small) == {"vps-1": [], "vps-2": []}
    assert len(events(small, "declined")) <= 4
    deploy(ann, b"an app without a shell")


def test_a_host_that_starts_anew_remembers_what_it_refused(
    small: Aside, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalImages, "vet", lambda *args: None)
    deploy(ann, SHELL, code=1)
    monkeypatch.setattr("skerry.image.lint.verdicts.look", lambda *args: pytest.fail("it was judged before"))
    small.run(small.cloud.stop())
    small.run(small.cloud.start())
    small.wait(
        "it is refused again",
        lambda: all(row.failed for a in small.cloud.agents.values() for row in a.loop.core.rows()),
    )
    assert runs(small) == {"vps-1": [], "vps-2": []}
    assert Path("web.tar").exists()
