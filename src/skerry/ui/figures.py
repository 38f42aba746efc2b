"""Figures for charts: of one app's slots, or of a host, over a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from skerry.api.problems import Malformed
from skerry.client import metrics
from skerry.client.session import Session
from skerry.ui.images import answering

MONTH_S = 31 * 86400


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`names`: of figures, between commas. `since_s`: how far back from now."""

    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    names: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    since_s: Annotated[int, msgspec.Meta(ge=1, le=MONTH_S)]
    step_s: Annotated[int, msgspec.Meta(ge=1, le=86400)]


def routes(session: Callable[[], Session]) -> list[Route]:
    async def figures(request: Request) -> Any:
        try:
            asked = msgspec.convert(dict(request.query_params), Asked, strict=False)
        except msgspec.ValidationError as error:
            raise Malformed("the figures were not asked for", str(error), "reload the page") from None
        names, since = asked.names.split(","), -float(asked.since_s)
        return await metrics.query(session(), [asked.subject], names, since=since, step_s=asked.step_s)

    return [Route("/figures", answering(figures))]
