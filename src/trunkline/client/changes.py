"""Change notifications that survive the connection.

What it is for: listen, reconnect with backoff, listen again, and say what may have changed meanwhile.
What may live here: that loop. What may not: how a peer listens.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Literal

from msgspec import Struct

from trunkline.client.connection import Connection
from trunkline.client.peer import Notification
from trunkline.errors import HttpFailure, MethodNotFound, SignInError, TransportError

_log = logging.getLogger("trunkline.client")
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 30.0
ChangeKind = Literal["tools", "prompts", "resources", "resource"]
_KINDS: dict[str, ChangeKind] = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
    "notifications/resources/updated": "resource",
}


class Change(Struct, frozen=True):
    """Something changed: a list (`tools`, `prompts`, `resources`), or one resource (`resource`, with its `uri`).

    `missed` is True when the connection was lost for a while, so that it may have changed unseen.
    """

    kind: ChangeKind
    uri: str | None = None
    missed: bool = False


async def follow(
    connection: Connection,
    wanted: Mapping[str, object],
    notice: Callable[[str, Mapping[str, object]], None],
    on_ready: Callable[[], None] | None = None,
) -> AsyncGenerator[Change, None]:
    """Changes for a listen filter, until the caller stops or the connection is closed for good.

    Parameters:
        notice: takes each notification before the change is handed out; for the cache.
        on_ready: called once, when the server has confirmed the subscription for the first time.

    Raises `MethodNotFound` when the server offers none of it, `RemoteError` or `HttpFailure` when it refuses.
    """
    wait, missed = _FIRST_WAIT, False
    while not connection.closed:
        try:
            peer = await connection.peer()
            async with aclosing(peer.listen(wanted)) as notifications:
                async for notification in notifications:
                    wait = _FIRST_WAIT
                    changes = _changes(notification, missed, notice)
                    if on_ready is not None:
                        # The acknowledgement comes first, and what offers nothing has raised by now.
                        on_ready()
                        on_ready = None
                    for change in changes:
                        yield change
        except HttpFailure as failure:
            if failure.status < 500 and failure.status != 429:
                raise
            _log.info("%s: listening failed: %s", connection.target.name, failure)
        except SignInError:
            raise
        except TransportError as error:
            _log.info("%s: listening broke off: %s", connection.target.name, error)
        missed = True
        if not connection.closed:
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311
        wait = min(wait * 2, _LONGEST_WAIT)


def _changes(
    notification: Notification, missed: bool, notice: Callable[[str, Mapping[str, object]], None]
) -> list[Change]:
    method, params = notification.method, notification.params
    if method == "notifications/subscriptions/acknowledged":
        return _acknowledged(params, missed, notice)
    kind = _KINDS.get(method)
    if kind is None:
        return []
    notice(method, params)
    uri = params.get("uri")
    return [Change(kind, uri if isinstance(uri, str) else None)]


def _acknowledged(
    params: Mapping[str, object], missed: bool, notice: Callable[[str, Mapping[str, object]], None]
) -> list[Change]:
    agreed = params.get("notifications")
    granted = agreed if isinstance(agreed, dict) else {}
    uris = granted.get("resourceSubscriptions")
    lists = [name for name in ("tools", "prompts", "resources") if granted.get(f"{name}ListChanged")]
    if not lists and not uris:
        raise MethodNotFound("The server offers no notifications of the kinds asked for")
    if not missed:
        return []
    changes: list[Change] = []
    for method, kind in _KINDS.items():
        if kind in lists:
            notice(method, {})
            changes.append(Change(kind, missed=True))
    for uri in uris if isinstance(uris, list) else ():
        notice("notifications/resources/updated", {"uri": uri})
        changes.append(Change("resource", str(uri), missed=True))
    return changes
