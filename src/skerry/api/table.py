"""One table of all that the API can do: routes, their shapes, who may. The server obeys it and the OpenAPI document shows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from skerry.api.operations import Operation, Operations, Work
from skerry.api.tokens import Bearer
from skerry.sdk import AsyncClient

T = TypeVar("T")
Method = Literal["get", "put", "post", "patch", "delete"]
PAGE = 200
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000, description="How many at most.")]
Tail = Annotated[int, msgspec.Meta(ge=0, le=10_000, description="How many past ones.")]
Timeout = Annotated[
    float, msgspec.Meta(ge=1, le=3600, description="Seconds until the operation fails as not-in-time; it goes on by itself.")
]  # fmt: skip


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand behind the `?`."""


class Paged(Query, frozen=True):
    limit: Limit = PAGE
    after: Annotated[str, msgspec.Meta(max_length=512, description="The `next` of the page before.")] = ""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`next`: give it as `after` for the next page; null on the last one."""

    items: list[T]
    next: str | None = None


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request carries, as JSON."""


@dataclass
class Call:
    """One request, checked: `query` and `body` have the shapes of its route. `prev`: the etag of If-Match."""

    cloud: AsyncClient
    operations: Operations
    bearer: Bearer
    path: dict[str, str]
    query: Any
    body: Any
    prev: str | None
    last_event_id: str = ""
    upload: Callable[[], AsyncGenerator[bytes]] | None = None


@dataclass(frozen=True)
class Start:
    """A handler's answer: go on with this as an operation. `cancellable`: it may be stopped between any two steps."""

    kind: str
    subject: str
    work: Work
    cancellable: bool = True


@dataclass(frozen=True)
class Tagged:
    """A handler's answer that has an ETag."""

    value: Any
    etag: str


@dataclass(frozen=True)
class Sent:
    """One event of a stream. `data` becomes JSON."""

    id: str
    event: str
    data: Any


@dataclass(frozen=True)
class Stream:
    """A handler's answer: events, until the client goes."""

    events: AsyncGenerator[Sent]


@dataclass(frozen=True)
class Text:
    """A handler's answer that is no JSON."""

    text: str
    media_type: str


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """`needs`: roles of which a token must have one, with `{app}` and `{pool}` from the path (operators may all). `gives`: type of the
    answer; of an operation's result where `long`; of an event's data where `stream`. `tagged`: it has an ETag, or takes If-Match.
    """

    method: Method
    path: str
    words: str
    needs: tuple[str, ...]
    handler: Handler
    gives: Any
    tag: str
    query: type[Query] = Query
    body: type[Body] | None = None
    upload: bool = False
    status: int = 200
    long: bool = False
    stream: bool = False
    tagged: bool = False
    media: str = "application/json"
    details: str = ""

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def changes(self) -> bool:
        return self.method != "get" and self.status != 200


@dataclass
class Routes:
    """Collects the routes of one file. `tag`: the heading in the document."""

    tag: str
    all: list[Route] = field(default_factory=list)

    def add(
        self, method: Method, path: str, words: str, *needs: str, gives: Any, **more: Any
    ) -> Callable[[Handler], Handler]:
        def decorate(handler: Handler) -> Handler:
            details = " ".join((handler.__doc__ or "").split())
            self.all.append(Route(method, path, words, needs, handler, gives, self.tag, details=details, **more))
            return handler

        return decorate


def page(items: list[T], key: Callable[[T], str], query: Paged) -> Page[T]:
    """The part of a list (of distinct keys, in any order) that was asked for."""
    rest = sorted((item for item in items if key(item) > query.after), key=key)
    shown = rest[: query.limit]
    return Page(items=shown, next=key(shown[-1]) if len(rest) > len(shown) else None)


OperationPage = Page[Operation]
