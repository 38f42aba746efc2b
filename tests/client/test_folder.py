"""`skerry export`, `plan`, `apply`: a folder of files against a small cloud, by the command line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.small import Aside, SmallCloud, put_image
from client.test_roles import Person
from skerry.cli.main import run
from skerry.client.folder.read import BadFolder, read_folder
from skerry.client.folder.tables import TABLES
from skerry.client.identity import write_key_pair
from skerry.client.images import LocalImages

pytestmark = pytest.mark.usefixtures("quick_age")
COMPOSE = """name: shop
services:
  web:
    image: hello:1
    environment: {TOKEN: "a b'c", MODE: fast}
    ports: ["8080:80"]
    volumes: ["data:/data"]
    stop_grace_period: 3s
    deploy:
      replicas: 2
      update_config: {parallelism: 2}
      resources: {limits: {memory: 64m, cpus: "0.5"}}
      placement: {constraints: ["node.labels.disk != tape"]}
    x-skerry:
      writable: [/tmp]
volumes:
  data: {x-skerry: {disposable: true}}
"""
MORE = """      scale: {min: 1, max: 4, target: {connections: 50}, schedule: ["weekdays 8-20 Europe/Berlin: min 2"]}
  worker:
    image: hello:2
    environment: {TOKEN: "another, $$5", EMPTY: ""}
volumes:"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aside]:
    monkeypatch.setenv("SKERRY_PASSPHRASE", "")
    monkeypatch.delenv("SKERRY_CLOUD", raising=False)
    cloud = SmallCloud(tmp_path / "hosts", 2)
    cloud.home(tmp_path / "ann")
    images = LocalImages(tmp_path / "ann" / "images")
    for n in (1, 2):
        images.tag(f"hello:{n}", put_image(images.objects, {"usr/bin/app": b"program %d" % n}))
    with Aside(cloud) as aside:
        yield aside


