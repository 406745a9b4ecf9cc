"""A server of the modern era (2026-07-28 and later).

What it is for: `_meta` and mirrored headers on every request, header parameters of known tools, listen streams.
What may live here: client duties of the modern era. What may not: input rounds, caching, sessions.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from math import inf

from trunkline.client.channel import Body, Channel, Headers, OnNotification, OnRequest, Params
from trunkline.client.patience import Patience
from trunkline.client.peer import MAXIMUM, TIMEOUT, BasePeer, Greeting, Inbox, Notification, unwrap
from trunkline.errors import (
    HeaderMismatch,
    InvalidAnswer,
    RemoteError,
    RequestTimeout,
    TransportError,
    UnsupportedVersion,
)
from trunkline.extensions.tasks.names import IDENTIFIER, METHOD_NAMES
from trunkline.extensions.tasks.polling import DECLARED_WITH
from trunkline.protocol.headers import HeaderParam, encode_value, mirror_params
from trunkline.protocol.messages import CAPABILITIES_KEY, CLIENT_INFO_KEY, SERVER_INFO_KEY, VERSION_KEY
from trunkline.protocol.revisions import LATEST_MODERN, MODERN, NAME_PARAMS, Era, common
from trunkline.protocol.schema import header_params

_log = logging.getLogger("trunkline.client")
_ACKNOWLEDGE_SECONDS = 30
_NAMED = {**NAME_PARAMS, **METHOD_NAMES}
_MAX_PAGES = 1000


class ModernPeer(BasePeer):
    """A server that takes version, identity and capabilities with every request; there is no handshake.

    Parameters as `BasePeer`, and `revision`: the protocol version to declare first.
    """

    era: Era = "modern"

    def __init__(
        self,
        channel: Channel,
        greeting: Greeting,
        name: str,
        *,
        revision: str = LATEST_MODERN,
        on_request: OnRequest | None = None,
        on_event: OnNotification | None = None,
    ) -> None:
        super().__init__(channel, greeting, name, on_request=on_request, on_event=on_event)
        self.revision = revision
        self.cancels_by_message = channel.duplex
        with_tasks = DECLARED_WITH if greeting.tasks else ()
        self._declared = dict.fromkeys(with_tasks, _with_tasks(greeting.capabilities))
        self._header_params: dict[str, tuple[HeaderParam, ...]] = {}
        self._refused: set[str] = set()

    async def request(
        self,
        method: str,
        params: Params,
        *,
        timeout: float | None = TIMEOUT,
        maximum: float = MAXIMUM,
        on_notification: OnNotification | None = None,
        on_request: OnRequest | None = None,
        headers: Headers = (),
        patience: Patience | None = None,
    ) -> dict[str, object]:
        """See `Peer.request`. A version or header the server corrects is corrected once and the request sent again."""
        for last in (False, True):
            call = self.call(method, self._stamped(params, method), headers)
            call.on_notification, call.patience = on_notification, patience
            try:
                result = unwrap(await self.perform(call, timeout, maximum), call, self.name)
            except RemoteError as error:
                if last or not await self._corrected(error, method):
                    raise
                continue
            return self._learned(result) if method == "tools/list" else result
        raise AssertionError("unreachable")

    async def discover(self, timeout: float | None = TIMEOUT) -> dict[str, object]:
        """Ask `server/discover` and remember the facts."""
        result = await self.request("server/discover", {}, timeout=timeout)
        self.adopt(result)
        return result

    def adopt(self, discovered: Mapping[str, object]) -> None:
        """Take the facts of a `DiscoverResult`."""
        supported, capabilities = discovered.get("supportedVersions"), discovered.get("capabilities")
        if not isinstance(supported, list) or not isinstance(capabilities, dict):
            raise InvalidAnswer(f"{self.name} answered server/discover without supportedVersions and capabilities")
        self.revision = common(MODERN, [v for v in supported if isinstance(v, str)]) or self.revision
        self.capabilities = capabilities
        meta, instructions = discovered.get("_meta"), discovered.get("instructions")
        info = meta.get(SERVER_INFO_KEY) if isinstance(meta, dict) else None
        self.server_info = info if isinstance(info, dict) else {}
        self.instructions = instructions if isinstance(instructions, str) else None

    async def listen(self, notifications: Mapping[str, object]) -> AsyncGenerator[Notification, None]:
        """See `Peer.listen`."""
        inbox = Inbox()
        clock = Patience(None, inf, deadlines=self._deadlines)
        task = asyncio.create_task(self._subscribed(notifications, inbox, clock))
        try:
            item = await self._acknowledged(inbox, clock)
            while item is not None:
                yield item
                item = await inbox.get()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def answer(self, message: Body, handler: OnRequest | None) -> None:
        """A modern server must not send requests (Receiving Messages): nothing is answered."""
        _log.warning("%s sent a request, which this protocol version does not allow", self.name)

    async def _acknowledged(self, inbox: Inbox, clock: Patience) -> Notification | None:
        while True:
            try:
                async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                    return await inbox.get()
            except TimeoutError:
                if not clock.still:
                    raise RequestTimeout(f"{self.name} did not acknowledge the subscription") from None

    async def _subscribed(self, notifications: Mapping[str, object], inbox: Inbox, clock: Patience) -> None:
        async def take(method: str, params: dict[str, object]) -> None:
            if method == "notifications/cancelled":
                inbox.end()
            else:
                inbox.put(method, params)

        try:
            method = "subscriptions/listen"
            call = self.call(method, self._stamped({"notifications": dict(notifications)}, method))
            call.on_notification, call.patience = take, clock
            unwrap(await self.perform(call, None, MAXIMUM), call, self.name)
            inbox.end()
        except (TransportError, RemoteError) as error:
            inbox.end(error)

    def _stamped(self, params: Params, method: str) -> dict[str, object]:
        """The parameters with our `_meta` (basic/index, Per-request protocol fields); the caller's keys stay."""
        greeting, given = self.greeting, params.get("_meta")
        capabilities = self._declared.get(method, greeting.capabilities)
        meta: dict[str, object] = {CLIENT_INFO_KEY: greeting.info, CAPABILITIES_KEY: capabilities}
        # A dict is the usual case, and asking an abstract class is dear.
        if isinstance(given, (dict, Mapping)):
            meta.update(given)
        meta[VERSION_KEY] = self.revision
        return {**params, "_meta": meta}

    def _headers(self, method: str, params: Params) -> Headers:
        """The mirrored headers (Streamable HTTP, Request Metadata)."""
        if self.channel.duplex:
            return ()
        version, named = ("MCP-Protocol-Version", self.revision), ("Mcp-Method", method)
        name = params.get(_NAMED.get(method, ""))
        if not isinstance(name, str):
            return version, named
        if method != "tools/call" or name not in self._header_params:
            return version, named, ("Mcp-Name", encode_value(name))
        mirrored = mirror_params(self._header_params[name], params.get("arguments"))
        return version, named, ("Mcp-Name", encode_value(name)), *mirrored

    async def _corrected(self, error: RemoteError, method: str) -> bool:
        """Whether what the server complained about is corrected, so that the request can be sent again."""
        if error.remote_code == UnsupportedVersion.code:
            revision = common(MODERN, offered(error))
            self.revision = revision or self.revision
            return revision is not None
        if error.remote_code == HeaderMismatch.code and method == "tools/call" and not self.channel.duplex:
            await self._list_tools()
            return True
        return False

    async def _list_tools(self) -> None:
        """Read the tool list anew for its header parameters (Client Behavior)."""
        params: dict[str, object] = {}
        for _ in range(_MAX_PAGES):
            result = await self.request("tools/list", params)
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str) or cursor == params.get("cursor"):
                return
            params = {"cursor": cursor}

    def _learned(self, result: dict[str, object]) -> dict[str, object]:
        """Note header parameters of listed tools, and leave out tools whose annotations are not allowed."""
        tools = result.get("tools")
        if self.channel.duplex or not isinstance(tools, list):
            return result
        kept = [tool for tool in tools if self._usable(tool)]
        return result if len(kept) == len(tools) else {**result, "tools": kept}

    def _usable(self, tool: object) -> bool:
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(name, str):
            return True
        try:
            found = header_params(tool.get("inputSchema"))
        except ValueError as error:
            if name not in self._refused:
                self._refused.add(name)
                _log.warning("%s: the tool %r is left out: %s", self.name, name, error)
            return False
        if found:
            self._header_params[name] = found
        else:
            self._header_params.pop(name, None)
        return True


def _with_tasks(capabilities: Mapping[str, object]) -> dict[str, object]:
    """What is declared with the requests that the tasks extension concerns (tasks, Capability rules)."""
    given = capabilities.get("extensions")
    return {**capabilities, "extensions": {**(given if isinstance(given, Mapping) else {}), IDENTIFIER: {}}}


def offered(error: RemoteError) -> list[str]:
    """The versions an `UnsupportedProtocolVersionError` lists."""
    supported = error.data.get("supported") if isinstance(error.data, dict) else None
    return [version for version in supported if isinstance(version, str)] if isinstance(supported, list) else []
