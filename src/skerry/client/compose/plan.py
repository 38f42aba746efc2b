"""What a compose file says, in Skerry's shapes: the answer of `load`. Shapes only.

Environment values are plain here; whoever signs seals them and puts them into `Service.environment`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skerry.client.compose.mistakes import Mistake
from skerry.core.intent import App, Service


@dataclass(frozen=True)
class ImageRef:
    """`image:` as it was written: a digest, a name in the local store, or a path. Resolved later."""

    text: str


@dataclass(frozen=True)
class Recipe:
    """To be built. `content`: the recipe as plain dicts and lists, checked by image.recipe.

    Its key `context`, always there, is the project's folder, relative to `ComposeApp.folder`.
    """

    content: dict[str, Any]


@dataclass(frozen=True)
class ServicePlan:
    """`service.environment` is empty: the plain values are in `environment`.

    `lines`: key path inside the service ("image", "ports[0]", "" for itself) -> (line, column), for later mistakes.
    """

    service: Service
    environment: dict[str, str]
    image: ImageRef | Recipe
    lines: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ComposeApp:
    """`volumes`: name -> disposable. `folder`: what relative paths start from. `file`: as shown in messages. `ship`: URLs in plain."""

    name: str
    services: dict[str, ServicePlan]
    volumes: dict[str, bool]
    folder: Path = Path()
    file: str = "compose file"
    warnings: tuple[Mistake, ...] = ()
    pools: tuple[str, ...] = ()
    ship: tuple[str, ...] = ()

    def app(self) -> App:
        """The body of `app/<name>`, still without its environment values and receivers of logs."""
        return App(
            services={name: plan.service for name, plan in self.services.items()},
            volumes=self.volumes,
            pools=self.pools,
        )
