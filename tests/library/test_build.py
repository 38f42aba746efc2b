"""`skerry image build`: stages, cache, plan, probe, JSON."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from library.conftest import Home
from skerry.client.trial import contract
from skerry.image.building.closure import Closure

pytestmark = pytest.mark.real

STAGES = ["lock", "build", "assemble", "closure", "pack", "lint", "probe", "sign"]


def test_json_says_what_is_in_the_image_and_how_each_stage_went(home: Home, project: Path) -> None:
    built = home("build", "-f", str(project / "compose.yaml"), "web", "--json").json
    assert built["image"] == "guestbook.web"
    assert built["digest"] == home.images.names["guestbook.web"]
    assert built["size_bytes"] > 30e6
    assert built["files"] > 1000
    assert built["executables"] == ["usr/bin/python3.11", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"]
    assert (built["shells"], built["suid"], built["findings"]) == ([], [], [])
    assert [stage["name"] for stage in built["stages"]] == STAGES
    assert {stage["name"] for stage in built["stages"] if stage["state"] != "cached"} == {"sign"}


def test_the_probe_saw_the_promises_kept_in_a_real_container(home: Home) -> None:
    images = home.images
    web, store = (images.origins.get(images.names[f"guestbook.{name}"]) for name in ("web", "store"))
    assert web is not None and web.probe is not None and store is not None and store.probe is not None
    assert {what for what, kept, _ in web.probe if kept} == {
        "user", "root", "tmp", "names", "locale", "zones", "authorities", "python", "program",
    }  # fmt: skip
    assert {what for what, kept, _ in store.probe if kept} == {
        "user", "root", "tmp", "names", "locale", "authorities", "program",
    }  # fmt: skip
    assert not list(images.trials.iterdir())


def test_an_image_that_breaks_a_promise_is_built_and_gets_no_name(
    home: Home, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL's link leads to a file that is not there: nothing but a look into the container shows it."""
    broken = project / "broken.yaml"
    broken.write_text((project / "compose.yaml").read_text().replace("services:", "name: broken\nservices:", 1))
    monkeypatch.setattr(
        "skerry.image.building.work._code", lambda: "another version, so that nothing is taken from the cache"
    )
    monkeypatch.setattr("skerry.image.building.rules.openssl.apply", _without_bundle)
    done = home("build", "-f", str(broken), "store", "--json", code=1).json
    assert done["error"]["code"] == "probe-failed"
    assert "0 certificate authorities" in done["error"]["why"]
    assert "broken.store" not in home.images.names


def _without_bundle(closure: Closure) -> None:
    closure.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/nowhere.crt")


def test_a_plan_changes_nothing_and_says_what_is_there(home: Home, project: Path, other: Home) -> None:
    shown = home("build", "-f", str(project / "compose.yaml"), "web", "--dry-run", "--json").json
    assert [row["stage"] for row in shown] == STAGES
    assert {row["state"] for row in shown[:-1]} == {"cached"}
    fresh = other("build", "-f", str(project / "compose.yaml"), "web", "--dry-run", "--json").json
    assert {row["state"] for row in fresh if row["stage"] != "build"} == {"to do"}
    assert other("ls", "--json").json == []


def test_a_folder_without_a_lock_file_gets_one_and_its_image_the_folders_name(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "LIVES_S", 60.0)  # a busy machine may take its time to start Python
    folder = tmp_path / "Tiny App"
    folder.mkdir()
    (folder / "image.toml").write_text('[image]\nrecipe = "python"\nentrypoint = ["python3", "tiny.py"]\n')
    (folder / "tiny.py").write_text("raise SystemExit('nothing to serve')\n")
    built = home("build", str(folder), "--json").json
    assert built["image"] == "tiny-app"
    assert Path(built["lock"]) == folder / "skerry.lock"
    assert '"tiny-app"' in (folder / "skerry.lock").read_text()
    assert built["findings"] == []
    assert {row["seen"] for row in built["probe"] if not row["kept"]} == {
        "the program ended at once with exit code 1: nothing to serve"
    }
    home("rm", "tiny-app")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/such/folder"], "there is no such folder"),
        (["EMPTY"], "it has no image.toml"),
        (["-f", "COMPOSE", "nobody"], "no such service"),
        (["-f", "COMPOSE"], "has 2 recipes"),
        (["-f", "COMPOSE", "web", "--name", "Not A Name"], "can't be an image's name"),
    ],
)
def test_what_cannot_be_built_is_said_and_changes_nothing(
    home: Home, project: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    before = home("ls", "--json").json
    words = [{"EMPTY": str(tmp_path), "COMPOSE": str(project / "compose.yaml")}.get(word, word) for word in words]
    refused = home("build", *words, "--json", code=2)
    assert said in refused.json["error"]["what"] + refused.json["error"]["why"]
    assert refused.json["error"]["fix"]
    assert home("ls", "--json").json == before


def test_where_no_container_can_be_made_the_probe_is_left_out_and_said(
    home: Home, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    folder = tmp_path / "unprobed"
    folder.mkdir()
    (folder / "image.toml").write_text('[image]\nrecipe = "python"\nentrypoint = ["python3", "a.py"]\n')
    (folder / "a.py").write_text("print(1)\n")
    (folder / "skerry.lock").write_text((project / "web" / "skerry.lock").read_text())
    done = home("build", str(folder))
    assert "neither runc nor crun is installed" in done.err
    assert "unprobed" in home.images.names
    home("rm", "unprobed")
