"""A server of tasks that does exactly what a test says; it shares no code with the product."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from tests.client.raw import DISCOVERED, Message, answer, event, refusal, stream

TASKS = "io.modelcontextprotocol/tasks"
ID = "t-0123456789abcdefghijkl"
QUESTION: Message = {
    "method": "elicitation/create",
    "params": {"mode": "form", "message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}},
}
DONE: Message = {"content": [{"type": "text", "text": "done"}]}
BREAK: Message = {}
Reply = Message | Callable[[web.Request, Message], web.StreamResponse | Message]


def task(
    status: str, /, *, ttl: int | None = 60_000, poll: int | None = 100, age: float = 0.0, **more: object
) -> Message:
    """The task as the server would show it; `age` is how long ago it was created, in seconds."""
    now = datetime.now(UTC)
    shown: Message = {
        "taskId": ID,
        "status": status,
        "createdAt": (now - timedelta(seconds=age)).isoformat(),
        "lastUpdatedAt": now.isoformat(),
        "ttlMs": ttl,
        **more,
    }
    return shown if poll is None else {**shown, "pollIntervalMs": poll}


def finished(**more: object) -> Message:
    """The task with its result."""
    return task("completed", result=DONE, **more)  # type: ignore[arg-type]


def asking(*keys: str) -> Message:
    """The task with questions."""
    return task("input_required", inputRequests=dict.fromkeys(keys, QUESTION))


class ByHand:
    """Answers a call with `created`, looks with `states` one after the other (the last for ever), and keeps what came.

    Parameters:
        listens: `no` (the method is unknown), `ignores` (acknowledged without the task), `yes`: then what is put into
            `news` is told, None ends the stream, and `BREAK` breaks its connection.
        extensions: what it declares beside the tasks extension.
    """

    def __init__(
        self, *states: Reply, created: Reply | None = None, listens: str = "no", extensions: Message | None = None
    ) -> None:
        self.states = list(states)
        self.created = created or task("working")
        self.listens = listens
        self.extensions: Message = {TASKS: {}, **(extensions or {})}
        self.news: asyncio.Queue[Message | None] = asyncio.Queue()
        self.seen: list[tuple[str, Message, dict[str, str]]] = []
        self.streams = 0

    def params(self, method: str) -> list[Message]:
        """The parameters of every request of a method."""
        return [params for seen, params, _ in self.seen if seen == method]

    def answers(self) -> list[Message]:
        """The answers that came, update by update."""
        return [params["inputResponses"] for params in self.params("tasks/update")]  # type: ignore[misc]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        message = await request.json()
        method, params = message["method"], message.get("params", {})
        self.seen.append((method, params, dict(request.headers)))
        reply: Reply
        if method == "server/discover":
            reply = {**DISCOVERED, "capabilities": {"tools": {}, "extensions": self.extensions}}
        elif method == "tools/list":
            reply = {
                "tools": [{"name": "slow", "inputSchema": {"type": "object"}}],
                "ttlMs": 0,
                "cacheScope": "private",
            }
        elif method == "tools/call":
            reply = self.created if callable(self.created) else {"resultType": "task", **self.created}
        elif method == "tasks/get":
            reply = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        elif method in ("tasks/update", "tasks/cancel"):
            reply = {}
        elif method == "subscriptions/listen" and self.listens != "no":
            return await self._listen(request, message)
        else:
            return web.json_response(refusal(message, -32601), status=404)
        made = reply(request, message) if callable(reply) else reply
        if isinstance(made, web.StreamResponse):
            return made
        return web.json_response(answer(message, {"resultType": "complete", **made}))

    async def _listen(self, request: web.Request, message: Message) -> web.StreamResponse:
        self.streams += 1
        response = await stream(request)
        about: Message = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
        agreed: Message = {"taskIds": [ID]} if self.listens == "yes" else {}
        told: Message = {"notifications": agreed, **about}
        await response.write(
            event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": told})
        )
        while (news := await self.news.get()) is not None:
            if news is BREAK:
                assert request.transport is not None
                request.transport.abort()
                break
            await response.write(
                event({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {**news, **about}})
            )
        return response


def status(code: int, **headers: str) -> Reply:
    """An HTTP status without a message."""
    return lambda request, message: web.Response(
        status=code, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def error(code: int, text: str = "no", data: object = None) -> Reply:
    """A JSON-RPC error."""
    return lambda request, message: web.json_response(refusal(message, code, text, data))


def cut(request: web.Request, message: Message) -> web.StreamResponse | Message:
    """The connection breaks before an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()
