"""A service's data is made before its first start, all of it or nothing, whatever ends in between. Containers in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.small import Aside, SmallCloud
from skerry.agent import inits
from skerry.agent.volumes import VolumeInUse, Volumes
from skerry.core.intent import App, Release, Service, VolumeMount
from skerry.core.records import Slot
from skerry.runtime.contract import ContainerSpec

SLOT = Slot("db", "db", 0)
DB = Service(
    command=("/app",), volumes=(VolumeMount(volume="data", target="/data"),), writable=("/scratch",), user="10001:10001"
)


class Play:
    """What the containers of a host do: `init` is called with the folder that its init sees at /data."""

    def __init__(self, cloud: SmallCloud, init: Callable[[Path], int | None]) -> None:
        self.cloud, self.init = cloud, init
        self.inits: list[ContainerSpec] = []
        self.services: list[ContainerSpec] = []
        cloud.runtimes["vps-1"].behaviour = self.behave

    def behave(self, spec: ContainerSpec) -> int | None:
        if not spec.labels["init"]:
            self.services.append(spec)
            return None
        self.inits.append(spec)
        return self.init(_at(spec, "/data"))


def _at(spec: ContainerSpec, target: str) -> Path:
    return next(Path(mount.source) for mount in spec.mounts if mount.target == target)


def _makes(folder: Path) -> int:
    (folder / "PG_VERSION").write_text("15")
    (folder / "base").mkdir()
    (folder / "base" / "1").write_bytes(b"rows")
    folder.chmod(0o700)
    return 0


def _deploy(small: Aside, service: Service = DB, version: int = 1) -> None:
    cloud = small.cloud
    image, init = (small.look(lambda c=content: cloud.give_image(c)) for content in (b"a server", b"its init"))  # type: ignore[misc]
    prevs = small.look(lambda: {path: head[2] for path, head in cloud.agents["vps-1"].trusted.heads().items()})
    app = App(services={"db": msgspec.structs.replace(service, init=True)}, volumes={"data": False})
    release = Release(images={"db": image, "db.init": init}, fits=version)
    for path, body in (("release/db", release), ("app/db", app)):
        raw = cloud.sign(path, body, version, prev=prevs.get(path, ""))
        small.look(lambda raw=raw: cloud.agents["vps-1"].door.offer(raw, from_client=True))  # type: ignore[misc]


def _state(small: Aside) -> tuple[str, str]:
    """From the agent's own thread, as `wait` looks."""
    row = next((row for row in small.cloud.agents["vps-1"].loop.core.rows() if row.slot == str(SLOT)), None)
    return (row.state, row.why) if row is not None else ("", "")


@pytest.fixture
def cloud(tmp_path: Path) -> SmallCloud:
    return SmallCloud(tmp_path, 1)


def _volume(cloud: SmallCloud) -> Path:
    return cloud.files["vps-1"].volumes / "db" / "data"


