"""What pages tell beside the REST API: where volumes are and who did not say, how services follow their load, what machines cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from skerry.client import pools, views
from skerry.client.compose.schedule import in_words
from skerry.client.session import Session
from skerry.core.intent import App, Scale
from skerry.core.scaling import bounds
from skerry.ui.images import answering

PRICES = 8


def routes(session: Callable[[], Session]) -> list[Route]:
    async def volumes(request: Request) -> Any:
        missing: list[str] = []
        return {"rows": await views.volumes(session(), missing.append), "missing": missing}

    async def scaling(request: Request) -> Any:
        """Service -> how it follows its load; without those of a fixed number."""
        await session().sync(1)
        document = session().document(f"app/{request.path_params['app'][:200]}")
        services = document.body.services if document is not None and isinstance(document.body, App) else {}
        return {name: _told(service.scale) for name, service in services.items() if service.scale is not None}

    async def prices(request: Request) -> Any:
        warnings: list[str] = []
        found = await pools.prices(session(), request.path_params["pool"][:200], warn=warnings.append)
        return {"sizes": [fit.row() for fit in found if fit.fit][:PRICES], "missing": warnings}

    return [
        Route("/volumes", answering(volumes)),
        Route("/scaling/{app}", answering(scaling)),
        Route("/prices/{pool}", answering(prices)),
    ]


def _told(scale: Scale) -> dict[str, Any]:
    """`now`: its bounds at this time; `follows`: what one replica should have at most."""
    low, high = bounds(scale, time.time())
    follows = [f"{scale.cpu:.0%} of its CPU"] if scale.cpu else []
    follows += [f"{scale.connections:g} connections"] if scale.connections else []
    follows += [f"{scale.metric_target:g} of {scale.metric}"] if scale.metric else []
    schedules = [in_words(each) for each in scale.schedules]
    return {"min": scale.min, "max": scale.max, "now": [low, high], "follows": follows, "schedules": schedules}
