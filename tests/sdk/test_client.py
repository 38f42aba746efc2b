"""The SDK against a small cloud: what a program does with it, in its two ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import skerry
from agent.small import Aside, SmallCloud, put_image
from skerry.client.apps import NoSuchApp
from skerry.client.compose import ComposeErrors
from skerry.client.home import HomeBusy, NoCloud
from skerry.client.images import LocalImages
from skerry.client.numbers import BadBounds
from skerry.client.session import Session
from skerry.errors import NotInTime, SkerryError
from skerry.sdk.connection import ChangedMeanwhile, NotOpen


def compose(image: str = "hello:1", replicas: int = 2) -> dict[str, object]:
    deploy = {"replicas": replicas, "update_config": {"parallelism": 3}}
    return {"name": "shop", "services": {"web": {"image": image, "deploy": deploy}}}


@pytest.fixture(scope="module")
def cloud(home: Path) -> Iterator[skerry.Client]:
    with skerry.Client(home=home) as client:
        yield client


def test_an_app_is_deployed_looked_at_changed_and_removed(cloud: skerry.Client) -> None:
    assert [host.name for host in cloud.hosts.ls()] == ["vps-1", "vps-2", "vps-3"]
    told: list[str] = []
    assert {change.path for change in cloud.apps.diff(compose())} == {"app/shop", "release/shop"}
    done = cloud.apps.deploy(compose(), progress=told.append)
    assert set(done.changed) == {"app/shop", "release/shop"}
    assert told[-1] == "2 of 2 replicas healthy"
    app = cloud.apps.get("shop")
    assert (app.version, [(s.name, s.replicas) for s in app.services]) == ("1.1", [("web", 2)])
    assert cloud.apps.deploy(compose(), prev=app.etag).changed == (), "again it changes nothing"
    assert (cloud.apps.scale("web", 3).before, len(cloud.apps.replicas("shop"))) == (2, 3)
    with pytest.raises(ChangedMeanwhile) as refused:
        cloud.apps.deploy(compose("hello:2"), prev=app.etag)
    assert cloud.apps.get("shop").etag in refused.value.why
    cloud.apps.deploy(compose("hello:2", 3))
    images = {row.image for row in cloud.apps.replicas("shop")}
    assert cloud.apps.rollback("shop").images["web"] not in images
    assert all(row.healthy for row in cloud.apps.wait_healthy("shop"))
    assert {event.kind for event in cloud.events()} >= {"claimed"}
    assert "shop.web/0" in cloud.explain("shop")
    assert cloud.status().healthy == 3
    cloud.apps.rm("shop")
    assert cloud.apps.ls() == []
    with pytest.raises(NoSuchApp):
        cloud.apps.get("shop")


def test_what_happens_is_watched_as_it_happens_and_waited_for(cloud: skerry.Client) -> None:
    with closing(cloud.watch("shop")) as changes, closing(cloud.watch_events()) as events:
        assert next(changes) == []
        cloud.apps.deploy(compose(replicas=1), detach=True)
        assert next(changes)[0].slot == "shop.web/0"
        assert next(event for event in events if event.subject == "shop.web/0")
    assert cloud.wait(lambda rows: any(row.healthy for row in rows), "shop")
    with pytest.raises(NotInTime):
        cloud.wait(lambda rows: len(rows) > 7, "shop", timeout_s=0.2)
    cloud.apps.rm("shop")


def test_a_drained_host_is_waited_for_and_taken_back(cloud: skerry.Client) -> None:
    host = cloud.hosts.get("vps-2")
    assert cloud.hosts.drain("vps-2", prev=host.etag).state == "draining"
    assert cloud.hosts.wait("vps-2", "draining").etag != host.etag
    with pytest.raises(ChangedMeanwhile):
        cloud.hosts.undrain("vps-2", prev=host.etag)
    cloud.hosts.undrain("vps-2")
    cloud.hosts.wait("vps-2", "up")


def test_mistakes_are_told_as_on_the_command_line_and_change_nothing(cloud: skerry.Client, home: Path) -> None:
    with pytest.raises(ComposeErrors) as refused:
        cloud.apps.deploy({"name": "shop", "services": {"web": {"imag": "hello:1"}}})
    assert "did you mean `image`?" in refused.value.why
    with pytest.raises(SkerryError, match="hello:9"):
        cloud.apps.deploy(compose("hello:9"))
    assert cloud.apps.ls() == []
    with pytest.raises(NoCloud):
        skerry.Client("nowhere", home=home).open()
    with pytest.raises(NotOpen):
        skerry.Client(home=home).apps.ls()


def test_commands_and_programs_of_one_home_hold_each_other_off(cloud: skerry.Client, home: Path) -> None:
    with cloud._its._connection.session.home.lock(), pytest.raises(HomeBusy):
        cloud.hosts.undrain("vps-1")
    cloud.hosts.undrain("vps-1")


async def test_changes_of_different_things_run_side_by_side_and_of_one_thing_in_turn(beside: Aside, home: Path) -> None:
    async with skerry.AsyncClient(home=home) as cloud:
        names = ["blog", "wiki", "news"]
        await asyncio.gather(*(cloud.apps.deploy({**compose(replicas=1), "name": name}) for name in names))
        assert sorted(names) == [app.name for app in await cloud.apps.ls()]
        await asyncio.gather(*(cloud.apps.scale("news.web", n, detach=True) for n in (2, 3, 4, 5)))
        assert (await cloud.apps.get("news")).version == "5.1"
        await asyncio.gather(*(cloud.apps.rm(name) for name in names))


async def test_what_another_has_learned_in_the_same_home_is_not_forgotten(beside: Aside, home: Path) -> None:
    async with skerry.AsyncClient(home=home) as stays:
        await stays.apps.ls()
        async with Session(stays._connection.session.home, lambda what: "") as command:
            await command.sync()
            body = command.policy
            await command.change([("policy", body)])
        version = command.document("policy").version  # type: ignore[union-attr]
        await stays.hosts.drain("vps-3")
        await stays.hosts.undrain("vps-3")
    again = Session(stays._connection.home.cloud("small"), lambda what: "")
    assert again.document("policy").version == version  # type: ignore[union-attr]


SCALED = {
    "name": "tide",
    "services": {
        "web": {
            "image": "hello:1",
            "ports": ["8099:80"],
            "x-skerry": {
                "scale": {"min": 1, "max": 4, "target": {"connections": 50}, "schedule": ["daily 0-24: max 3"]}
            },
        }
    },
}


def test_bounds_and_times_of_what_follows_the_load_are_changed_and_explained(cloud: skerry.Client) -> None:
    cloud.apps.deploy(SCALED)
    assert cloud.explain_scale("tide")["tide.web"]["in_force"] == ["daily 0-24: max 3"]
    done = cloud.apps.scale("tide.web", min=2, schedules=["weekdays 8-20 Europe/Berlin: min 3", "daily 0-24: max 9"])
    assert (done.before, done.now, done.bounds) == (1, 2, {"from": "1 to 4", "to": "2 to 4"})
    assert cloud.explain_scale("tide")["tide.web"]["in_force"][-1] == "daily 0-24: max 9"
    assert cloud.apps.scale("tide.web", max=5, schedules=()).bounds["to"] == "2 to 5"
    for wrong in (
        {},
        {"replicas": 2, "min": 1},
        {"min": 9},
        {"schedules": ["sometimes: min 3"]},
        {"schedules": ["daily 0-24"]},
    ):
        with pytest.raises(BadBounds):
            cloud.apps.scale("tide.web", **wrong)
    assert cloud.apps.scale("tide.web", 1).bounds["to"] == "1"
    cloud.apps.rm("tide")


def test_an_enrolment_is_signed_anew_with_what_is_given_and_nothing_else(cloud: skerry.Client) -> None:
    before = cloud.hosts.get("vps-3")
    assert cloud.hosts.set("vps-3").etag == before.etag, "nothing was given"
    changed = cloud.hosts.set("vps-3", labels={"disk": "ssd"}, zone="b", image_budget_bytes=1 << 30, prev=before.etag)
    assert (changed.labels, changed.zone, changed.address) == ({"disk": "ssd"}, "b", before.address)
    with pytest.raises(ChangedMeanwhile):
        cloud.hosts.set("vps-3", labels={}, prev=before.etag)
    cloud.hosts.set("vps-3", labels={}, zone="", image_budget_bytes=0)


def test_what_there_is_is_written_planned_changed_and_carried_out(cloud: skerry.Client, tmp_path: Path) -> None:
    cloud.apps.deploy(compose())
    assert "apps/shop/compose.yaml" in cloud.folder.export(tmp_path / "cloud").files
    assert cloud.folder.plan(tmp_path / "cloud").steps == ()
    file = tmp_path / "cloud" / "apps" / "shop" / "compose.yaml"
    file.write_text(file.read_text().replace("replicas: 2", "replicas: 3"))
    (step,) = cloud.folder.plan(tmp_path / "cloud").steps
    assert (step.action, step.kind, step.name, [field.new for field in step.fields]) == ("change", "app", "shop", [3])
    assert cloud.folder.apply(tmp_path / "cloud").done == ("change app/shop",)
    assert len(cloud.apps.replicas("shop")) == 3
    cloud.apps.rm("shop")


def test_a_captured_host_is_cut_off_and_what_it_could_read_is_told(tmp_path: Path) -> None:
    small = SmallCloud(tmp_path / "hosts", 3)
    small.home(tmp_path / "home")
    with Aside(small), skerry.Client(home=tmp_path / "home", passphrase="") as client:
        secret = {"name": "shop", "services": {"web": {"image": image(tmp_path / "home"), "environment": {"KEY": "a"}}}}
        client.apps.deploy(secret)
        told = client.hosts.expel("vps-3")
        assert (told.secrets_it_could_read, told.without_keeper) == (("shop",), ())
        assert [host.name for host in client.hosts.ls() if host.state != "expelled"] == ["vps-1", "vps-2"]


def image(home: Path) -> str:
    images = LocalImages(home / "images")
    images.tag("hello:1", put_image(images.objects, {"usr/bin/app": b"program"}))
    return "hello:1"