def test_data_is_made_once_and_the_service_starts_on_it(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:
        play = Play(cloud, _makes)
        _deploy(small)
        small.wait("runs", lambda: _state(small)[0] == "running")
        (init,), (service,) = play.inits, play.services
        assert init.isolated and not init.netns and init.user == "10001:10001" and not init.capabilities
        assert _at(init, "/data") != _at(service, "/data") == _volume(cloud), "an init works beside the volume"
        assert _at(init, "/scratch") == _at(service, "/scratch"), "what it writes elsewhere, the service sees"
        assert sorted(path.name for path in _volume(cloud).iterdir()) == ["PG_VERSION", "base"]
        assert _volume(cloud).stat().st_mode & 0o777 == 0o700, "the folder's mode is part of what was made"
        assert [path.name for path in _volume(cloud).parent.iterdir()] == ["data"], "nothing is left beside it"
        assert small.look(lambda: cloud.agents["vps-1"].volumes.all()) == [("db", "data")]

        small.look(lambda: cloud.runtimes["vps-1"].end(service.id, 1))
        small.wait("runs again", lambda: len(play.services) == 2)
        small.run(cloud.stop("vps-1"))
        small.run(cloud.start("vps-1"))
        small.wait("adopted", lambda: _state(small)[0] == "running")
        assert len(play.inits) == 1, "once in the life of the data"
        assert not _at(service, "/scratch").exists() and _at(play.services[1], "/scratch").exists()


def test_an_init_that_fails_is_told_and_tried_again_and_nothing_starts(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:

        def fails(folder: Path) -> int:
            (folder / "half").write_bytes(b"")
            return 3

        play = Play(cloud, fails)
        _deploy(small)
        small.wait("tried three times", lambda: len(play.inits) == 3)
        assert "its init ended with exit code 3" in small.look(lambda: _state(small)[1])
        assert not list(_volume(cloud).iterdir()) and not play.services
        play.init = _makes
        small.wait("runs", lambda: _state(small)[0] == "running", 30)
        assert sorted(path.name for path in _volume(cloud).iterdir()) == ["PG_VERSION", "base"]


def test_an_agent_that_dies_while_data_is_made_makes_it_again_from_the_start(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:

        def hangs(folder: Path) -> None:
            (folder / "half").write_bytes(b"")

        play = Play(cloud, hangs)
        _deploy(small)
        small.wait("at work", lambda: _state(small)[0] == "initialising")
        small.wait("half made", lambda: len(play.inits) == 1 and (_at(play.inits[0], "/data") / "half").exists())
        disk = cloud.runtimes["vps-1"].disk
        left = dict(disk.containers)
        small.run(cloud.stop("vps-1"))
        assert not disk.containers, "an agent that ends in order takes its init along"
        disk.containers.update(left)  # and one that is killed leaves it behind
        play.init = _makes
        small.run(cloud.start("vps-1"))
        small.wait("runs", lambda: _state(small)[0] == "running")
        assert list(cloud.runtimes["vps-1"].disk.containers) == [play.services[0].id]
        assert sorted(path.name for path in _volume(cloud).iterdir()) == ["PG_VERSION", "base"]


def test_a_slot_that_is_let_go_of_while_its_data_is_made_leaves_nothing_running(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:
        play = Play(cloud, lambda folder: None)
        _deploy(small)
        small.wait("at work", lambda: _state(small)[0] == "initialising" and bool(play.inits))
        _deploy(small, Service(replicas=0, command=("/app",)), version=2)
        small.wait("gone", lambda: not cloud.runtimes["vps-1"].disk.containers)
        assert not play.services
        small.wait("told", lambda: not _state(small)[0])


def test_an_init_that_takes_too_long_is_ended(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inits, "WITHIN_S", 0.2)
    with Aside(cloud) as small:
        play = Play(cloud, lambda folder: None)
        _deploy(small)
        small.wait("tried again", lambda: len(play.inits) == 2)
        assert "its init was ended: it ran for more than 0.2 s" in small.look(lambda: _state(small)[1])


def test_a_service_without_a_volume_gets_its_data_at_each_start(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:
        play = Play(cloud, _makes)
        _deploy(small, Service(command=("/app",), writable=("/data",)))
        small.wait("runs", lambda: _state(small)[0] == "running")
        first = _at(play.services[0], "/data")
        assert (first / "PG_VERSION").read_text() == "15"
        small.look(lambda: cloud.runtimes["vps-1"].end(play.services[0].id, 1))
        small.wait("runs again", lambda: len(play.services) == 2)
        assert len(play.inits) == 2 and not first.exists()


def test_content_that_was_there_is_only_shown_to_an_init(cloud: SmallCloud) -> None:
    with Aside(cloud) as small:
        _volume(cloud).mkdir(parents=True)
        (_volume(cloud) / "PG_VERSION").write_text("15")
        play = Play(cloud, _makes)
        two = (*DB.volumes, VolumeMount(volume="more", target="/more"))
        app = Service(command=("/app",), volumes=two, init=True)
        image, init = (small.look(lambda c=c: cloud.give_image(c)) for c in (b"a server", b"its init"))  # type: ignore[misc]
        release = cloud.sign("release/db", Release(images={"db": image, "db.init": init}, fits=1), 1)
        signed = cloud.sign("app/db", App(services={"db": app}, volumes={"data": False, "more": False}), 1)
        play.init = lambda folder: 0
        for raw in (release, signed):
            small.look(lambda raw=raw: cloud.agents["vps-1"].door.offer(raw, from_client=True))  # type: ignore[misc]
        small.wait("runs", lambda: _state(small)[0] == "running")
        shown = {mount.target: mount for mount in play.inits[0].mounts}
        assert shown["/data"].read_only and Path(shown["/data"].source) == _volume(cloud)
        assert not shown["/more"].read_only


def test_what_moves_in_goes_on_after_a_crash_and_never_over_a_file(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path)
    making = volumes.begin(SLOT, "data")
    assert making is not None
    _makes(making)
    made = tmp_path / "db" / ".data.made"
    making.rename(made)  # it died right after that, with one of two moved
    (made / "PG_VERSION").rename(tmp_path / "db" / "data" / "PG_VERSION")
    assert Volumes(tmp_path).begin(SLOT, "data") is None, "it has content now"
    assert (
        sorted(path.name for path in (tmp_path / "db" / "data").iterdir()) == ["PG_VERSION", "base"]
        and not made.exists()
    )

    making = volumes.begin(SLOT, "other")
    assert making is not None
    _makes(making)
    (tmp_path / "db" / "other" / "base").write_bytes(b"another's")
    with pytest.raises(VolumeInUse):
        volumes.keep(SLOT, "other")
    assert (tmp_path / "db" / "other" / "base").read_bytes() == b"another's"
    assert volumes.remove("db", "other") and volumes.remove("db", "data")
    assert not list((tmp_path / "db").iterdir())
