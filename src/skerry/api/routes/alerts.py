"""Alerts: what fires, who is told, by which rules; and changing all that."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from skerry.api.table import Body, Call, Page, Query, Routes
from skerry.sdk.seen import Silenced, Tested
from skerry.sdk.values import Alert, AlertReceiver, AlertRule

routes = Routes("alerts")
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]
Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]


class ReceiverIs(Body, frozen=True):
    """`where`: a URL; of telegram the chat, of smtp HOST:PORT, with `sender` and `to`. All of it is sealed to hosts and operators.

    `replace`: there is one of that name, and this is its new address.
    """

    kind: Literal["webhook", "smtp", "ntfy", "slack", "telegram", "heartbeat"]
    where: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    secret: Text = ""
    sender: Text = ""
    to: Annotated[list[Text], msgspec.Meta(max_length=20)] = []
    user: Text = ""
    tls: Literal["", "starttls", "tls", "none"] = ""
    api: Text = ""
    replace: bool = False


class RuleIs(Body, frozen=True):
    """What is left out stays. A new rule of one's own needs `metric` and `limit`; `of`: an app, service, slot, `node/NAME` (`node/`:
    every host; "": every slot); `below`: it fires below the limit.
    """

    on: bool | None = None
    limit: Figure | None = None
    for_s: Seconds | None = None
    clear_s: Seconds | None = None
    metric: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    of: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    below: bool | None = None


class Quiet(Body, frozen=True):
    """`for_s` 0 ends it. `rule`, `subject` "": of any."""

    for_s: Seconds
    rule: Annotated[str, msgspec.Meta(max_length=63)] = ""
    subject: Annotated[str, msgspec.Meta(max_length=128)] = ""


class Which(Query, frozen=True):
    receiver: Annotated[str, msgspec.Meta(max_length=63, description="None: all.")] = ""
    host: Annotated[str, msgspec.Meta(max_length=128, description="Who sends it; none: the first that answers.")] = ""


@routes.add("get", "/v1/alerts", "What fires now", "read", gives=Page[Alert])
async def list_alerts(call: Call) -> Page[Alert]:
    """As the first fixed host that answers sees it, silenced or not."""
    return Page(items=await call.cloud.alerts())


@routes.add("get", "/v1/alerts/receivers", "Who is told when something is wrong", "read", gives=Page[AlertReceiver])
async def list_alert_receivers(call: Call) -> Page[AlertReceiver]:
    """What it takes to reach them is sealed, and not told."""
    return Page(items=await call.cloud.alert_receivers())


@routes.add("put", "/v1/alerts/receivers/{receiver}", "Tell a receiver", gives=AlertReceiver, body=ReceiverIs)
async def put_alert_receiver(call: Call) -> AlertReceiver:
    body: ReceiverIs = call.body
    return await call.cloud.alerting.add(
        call.path["receiver"], body.kind, body.where, secret=body.secret, sender=body.sender, to=body.to, user=body.user,
        tls=body.tls, api=body.api, replace=body.replace,
    )  # fmt: skip


@routes.add("delete", "/v1/alerts/receivers/{receiver}", "Tell a receiver nothing any more", gives=None, status=204)
async def remove_alert_receiver(call: Call) -> None:
    await call.cloud.alerting.rm(call.path["receiver"])


@routes.add("post", "/v1/alerts/test", "Send receivers a test", gives=Page[Tested], query=Which)
async def test_alert_receivers(call: Call) -> Page[Tested]:
    """What each of them answered; one that did not take it has `ok` false."""
    return Page(items=await call.cloud.alerting.test(call.query.receiver, host=call.query.host))


@routes.add("get", "/v1/alerts/rules", "The rules of alerts as they are in force", "read", gives=Page[AlertRule])
async def list_alert_rules(call: Call) -> Page[AlertRule]:
    return Page(items=await call.cloud.alert_rules())


@routes.add(
    "patch", "/v1/alerts/rules/{rule}", "Change a rule, or make one over a figure", gives=AlertRule, body=RuleIs
)
async def change_alert_rule(call: Call) -> AlertRule:
    body: RuleIs = call.body
    return await call.cloud.alerting.set_rule(
        call.path["rule"], on=body.on, limit=body.limit, for_s=body.for_s, clear_s=body.clear_s, metric=body.metric,
        of=body.of, below=body.below,
    )  # fmt: skip


@routes.add("delete", "/v1/alerts/rules/{rule}", "Remove a rule of one's own", gives=None, status=204)
async def remove_alert_rule(call: Call) -> None:
    """A built-in one is as it is built in again."""
    await call.cloud.alerting.rm_rule(call.path["rule"])


@routes.add("get", "/v1/alerts/silences", "What is silenced, and until when", "read", gives=Page[Silenced])
async def list_silences(call: Call) -> Page[Silenced]:
    return Page(items=await call.cloud.alerting.silences())


@routes.add("post", "/v1/alerts/silences", "Send nothing of a rule for a while", gives=Silenced, body=Quiet)
async def silence_alerts(call: Call) -> Silenced:
    """What still fires when it ends is told then."""
    return await call.cloud.alerting.silence(call.body.rule, call.body.subject, for_s=call.body.for_s)
