"""An HTTP API as a server.

What it is for: answers `tools/list` and `tools/call` in this process, so that all of the gateway works for APIs too.
What may live here: sending requests, bounds on what comes back. What may not: documents, encodings.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path

import aiohttp
from yarl import URL

from trunkline.client.channel import Headers, OnNotification, OnRequest, Params
from trunkline.client.http import address, connecting, join, origin
from trunkline.client.patience import Patience, Pulse, timed_out
from trunkline.client.peer import MAXIMUM, TIMEOUT, Notification
from trunkline.errors import (
    HttpFailure,
    InvalidAnswer,
    InvalidParams,
    MethodNotFound,
    RemoteError,
    TransportError,
)
from trunkline.gateway.masking import Mask
from trunkline.gateway.openapi import answers, document, operations, requests
from trunkline.gateway.openapi.document import Document
from trunkline.portable.model import Entry
from trunkline.portable.openapi import OpenApi, settings
from trunkline.protocol import json, schema
from trunkline.protocol.revisions import Era

_REDIRECTS = 3
_REDIRECTED = frozenset((301, 302, 303, 307, 308))
_TTL_MS = 3_600_000
_CHUNK = 64 * 1024


class OpenApiPeer:
    """The operations of a document as tools; `revision` says which OpenAPI it is.

    Parameters:
        entry: the upstream, resolved.
        read: its document.
        session: the pool; not closed by the peer.
        connect: seconds a connection may take.
    """

    era: Era = "modern"

    def __init__(self, entry: Entry, read: Document, session: aiohttp.ClientSession, connect: float) -> None:
        self.name = entry.name
        self.revision = f"openapi {read.version}"
        info = read.section("info")
        title, version = info.get("title"), info.get("version")
        self.server_info: dict[str, object] = {"name": str(title or entry.name), "version": str(version or "")}
        self.capabilities: dict[str, object] = {"tools": {}}
        self.instructions: str | None = None
        self._entry = entry
        self._settings: OpenApi = settings(entry)
        self._session = session
        self._connect = connect
        self._mask = Mask(entry.secret_values)
        self.operations, self.faults = operations.operations(read, self._settings)
        self._validators: dict[tuple[str, str], schema.Validator | None] = {}

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
        """Answer a request; see `Peer`. Nothing of `headers` is sent on."""
        if method == "tools/list":
            return {"tools": [one.tool for one in self.operations.values()], "ttlMs": _TTL_MS, "cacheScope": "public"}
        if method != "tools/call":
            raise RemoteError(MethodNotFound.code, f"{self.name} is an HTTP API and has tools only")
        operation = self.operations.get(str(params.get("name")))
        if operation is None:
            raise RemoteError(InvalidParams.code, f"Unknown tool: {str(params.get('name'))[:100]}")
        clock = patience or Patience(timeout, math.inf if timeout is None else maximum)
        pulse = Pulse()
        clock.attend(pulse)
        try:
            call = self._call(operation, params.get("arguments") or {}, pulse)
            return await (call if patience is not None else clock.bound(call))
        finally:
            clock.leave()

    async def notify(self, method: str, params: Params) -> None:
        """An API takes no notifications."""

    async def listen(self, notifications: Mapping[str, object]) -> AsyncGenerator[Notification, None]:
        """An API tells no changes."""
        raise RemoteError(MethodNotFound.code, f"{self.name} is an HTTP API and tells no changes")
        yield Notification("", {})

    async def close(self) -> None:
        """The pool is the gateway's."""

    async def _call(self, operation: operations.Operation, arguments: object, pulse: Pulse) -> dict[str, object]:
        wrong = self._violations(operation, "inputSchema", arguments)
        if wrong or not isinstance(arguments, Mapping):
            return answers.failure("Invalid arguments: " + ("; ".join(wrong) or "they are not an object"))
        try:
            request = requests.build(operation, arguments, self._entry.headers, self._settings.auth)
        except ValueError as error:
            return answers.failure(f"Invalid arguments: {error}")
        try:
            result = await self._send(request, pulse)
        except aiohttp.ConnectionTimeoutError:
            who = f"{address(operation.base)} cannot be reached"
            raise timed_out("connect", self._connect, who, delivered=False) from None
        except aiohttp.ClientConnectorError as error:
            where = address(operation.base)
            raise TransportError(f"{where} cannot be reached: {error.strerror}", delivered=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise InvalidAnswer(f"the request to {address(operation.base)} failed: {type(error).__name__}") from None
        return self._conforming(operation, result)

    async def _send(self, request: requests.Request, pulse: Pulse) -> dict[str, object]:
        url = request.url
        for _ in range(_REDIRECTS + 1):
            async with self._session.request(
                request.method,
                URL(url, encoded=True),
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=connecting(self._connect),
            ) as response:
                pulse.beat()
                if response.status not in _REDIRECTED or request.method not in ("GET", "HEAD"):
                    return await self._answer(response, pulse)
                following = join(url, response.headers.get("Location", ""))
            if following is None:
                return answers.failure(f"HTTP {response.status}: it redirects to another place, which is not followed")
            url = following
        return answers.failure(f"It redirects more than {_REDIRECTS} times")

    async def _answer(self, response: aiohttp.ClientResponse, pulse: Pulse) -> dict[str, object]:
        if response.status >= 300:
            body = await _read(response, answers.MAX_BYTES // 64, pulse) or b""
            return answers.refused(response.status, response.headers, body, self._mask)
        read = await _read(response, answers.MAX_BYTES, pulse)
        if read is None:
            return answers.failure(f"The answer has more than {answers.MAX_BYTES // 1024**2} MiB; ask for less")
        media = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        where = address(str(response.url))
        return answers.accepted(response.status, media, response.charset or "", read, where)

    def _conforming(self, operation: operations.Operation, result: dict[str, object]) -> dict[str, object]:
        """A result that keeps what the tool declares: clients refuse structured content that breaks the schema."""
        if "outputSchema" not in operation.tool or result.get("isError"):
            return result
        if "structuredContent" in result:
            wrong = self._violations(operation, "outputSchema", result["structuredContent"])
            if not wrong:
                return result
        else:
            wrong = ["it is no JSON object"]
        said = f"The answer is not what the API's document declares ({wrong[0][:300]}). It was:"
        content = result["content"]
        assert isinstance(content, list)
        return {"content": [{"type": "text", "text": said}, *content], "isError": True}

    def _violations(self, operation: operations.Operation, member: str, value: object) -> list[str]:
        key = (str(operation.tool["name"]), member)
        if key not in self._validators:
            try:
                self._validators[key] = schema.compile_schema(operation.tool[member])
            except ValueError:
                # A pattern of another regular expression dialect, for instance: the API checks for itself.
                self._validators[key] = None
        validator = self._validators[key]
        if validator is None:
            return []
        return schema.violations(validator, json.plain(json.encode(value)))


async def open_api(entry: Entry, session: aiohttp.ClientSession, connect: float) -> OpenApiPeer:
    """Read an upstream's document and make the peer. Raises `TransportError`, `ConfigError`."""
    given = settings(entry)
    if given.file is not None:
        raw, name = await asyncio.to_thread(_from_file, given.file), Path(given.file).name
    else:
        raw, name = await _fetch(entry, given, session, connect), "the document"
    # A large document takes a while to read; other upstreams go on meanwhile.
    value = await asyncio.to_thread(document.parse, raw, name)
    peer = await asyncio.to_thread(partial(_made, entry, value, session, connect))
    _require(peer.operations, peer.faults)
    return peer


def examine(entry: Entry) -> None:
    """See that a document in a file can be used. Raises `TransportError`, `InvalidAnswer`; fetches nothing."""
    given = settings(entry)
    if given.file is not None:
        value = document.parse(_from_file(given.file), Path(given.file).name)
        made, faults = operations.operations(Document(value), given)
        _require(made, faults)


def _require(made: Mapping[str, operations.Operation], faults: Sequence[str]) -> None:
    if not made:
        raise InvalidAnswer("; ".join(["the document has no operation to show", *faults[:1]]))


def _made(entry: Entry, value: Mapping[str, object], session: aiohttp.ClientSession, connect: float) -> OpenApiPeer:
    return OpenApiPeer(entry, Document(value, entry.url), session, connect)


def _from_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise TransportError(f"the document {path} cannot be read: {error.strerror}", delivered=False) from None


async def _fetch(entry: Entry, given: OpenApi, session: aiohttp.ClientSession, connect: float) -> bytes:
    """The document. The API's headers go to the API's origin alone."""
    same = given.base_url is None or origin(given.base_url) == origin(entry.url)
    headers = {**(entry.headers if same else {}), "Accept": "application/json, application/yaml;q=0.9, */*;q=0.1"}
    url = entry.url
    try:
        for _ in range(_REDIRECTS + 1):
            timeout = connecting(connect)
            async with session.get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
                if response.status == 200:
                    raw = await _read(response, document.MAX_BYTES, Pulse())
                    if raw is None:
                        raise InvalidAnswer(f"the document has more than {document.MAX_BYTES // 1024**2} MiB")
                    return raw
                following = join(url, response.headers.get("Location", ""))
            if response.status not in _REDIRECTED or following is None:
                raise HttpFailure(f"the document was answered with HTTP {response.status}", response.status, {})
            url = following
    except aiohttp.ConnectionTimeoutError:
        raise timed_out("connect", connect, f"the document at {address(url)} cannot be had", delivered=False) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TransportError(f"the document at {address(url)} cannot be had: {type(error).__name__}") from None
    raise InvalidAnswer("the document redirects too often")


async def _read(response: aiohttp.ClientResponse, most: int, pulse: Pulse) -> bytes | None:
    """The body, or None where it is larger than `most`; what was decompressed counts."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(_CHUNK):
        pulse.beat()
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)