@pytest.fixture
def ann(small: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "ann", monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cloud"
    (path / "apps" / "shop").mkdir(parents=True)
    (path / "apps" / "shop" / "compose.yaml").write_text(COMPOSE)
    (path / "hosts.yaml").write_text("hosts:\n  vps-1: {zone: a, labels: {disk: ssd}}\n  vps-2: {}\n")
    public = write_key_pair(tmp_path / "ci.key", path / "ci.pub", "ci", "")
    assert public.key
    (path / "roles.yaml").write_text("roles:\n  ci: {public: ci.pub, apps: [shop]}\n")
    return path


def steps(answer: dict[str, Any]) -> list[str]:
    return [f"{step['action']} {step['kind']}/{step['name']}" for step in answer["steps"]]


def test_a_cloud_becomes_what_the_folder_says_and_then_nothing_is_left_to_do(ann: Person, folder: Path) -> None:
    planned = ann.run("plan", str(folder))
    assert steps(planned) == ["change host/vps-1", "add role/ci", "add app/shop"]
    assert run(["plan", str(folder), "--detailed-exitcode"]) == 2
    assert [row["name"] for row in ann.run("role", "ls")][-1] != "ci", "a plan changes nothing"
    done = ann.run("apply", str(folder))
    assert done["done"] == ["change host/vps-1", "add role/ci", "add app/shop"]
    assert {h["name"]: (h["zone"], h["labels"]) for h in ann.run("host", "ls")}["vps-1"] == ("a", {"disk": "ssd"})
    assert ann.run("plan", str(folder), "--detailed-exitcode")["steps"] == []
    assert ann.run("apply", str(folder))["done"] == []
    compose = folder / "apps" / "shop" / "compose.yaml"
    compose.write_text(COMPOSE.replace("hello:1", "hello:2").replace("replicas: 2", "replicas: 3"))
    (folder / "roles.yaml").write_text("roles:\n  ci: {public: ci.pub, apps: [blog, shop]}\n")
    (folder / "hosts.yaml").write_text("hosts:\n  vps-1: {zone: a, labels: {}, state: draining}\n  vps-2:\n")
    changed = ann.run("apply", str(folder))
    fields = {field["field"]: (field["old"], field["new"]) for step in changed["steps"] for field in step["fields"]}
    assert fields["apps"] == (["shop"], ["blog", "shop"])
    assert fields["state"] == ("active", "draining")
    assert fields["app/shop services.web.replicas"] == (2, 3)
    rows = ann.run("ps")
    assert [(row["healthy"], row["node"]) for row in rows] == [(True, "vps-2")] * 3
    assert ann.run("plan", str(folder))["steps"] == []


def test_what_is_not_in_the_folder_goes_only_when_that_is_said_and_agreed_to(
    ann: Person, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ann.run("apply", str(folder))
    (folder / "roles.yaml").write_text("roles: {}\n")
    (folder / "apps" / "shop" / "compose.yaml").unlink()
    (folder / "apps" / "shop").rmdir()
    kept = ann.run("apply", str(folder))
    assert (kept["done"], kept["unmanaged"]) == ([], ["app/shop", "role/ci"])
    assert ann.run("apply", str(folder), "--prune", code=1)["code"] == "not-confirmed"
    assert len(ann.run("ps")) == 2
    assert ann.run("apply", str(folder), "--prune", "--yes")["done"] == ["remove app/shop", "remove role/ci"]
    assert ann.run("ps") == []
    (folder / "apps").rmdir()
    (folder / "roles.yaml").unlink()
    assert ann.run("plan", str(folder), "--prune")["steps"] == [], "of kinds without a file nothing is removed"


def test_what_there_is_is_written_down_and_read_back_as_the_same(ann: Person, folder: Path, tmp_path: Path) -> None:
    compose = COMPOSE.replace("volumes:\n  data:", f"{MORE}\n  data:") + "x-skerry: {pools: [burst]}\n"
    (folder / "apps" / "shop" / "compose.yaml").write_text(compose)
    ann.run("apply", str(folder))
    written = ann.run("export", str(tmp_path / "out"), "--secrets")
    assert written["notes"] == []
    assert (tmp_path / "out" / "apps" / "shop" / ".env").stat().st_mode & 0o777 == 0o600
    assert ann.run("plan", str(tmp_path / "out"))["steps"] == []
    assert ann.run("export", str(tmp_path / "out"), code=2)["code"] == "folder-not-empty"
    ann.run("export", str(tmp_path / "bare"))
    text = (tmp_path / "bare" / "apps" / "shop" / "compose.yaml").read_text()
    assert "a b'c" not in text
    assert "WEB_MODE, WEB_TOKEN, WORKER_EMPTY, WORKER_TOKEN are sealed" in text
    assert ann.run("plan", str(tmp_path / "bare"), code=2)["code"] == "bad-folder"


def test_an_apply_that_was_broken_off_goes_on(ann: Person, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:

        async def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        broken.setattr("skerry.client.deploy.deploy", killed)
        assert ann.run("apply", str(folder), code=1)["code"] == "interrupted"
    assert [row["name"] for row in ann.run("role", "ls")][-1] == "ci"
    assert ann.run("apply", str(folder))["done"] == ["add app/shop"]


@pytest.mark.parametrize(
    "file, text, why",
    [
        ("hosts.yaml", "hosts:\n  vps-1:\n    zon: a\n", "line 3: hosts.vps-1.zon: unknown key (did you mean `zone`?)"),
        (
            "hosts.yaml",
            "hosts:\n  vps-1: {state: gone}\n",
            "line 2: hosts.vps-1.state: 'gone' is not one of active, draining",
        ),
        ("hosts.yaml", "hosts: [vps-1]\n", "should be a mapping of names"),
        ("hosts.yaml", "hosts:\n  vps-1: {}\n  vps-1: {}\n", "the key is there twice"),
        ("hosts.yaml", "machines: {}\n", "unknown key"),
        ("host.yaml", "hosts: {}\n", "is read by nothing"),
        ("pools.yaml", "pools:\n  burst: {provider: manual}\n", "has no `max`"),
        ("pools.yaml", "pools:\n  burst: {provider: manual, max: 1, min: 2, size: s}\n", "has a `min` above its `max`"),
        ("pools.yaml", "pools:\n  burst: {provider: manual, max: x, size: s, join: soon}\n", "whole number"),
        ("pools.yaml", "pools:\n  burst: {provider: manual, max: 1, size: s, join: soon}\n", "is not a duration"),
        ("pools.yaml", "pools:\n  burst: {provider: manual, max: 1, price: 1e9}\n", "is no amount"),
        ("roles.yaml", "roles:\n  ci: {public: nope.pub, apps: [a]}\n", "holds no public key"),
        ("roles.yaml", "roles:\n  ci: {apps: []}\n", "is for no app"),
        ("roles.yaml", "roles:\n  ci: {key: abc, apps: [a]}\n", "is no key"),
        ("apps/blog/compose.yaml", "services:\n  web:\n    imag: a\n", "line 3: services.web.imag: unknown key"),
        ("apps/blog/compose.yaml", "name: other\nservices:\n  web: {image: a}\n", "the file calls the app other"),
        ("apps/blog/notes.txt", "", "holds no compose file"),
    ],
)
def test_mistakes_are_told_with_file_and_line_all_at_once(folder: Path, file: str, text: str, why: str) -> None:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(BadFolder) as refused:
        read_folder(folder, {})
    assert why in refused.value.why
    assert file.rpartition("/")[0] in refused.value.why


def test_what_no_change_can_do_is_refused_before_anything_is_done(ann: Person, folder: Path, tmp_path: Path) -> None:
    ann.run("apply", str(folder))
    (folder / "hosts.yaml").write_text("hosts:\n  vps-9: {zone: a}\n")
    assert "no target" in ann.run("apply", str(folder), code=2)["why"]
    (folder / "hosts.yaml").unlink()
    (folder / "roles.yaml").write_text("roles:\n  ci: {public: ci.pub, apps: [blog]}\n")
    assert ann.run("apply", str(folder), code=2)["code"] == "cannot-be-planned"
    write_key_pair(tmp_path / "other.key", folder / "other.pub", "ci", "")
    (folder / "roles.yaml").write_text("roles:\n  ci: {public: other.pub, apps: [shop]}\n")
    assert "another key" in ann.run("plan", str(folder), code=2)["why"]
    assert run(["plan", str(tmp_path / "nowhere"), "--detailed-exitcode"]) == 1
    assert all(key.use == "honoured" for table in TABLES.values() for key in table.values())
