"""A client that shows what is on the wire: requests of any revision over HTTP, and everything that comes back.

It shares no code with the product.
"""

import asyncio
import contextlib
import itertools
import json

import aiohttp

from tests.wires.server import MODERN, PREFIX

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class RpcError(Exception):
    """A JSON-RPC error that came as the answer."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error.get("data", {})


class WireClient:
    """One client of an endpoint; use as a context manager.

    Parameters:
        url: the endpoint.
        revision: what it speaks.
        capabilities: what it declares.
        answers: what it answers when it is asked, by method.

    Attributes:
        heard: notifications that came with answers.
        asked: what it was asked.
        told: notifications that came on its standing stream.
        last: the id of its latest request.
    """

    def __init__(self, url, revision=MODERN, *, capabilities=None, answers=None, log=None):
        self.url = url
        self.revision = revision
        self.modern = revision == MODERN
        self.capabilities = capabilities or {}
        self.answers = answers or {}
        self.log = log
        self.heard = []
        self.asked = []
        self.told: asyncio.Queue[dict] = asyncio.Queue()
        self.last = 0
        self._ids = itertools.count(1)
        self._session = {}
        self._standing = None

    async def __aenter__(self):
        # Idle connections are dropped before the gateway drops them: a request must not meet one that is being closed.
        pool = aiohttp.TCPConnector(keepalive_timeout=2)
        self._http = aiohttp.ClientSession(connector=pool, timeout=aiohttp.ClientTimeout(total=50))
        if not self.modern:
            hello = {
                "protocolVersion": self.revision,
                "capabilities": self.capabilities,
                "clientInfo": {"name": "wire", "version": "1"},
            }
            result = await self.request("initialize", hello)
            assert result["protocolVersion"] == self.revision
            await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            if self.log:
                await self.request("logging/setLevel", {"level": self.log})
        return self

    async def __aexit__(self, *exception):
        if self._standing is not None:
            self._standing.cancel()
            await asyncio.gather(self._standing, return_exceptions=True)
        await self._http.close()

    async def request(self, method, params=None, headers=None):
        """The result of a request; a modern one's questions are answered in rounds. Raises `RpcError`."""
        given = dict(params or {})
        while True:
            result = await self.once(method, given, headers)
            if result.get("resultType") != "input_required":
                return result
            asked = result.get("inputRequests", {})
            self.asked += asked.values()
            given["inputResponses"] = {key: self.answers[one["method"]] for key, one in asked.items()}
            given.pop("requestState", None)
            if "requestState" in result:
                given["requestState"] = result["requestState"]

    async def once(self, method, params=None, headers=None):
        """One request and its result, whatever its type."""
        self.last = id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": self._stamped(params or {})}
        answer = None
        async for one in self._post(message, headers):
            if "method" not in one:
                assert one["id"] == id
                assert answer is None, "answered twice"
                answer = one
            elif "id" in one:
                self.asked.append(one)
                await self._reply(one)
            else:
                self.heard.append(one)
        assert answer is not None, f"no answer to {method}, after {len(self.heard)} notifications"
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    async def call(self, tool, arguments=None, **more):
        """Call a tool."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}, **more})

    async def listen(self, **wanted):
        """Open the standing stream: `subscriptions/listen` for a modern client, GET and subscriptions for a legacy one.

        Parameters:
            wanted: as in the filter of `subscriptions/listen`.
        """
        opened = asyncio.Event()
        self._standing = asyncio.create_task(self._stand(wanted, opened))
        waiting = asyncio.create_task(opened.wait())
        await asyncio.wait({waiting, self._standing}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._standing.done():
            self._standing.result()
        if not self.modern:
            for uri in wanted.get("resourceSubscriptions", ()):
                await self.request("resources/subscribe", {"uri": uri})

    async def _stand(self, wanted, opened):
        if self.modern:
            body = {
                "jsonrpc": "2.0",
                "id": next(self._ids),
                "method": "subscriptions/listen",
                "params": self._stamped({"notifications": wanted}),
            }
            async for one in self._post(body):
                if "error" in one:
                    raise RpcError(one["error"])
                if one.get("method") == "notifications/subscriptions/acknowledged":
                    opened.set()
                else:
                    self.told.put_nowait(one)
            return
        async with self._http.get(self.url, headers={**ACCEPT, **self._session}) as response:
            assert response.status == 200
            opened.set()
            async for one in _events(response):
                if "id" in one:
                    self.asked.append(one)
                    await self._reply(one)
                else:
                    self.told.put_nowait(one)

    async def hears(self, method, uri=None):
        """Wait until the standing stream brings this."""
        while True:
            one = await asyncio.wait_for(self.told.get(), 20)
            if one["method"] == method and uri in (None, one.get("params", {}).get("uri")):
                return one

    def _stamped(self, params):
        if not self.modern:
            return params
        meta = {f"{PREFIX}protocolVersion": MODERN, f"{PREFIX}clientCapabilities": self.capabilities}
        if self.log:
            meta[f"{PREFIX}logLevel"] = self.log
        return {**params, "_meta": {**meta, **params.get("_meta", {})}}

    async def _reply(self, asked):
        answer = self.answers.get(asked["method"])
        body = {"jsonrpc": "2.0", "id": asked["id"]}
        body |= {"result": answer} if answer is not None else {"error": {"code": -32601, "message": "no"}}
        await self.send(body)

    async def send(self, message):
        """A message that has no answer."""
        async for one in self._post(message):
            raise AssertionError(f"an answer came: {one}")

    async def _post(self, message, more=None):
        """POST a message; yields the messages that come back."""
        headers = {**ACCEPT, **self._session, **(more or {})}
        if self.modern:
            headers |= {"MCP-Protocol-Version": MODERN, "Mcp-Method": message.get("method", "")}
            params = message.get("params", {})
            name = params.get("uri" if message["method"] == "resources/read" else "name")
            if message["method"] in ("tools/call", "prompts/get", "resources/read"):
                headers["Mcp-Name"] = name
        async with self._http.post(self.url, data=json.dumps(message), headers=headers) as response:
            if message.get("method") == "initialize" and response.status == 200:
                self._session = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
                if self.revision != "2025-03-26":
                    self._session["MCP-Protocol-Version"] = self.revision
            if response.content_type == "text/event-stream":
                async for one in _events(response):
                    yield one
            else:
                body = await response.read()
                if body:
                    yield json.loads(body)


async def _events(response):
    """The messages of an event stream; what they carry beside `data` is of no interest here."""
    rest = b""
    async for chunk in response.content.iter_any():
        *events, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            data = [line.removeprefix(b"data:") for line in event.split(b"\n") if line.startswith(b"data:")]
            if b"".join(data).strip():
                yield json.loads(b"\n".join(data))


@contextlib.asynccontextmanager
async def clients(url, revisions, **options):
    """A client of each revision."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(WireClient(url, one, **options)) for one in revisions]
