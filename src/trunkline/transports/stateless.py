"""Modern requests, the same on every transport.

What it is for: the context of a modern request, and the life of one `subscriptions/listen`.
What may live here: what needs only an exchange. What may not: how messages travel.
"""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from msgspec import UNSET

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, Ear, Exchange
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.protocol import json
from trunkline.protocol.messages import NO_META, SUBSCRIPTION_KEY, Id, Params, notification, result_message
from trunkline.protocol.revisions import REVISIONS
from trunkline.runtime.application import Application
from trunkline.runtime.listen import METHOD_OF, News, Subscription, parse_filter


class Listening(Protocol):
    """The exchange of a `subscriptions/listen`: whoever drains it closes its subscription."""

    subscription: Subscription | None

    async def notify(self, message: bytes) -> None:
        """Send an encoded notification of this subscription."""


def context_of(id: Id, method: str, params: Params, principal: Principal, exchange: Exchange) -> Context:
    """The context of an admitted request: everything about the client is in its `_meta`."""
    meta = params.meta if params.meta is not UNSET else NO_META
    return Context(
        id,
        method,
        params,
        REVISIONS[meta.version],  # type: ignore[index]
        principal,
        exchange,
        {} if meta.capabilities is UNSET else meta.capabilities,
        None if meta.client_info is UNSET else meta.client_info,
        None if meta.log_level is UNSET else meta.log_level,
    )


async def listen(application: Application, context: Context, exchange: Listening) -> bytes:
    """Acknowledge, then tell changes until one side ends it (patterns/subscriptions); returns the response."""
    engine = application.engine
    engine.permit(context.principal, context.method, context.params)
    raw = json.plain(context.params.raw)
    wanted = raw.get("notifications") if isinstance(raw, dict) else None
    filter = parse_filter(wanted, engine.capabilities(context.revision))
    ears = await _ears(engine, context, wanted)
    uris = sorted(filter.uris)
    await engine.provider.follow(context, uris)
    subscription = exchange.subscription = application.hub.open(filter, context.principal.owner)
    tag = {SUBSCRIPTION_KEY: context.request_id}
    try:
        honoured = filter.wire()
        for ear in ears:
            honoured.update(ear.honoured)
        acknowledged = {"_meta": tag, "notifications": honoured}
        await exchange.notify(notification("notifications/subscriptions/acknowledged", acknowledged))
        for ear in ears:
            ear.open(partial(subscription.offer_news, ear))
        if application.inflight.draining:
            subscription.close()
        while changes := await subscription.next():
            for change in changes:
                message = changed(change, tag) if isinstance(change, Change) else await _told(change, tag)
                if message is not None:
                    await exchange.notify(message)
    finally:
        for ear in ears:
            ear.close()
        subscription.close()
        await engine.provider.unfollow(context, uris)
    return result_message(context.request_id, {"resultType": "complete", "_meta": tag})


async def _ears(engine: Engine, context: Context, wanted: object) -> list[Ear]:
    """What extensions tell on this stream; one that was asked for something may refuse the whole."""
    if not isinstance(wanted, dict):
        return []
    return [
        await extension.listen(context, wanted)
        for extension in engine.extensions
        if extension.listen is not None and any(key in wanted for key in extension.listen_keys)
    ]


async def _told(news: News, tag: Mapping[str, object]) -> bytes | None:
    told = await news.ear.tell(news.name)
    if told is None:
        return None
    method, params = told
    meta = params.get("_meta")
    return notification(method, {**params, "_meta": {**meta, **tag} if isinstance(meta, Mapping) else tag})


def changed(change: Change, tag: Mapping[str, object] | None = None) -> bytes:
    """The notification of a change; `tag` is the `_meta` of the subscription it belongs to."""
    params: dict[str, object] = {}
    if tag is not None:
        params["_meta"] = tag
    if change.uri is not None:
        params["uri"] = change.uri
    return notification(METHOD_OF[change.kind], params or None)
