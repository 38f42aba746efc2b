"""A cloud of three real agents over TLS, an app on it, and a thief with the keys of the third."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent.small import Aside, SmallCloud
from agent.unsynced import unsynced
from attacks.captured import Thief, World
from skerry.core.intent import Port, Service

__all__ = ["cloud_with_a_thief", "scene", "unsynced"]
HONEST = ("vps-1", "vps-2")
REPLICAS = 6


@dataclass
class Scene:
    aside: Aside
    thief: Thief
    world: World
    image: str
    since_s: float = 0.0  # events before that are of an attack before

    @property
    def cloud(self) -> SmallCloud:
        return self.aside.cloud

    def calm(self) -> None:
        """All replicas on the honest hosts, which are linked; nothing else is on its way."""

        def well() -> bool:
            agents = [self.cloud.agents[name] for name in HONEST]
            rows = [row for agent in agents for row in agent.loop.core.rows()]
            held = all(row.healthy and row.node in HONEST and len(row.claims) == 1 for row in rows)
            linked = all(set(HONEST) - {n} <= {p[5:] for p in self.cloud.agents[n].mesh.neighbours()} for n in HONEST)
            count = sum(len(self.cloud.runtimes[name].disk.specs) for name in HONEST)
            return held and linked and len(rows) == 2 * REPLICAS and count == REPLICAS

        self.aside.wait("a calm cloud", well, 60)


@pytest.fixture(scope="module")
def cloud_with_a_thief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    cloud = SmallCloud(tmp_path_factory.mktemp("attacks"), 3, two=True)
    with Aside(cloud) as aside:
        aside.wait("links", lambda: all(len(a.mesh.neighbours()) == 2 for a in cloud.agents.values()))
        image = aside.look(lambda: cloud.give_image(b"an app"))
        service = Service(replicas=REPLICAS, ports=(Port(target=80, published=8080),), command=("/app",))
        aside.look(lambda: cloud.deploy("web", service, image))
        aside.run(cloud.stop("vps-3"))
        scene = Scene(aside, Thief(cloud, "vps-3"), World(aside, HONEST, "vps-3"), image)
        scene.calm()
        yield scene


@pytest.fixture
def scene(cloud_with_a_thief: Scene) -> Scene:
    cloud_with_a_thief.calm()
    return cloud_with_a_thief
