"""Apps: looked at, deployed, scaled, rolled back, removed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from skerry.api.operations import Operation
from skerry.api.routes.cloud import Grep, IgnoreCase, Past, Regex
from skerry.api.table import Body, Call, Page, Paged, Query, Routes, Start, Tagged, Timeout, page
from skerry.client.compose import ComposeErrors, ImageRef, Mistake, parse
from skerry.client.compose.plan import ComposeApp
from skerry.image.oci import DIGEST
from skerry.sdk.values import App, Change, LogLine, Replica

routes = Routes("apps")


class Deploy(Body, frozen=True):
    """`compose`: a compose file as an object, or as its text (then mistakes have its lines).

    Images are named as the store of the serving machine has them, or by digest: nothing is built, and no file of that machine is
    read (`build`, recipes and `env_file` are refused). `variables`: for ${NAME}.
    """

    compose: dict[str, Any] | Annotated[str, msgspec.Meta(min_length=1, max_length=1 << 20)]
    variables: dict[str, str] = {}
    wait: bool = True
    timeout_s: Timeout = 120.0


class Diff(Body, frozen=True):
    """As in a deploy."""

    compose: dict[str, Any] | Annotated[str, msgspec.Meta(min_length=1, max_length=1 << 20)]
    variables: dict[str, str] = {}


Count = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Replicas(Body, frozen=True):
    """`replicas`: how many the service shall have; or, where it follows the load, the bounds that are to be others.

    `schedules`: lines such as "weekdays 8-20 Europe/Berlin: min 3", instead of those that it has; [] for none.
    """

    replicas: Count | None = None
    min: Count | None = None
    max: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    schedules: Annotated[list[Annotated[str, msgspec.Meta(max_length=200)]], msgspec.Meta(max_length=32)] | None = None
    wait: bool = True
    timeout_s: Timeout = 120.0


class InTime(Query, frozen=True):
    timeout_s: Timeout = 120.0


class PastLines(Past, frozen=True):
    grep: Grep = ""
    regex: Regex = False
    ignore_case: IgnoreCase = False


@routes.add("get", "/v1/apps", "List the apps", "read", gives=Page[App], query=Paged)
async def list_apps(call: Call) -> Page[App]:
    return page(await call.cloud.apps.ls(), lambda app: app.name, call.query)


@routes.add("get", "/v1/apps/{app}", "Show an app", "read", "deploy:{app}", gives=App, tagged=True)
async def get_app(call: Call) -> Tagged:
    app = await call.cloud.apps.get(call.path["app"])
    return Tagged(app, app.etag)


@routes.add(
    "put", "/v1/apps/{app}", "Deploy: bring an app to what a compose file says", "deploy:{app}",
    gives=Operation, body=Deploy, status=202, long=True, tagged=True,
)  # fmt: skip
async def deploy_app(call: Call) -> Start:
    """Mistakes of the file are answered at once (422). The operation's result is what `skerry deploy --json` prints. With
    If-Match it is done only to the version with that ETag, with If-None-Match: * only if there is no such app yet (412)."""
    body: Deploy = call.body
    app = _read(call, body.compose, body.variables)
    work = partial(_deploy, call, app, body)
    return Start("deploy", f"app/{app.name}", work)


async def _deploy(call: Call, app: ComposeApp, body: Deploy, progress: Any) -> Any:
    apps = call.cloud.apps
    return await apps.deploy(app, prev=call.prev, detach=not body.wait, timeout_s=body.timeout_s, progress=progress)


@routes.add(
    "post", "/v1/apps/{app}/diff", "Show what a deploy would change", "deploy:{app}", gives=Page[Change], body=Diff
)
async def diff_app(call: Call) -> Page[Change]:
    app = _read(call, call.body.compose, call.body.variables)
    return Page(items=await call.cloud.apps.diff(app))


@routes.add(
    "post", "/v1/apps/{app}/rollback", "Go back to the release before", "deploy:{app}",
    gives=Operation, query=InTime, status=202, long=True, tagged=True,
)  # fmt: skip
async def rollback_app(call: Call) -> Start:
    name = call.path["app"]
    await call.cloud.apps.get(name)

    async def work(progress: Any) -> Any:
        apps = call.cloud.apps
        return await apps.rollback(name, prev=call.prev, timeout_s=call.query.timeout_s, progress=progress)

    return Start("rollback", f"app/{name}", work)


@routes.add(
    "patch", "/v1/apps/{app}/services/{service}", "Scale a service", "deploy:{app}",
    gives=Operation, body=Replicas, status=202, long=True, tagged=True,
)  # fmt: skip
async def scale_service(call: Call) -> Start:
    """A number of replicas, or other bounds of one that follows the load. Those that run are not restarted."""
    name, body = call.path["app"], call.body
    service = f"{name}.{call.path['service']}"
    app = await call.cloud.apps.get(name)
    app_services = [each.name for each in app.services]
    if call.path["service"] not in app_services:
        raise _no_service(name, call.path["service"], app_services)

    async def work(progress: Any) -> Any:
        apps = call.cloud.apps
        more = {"min": body.min, "max": body.max, "schedules": body.schedules}
        more |= {"prev": call.prev, "detach": not body.wait, "timeout_s": body.timeout_s, "progress": progress}
        return await apps.scale(service, body.replicas, **more)

    return Start("scale", f"app/{name}", work)


@routes.add(
    "delete", "/v1/apps/{app}", "Remove an app; its volumes stay", gives=Operation, query=InTime, status=202, long=True,
    tagged=True,
)  # fmt: skip
async def remove_app(call: Call) -> Start:
    name = call.path["app"]
    await call.cloud.apps.get(name)

    async def work(progress: Any) -> Any:
        return await call.cloud.apps.rm(name, prev=call.prev, timeout_s=call.query.timeout_s, progress=progress)

    return Start("remove", f"app/{name}", work)


@routes.add(
    "get", "/v1/apps/{app}/replicas", "List an app's replicas", "read", "deploy:{app}", gives=Page[Replica], query=Paged
)
async def list_replicas_of_app(call: Call) -> Page[Replica]:
    await call.cloud.apps.get(call.path["app"])
    return page(await call.cloud.apps.replicas(call.path["app"]), lambda row: row.slot, call.query)


@routes.add(
    "get", "/v1/apps/{app}/logs", "What an app's replicas wrote: the past", "read", "deploy:{app}", gives=Page[LogLine],
    query=PastLines,
)  # fmt: skip
async def list_logs_of_app(call: Call) -> Page[LogLine]:
    query = call.query
    await call.cloud.apps.get(call.path["app"])
    past = {"tail": query.tail, "since_s": query.since_s, "until_s": query.until_s}
    words = {"grep": query.grep, "regex": query.regex, "ignore_case": query.ignore_case}
    return Page(items=await call.cloud.logs(call.path["app"], **past, **words))


def _read(call: Call, compose: dict[str, Any] | str, variables: dict[str, str]) -> ComposeApp:
    """No file of this machine is read for a request, and nothing is built. Raises ComposeErrors."""
    text = compose if isinstance(compose, str) else msgspec.json.format(msgspec.json.encode(compose)).decode()
    app = parse(text, environ=variables, name=call.path["app"], folder=Path("/nowhere"), file="compose")
    names = call.cloud.images.names()
    mistakes = []
    for name, plan in app.services.items():
        if isinstance(plan.image, ImageRef) and (plan.image.text in names or DIGEST.match(plan.image.text)):
            continue
        line, column = plan.lines.get("image", plan.lines.get("", (0, 0)))
        what = f"{plan.image.text[:80]!r} is not in the store" if isinstance(plan.image, ImageRef) else "would be built"
        mistakes.append(
            Mistake(line, column, f"services.{name}.image", what, "bring it by PUT /v1/images/NAME, then name it")
        )
    if mistakes:
        raise ComposeErrors(mistakes, "compose")
    return app


def _no_service(app: str, service: str, known: list[str]) -> Exception:
    from skerry.client.apps import NoSuchApp

    return NoSuchApp(f"{app} has no service {service[:80]}", f"it has: {', '.join(known)}", "see /v1/apps")
