"""A server of the legacy era (2025-11-25 and earlier).

What it is for: the `initialize` handshake, HTTP sessions and their renewal, resumable streams, emulated listening.
What may live here: client duties of the legacy era. What may not: input rounds, caching, the modern era.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping

from trunkline.client.channel import Body, Call, Channel, Headers, OnNotification, OnRequest, Params
from trunkline.client.duplex import DuplexChannel
from trunkline.client.handover import Handed, Handover
from trunkline.client.http import HttpChannel
from trunkline.client.patience import Patience
from trunkline.client.peer import MAXIMUM, TIMEOUT, BasePeer, Greeting, Inbox, Notification, unwrap
from trunkline.errors import HttpFailure, InvalidAnswer, ProtocolError, RemoteError, TransportError
from trunkline.protocol.messages import CAPABILITIES_KEY, CLIENT_INFO_KEY, LOG_LEVEL_KEY, VERSION_KEY
from trunkline.protocol.revisions import LATEST_LEGACY, REVISIONS, Era

_log = logging.getLogger("trunkline.client")
_MODERN_META = (VERSION_KEY, CLIENT_INFO_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY)
_RETRY_MS = 1000
_MAX_RETRY_MS = 60_000
_RESUMPTIONS = 5
_STREAM_SECONDS = 2.0
_LISTS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}


class LegacyPeer(BasePeer):
    """A server that begins with `initialize`; over HTTP it may keep a session, which is renewed when lost.

    Parameters as `BasePeer`, and `handover`, where several processes share its session. Call `initialize` first.
    """

    era: Era = "legacy"
    cancels_by_message = True

    def __init__(
        self,
        channel: Channel,
        greeting: Greeting,
        name: str,
        *,
        on_request: OnRequest | None = None,
        on_event: OnNotification | None = None,
        handover: Handover | None = None,
    ) -> None:
        super().__init__(channel, greeting, name, on_request=on_request, on_event=on_event)
        self._http = channel if isinstance(channel, HttpChannel) else None
        self._handover = handover if self._http is not None else None
        self._listening = True
        if self._handover is not None:
            # Ids are unique in a session, whichever process sends the request (2025-11-25, basic, Requests).
            channel.ids = itertools.count(secrets.randbelow(2**50))
        if isinstance(channel, DuplexChannel):
            channel.on_end(self._cut)
        self._session: str | None = None
        self._renewing = asyncio.Lock()
        self._listeners: dict[Inbox, Mapping[str, object]] = {}
        self._followed: dict[str, int] = {}
        self._stream: asyncio.Task[None] | None = None
        self._log_level: dict[str, object] | None = None

    async def initialize(
        self, version: str = LATEST_LEGACY, timeout: float | None = TIMEOUT, lost: str | None = None
    ) -> None:
        """Shake hands (2025-11-25, lifecycle, Initialization), or use the session another process of ours has begun.

        Parameters:
            version: the one to offer.
            timeout: seconds it may take.
            lost: a session the server does not know any more.
        """
        handed = None if self._handover is None else await self._handover.find(lost)
        if handed is None:
            await self._shake(version, timeout)
            if self._handover is not None and self._session is not None:
                await self._hand(self._handover, self._session, lost)
        else:
            self._take_over(handed)
        if self._listening and (self.greeting.capabilities or self._listeners):
            await self._ensure_stream()

    async def _shake(self, version: str, timeout: float | None) -> None:
        self.revision, self._session = "", None
        params: dict[str, object] = {
            "protocolVersion": version,
            "capabilities": self.greeting.capabilities,
            "clientInfo": self.greeting.info,
        }
        call = self.call("initialize", params)
        result = unwrap(await self.perform(call, timeout, MAXIMUM), call, self.name)
        agreed = result.get("protocolVersion")
        revision = REVISIONS.get(agreed) if isinstance(agreed, str) else None
        if revision is None or revision.era != "legacy":
            raise InvalidAnswer(
                f"{self.name} wants to speak protocol version {str(agreed)[:40]!r}, which is unknown here"
            )
        self._adopt(result)
        self.revision = revision.name
        session = call.headers.get("mcp-session-id")
        if session is not None and not (session.isascii() and session.isprintable() and " " not in session):
            raise InvalidAnswer(f"{self.name} gave a session id with characters that are not allowed")
        self._session = session
        await self.notify("notifications/initialized", {})

    async def _hand(self, handover: Handover, session: str, lost: str | None) -> None:
        """Let other processes use the session; one that was first goes before."""
        told = Handed(session, self.revision, self.capabilities, self.server_info, self.instructions)
        kept = await handover.keep(told, lost)
        if kept.session != session:
            await self._end_session()
            self._take_over(kept)

    def _take_over(self, handed: Handed) -> None:
        self.revision, self._session = handed.revision, handed.session
        self.capabilities, self.server_info = handed.capabilities, handed.server_info
        self.instructions, self._listening = handed.instructions, handed.listening

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
        """See `Peer.request`. A request refused because the session is gone is sent again in a new one."""
        params = _without_modern_meta(params)
        if method == "logging/setLevel":
            self._log_level = dict(params)
        for last in (False, True):
            await self._settled()
            session = self._session
            call = self.call(method, params, headers)
            call.on_notification, call.on_request, call.patience = on_notification, on_request, patience
            try:
                message = await self.perform(call, timeout, maximum)
            except HttpFailure as failure:
                if session is None or failure.status != 404:
                    raise
            else:
                if session is None or not _session_lost(call, message) or (last and call.status != 404):
                    return unwrap(message, call, self.name)
            if last:
                raise TransportError(f"{self.name} lost one session after the other", delivered=False)
            await self._renew(session)
        raise AssertionError("unreachable")

    async def exchange(self, call: Call) -> Body:
        """Send a request; while its stream breaks and can be resumed, resume it."""
        session = self._session
        try:
            return await self.channel.exchange(call)
        except InvalidAnswer:
            raise
        except TransportError:
            if self._http is None or call.last_event_id is None or call.status >= 300:
                raise
        return await self._resumed(self._http, call, session)

    async def listen(self, notifications: Mapping[str, object]) -> AsyncGenerator[Notification, None]:
        """See `Peer.listen`: emulated with list_changed notifications and `resources/subscribe`."""
        inbox = Inbox()
        uris = notifications.get("resourceSubscriptions")
        wanted = [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list | tuple) else []
        agreed = self._agreed(notifications, wanted)
        self._listeners[inbox] = agreed
        await self._ensure_stream()
        subscribed: list[str] = []
        try:
            if agreed.get("resourceSubscriptions"):
                for uri in wanted:
                    await self._follow(uri)
                    subscribed.append(uri)
            yield Notification("notifications/subscriptions/acknowledged", {"notifications": agreed})
            while (item := await inbox.get()) is not None:
                yield item
        finally:
            del self._listeners[inbox]
            for uri in subscribed:
                await self._unfollow(uri)

    async def close(self) -> None:
        """End the session and the connection."""
        if self._stream is not None:
            self._stream.cancel()
        self._cut(TransportError(f"The connection to {self.name} was closed"))
        if self._session is not None and await self._let_go(self._session):
            await self._end_session()
        self._session = None
        await super().close()

    async def _let_go(self, session: str) -> bool:
        """Whether nobody else uses the session."""
        if self._handover is None:
            return True
        try:
            return await self._handover.leave(session)
        except ProtocolError as error:
            _log.warning("%s: a session is left to expire: %s", self.name, error)
            return False

    async def _end_session(self) -> None:
        if self._http is not None:
            with contextlib.suppress(TransportError, TimeoutError):
                async with asyncio.timeout(2):
                    await self._http.delete(self._headers("", {}))

    def publish(self, method: str, params: dict[str, object]) -> None:
        """Hand a notification to the listeners that asked for it, and to the owner."""
        for inbox, wanted in self._listeners.items():
            if _wants(wanted, method, params):
                inbox.put(method, params)
        super().publish(method, params)

    def _cut(self, reason: TransportError) -> None:
        """Tell the listeners that they may have missed something; they listen again."""
        for inbox in self._listeners:
            inbox.end(reason)

    def _agreed(self, notifications: Mapping[str, object], uris: list[str]) -> dict[str, object]:
        """The part of a filter this server can honour."""
        agreed: dict[str, object] = {}
        for feature in ("tools", "prompts", "resources"):
            declared = self.capabilities.get(feature)
            key = f"{feature}ListChanged"
            if notifications.get(key) and isinstance(declared, dict) and declared.get("listChanged"):
                agreed[key] = True
        resources = self.capabilities.get("resources")
        if uris and isinstance(resources, dict) and resources.get("subscribe"):
            agreed["resourceSubscriptions"] = uris
        return agreed

    async def _follow(self, uri: str) -> None:
        self._followed[uri] = self._followed.get(uri, 0) + 1
        if self._followed[uri] > 1:
            return
        try:
            await self.request("resources/subscribe", {"uri": uri})
        except BaseException:
            self._followed.pop(uri, None)
            raise

    async def _unfollow(self, uri: str) -> None:
        self._followed[uri] -= 1
        if not self._followed[uri]:
            del self._followed[uri]
            self.spawn(self._unsubscribe, uri)

    async def _unsubscribe(self, uri: str) -> None:
        try:
            await self.request("resources/unsubscribe", {"uri": uri})
        except ProtocolError as error:
            # What has ended meanwhile tells nothing any more.
            _log.debug("%s: %s is not unsubscribed from: %s", self.name, uri, error)

    def _adopt(self, result: Mapping[str, object]) -> None:
        capabilities, info = result.get("capabilities"), result.get("serverInfo")
        instructions = result.get("instructions")
        self.capabilities = capabilities if isinstance(capabilities, dict) else {}
        self.server_info = info if isinstance(info, dict) else {}
        self.instructions = instructions if isinstance(instructions, str) else None

    def _headers(self, method: str, params: Params) -> Headers:
        if self._http is None or not self.revision:
            return ()
        headers: Headers = ()
        if REVISIONS[self.revision].version_header:
            headers += (("MCP-Protocol-Version", self.revision),)
        return headers if self._session is None else (*headers, ("Mcp-Session-Id", self._session))

    async def _settled(self) -> None:
        """Wait while a session is being renewed: until then there are neither session nor version headers."""
        if self._renewing.locked():
            async with self._renewing:
                return

    async def _renew(self, lost: str) -> None:
        """Begin a new session instead of a lost one, once for all who notice (Session Management, item 4)."""
        async with self._renewing:
            if self._session != lost:
                return
            _log.info("%s: the session was lost, beginning a new one", self.name)
            revision = self.revision
            try:
                await self.initialize(revision or LATEST_LEGACY, lost=lost)
            except BaseException:
                # Whoever comes next, or has waited for this, tries again.
                self.revision, self._session = revision, lost
                raise
            restored: list[tuple[str, Params]] = [("resources/subscribe", {"uri": uri}) for uri in self._followed]
            if self._log_level is not None:
                restored.append(("logging/setLevel", self._log_level))
            for method, params in restored:
                call = self.call(method, params)
                await self.perform(call, TIMEOUT, MAXIMUM)

    async def _resumed(self, http: HttpChannel, call: Call, session: str | None) -> Body:
        """Reconnect with the last event id, waiting as the server said (Sending Messages, item 6)."""
        what = f"{self.name}: the stream of {call.method} broke and could not be resumed; it may have run"
        failures = 0
        while True:
            await asyncio.sleep(min(call.retry if call.retry is not None else _RETRY_MS, _MAX_RETRY_MS) / 1000)
            before = call.last_event_id
            if self._session != session:
                raise TransportError(f"{what} (its session is gone)")
            try:
                return await http.resume(call, self._headers("", {}))
            except InvalidAnswer:
                raise
            except TransportError as error:
                if isinstance(error, HttpFailure) and error.status < 500:
                    # Also a 404: in a new session the request would run a second time.
                    raise TransportError(f"{what} ({error.status})") from error
                # A balancer answers 502 and its like while it looks for somebody else.
                failures = failures + 1 if call.last_event_id == before else 0
                if failures == _RESUMPTIONS:
                    raise TransportError(what) from error

    async def _ensure_stream(self) -> None:
        """Open the standalone GET stream, where messages outside of any request arrive; it lives in the background.

        Waits until it is open or refused, since many servers drop what they would send while it is not.
        """
        if self._http is None or self._stream is not None:
            return
        settled = asyncio.Event()
        self._stream = asyncio.create_task(self._keep_stream(self._http, settled.set), name=f"stream {self.name}")
        self._stream.add_done_callback(lambda _: settled.set())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STREAM_SECONDS):
                await settled.wait()

    async def _keep_stream(self, http: HttpChannel, opened: Callable[[], None]) -> None:
        call = self.call("", {})
        failures, first, renewed = 0, True, False

        def reopened() -> None:
            nonlocal first, renewed
            renewed = False
            if not first and call.last_event_id is None:
                self._cut(TransportError(f"{self.name}: notifications may have been lost; listen again"))
            first = False
            opened()

        session = self._session
        while True:
            began = asyncio.get_running_loop().time()
            if session != self._session:
                session, call.last_event_id = self._session, None
            try:
                await http.stream(self._headers("", {}), call, reopened)
            except HttpFailure as failure:
                if failure.status == 404 and session is not None:
                    with contextlib.suppress(TransportError, RemoteError):
                        await self._renew(session)
                        if not renewed:
                            renewed = True
                            continue  # there is no reason to wait for the stream of the new session
                elif failure.status < 500:
                    return  # 405: the server offers no such stream
            except TransportError as error:
                _log.debug("%s: the background stream broke: %s", self.name, error)
            failures = 0 if asyncio.get_running_loop().time() - began > 5 else failures + 1
            wait = call.retry if call.retry is not None else _RETRY_MS
            await asyncio.sleep(min(wait * 2 ** min(failures, 6), _MAX_RETRY_MS) / 1000)


def _wants(wanted: Mapping[str, object], method: str, params: Mapping[str, object]) -> bool:
    if method == "notifications/resources/updated":
        uris = wanted.get("resourceSubscriptions")
        uri = params.get("uri")
        # An update may name a sub-resource of the one subscribed to (2025-11-25, resources, Subscriptions).
        return isinstance(uris, list) and isinstance(uri, str) and any(_covers(one, uri) for one in uris)
    return bool(wanted.get(_LISTS.get(method, "")))


def _covers(subscribed: str, updated: str) -> bool:
    return updated == subscribed or updated.startswith(subscribed.rstrip("/") + "/")


def _session_lost(call: Call, message: Body) -> bool:
    """Whether an error answer means that the session is gone: 404 says so, some servers say it with 400."""
    error = message.get("error")
    if call.status == 404:
        return not isinstance(error, dict) or error.get("code") != -32601
    text = error.get("message") if isinstance(error, dict) else None
    return call.status == 400 and isinstance(text, str) and "session" in text.lower()


def _without_modern_meta(params: Params) -> dict[str, object]:
    meta = params.get("_meta")
    if not isinstance(meta, Mapping) or not any(key in meta for key in _MODERN_META):
        return dict(params)
    kept = {key: value for key, value in meta.items() if key not in _MODERN_META}
    stripped = {key: value for key, value in params.items() if key != "_meta"}
    return {**stripped, "_meta": kept} if kept else stripped
