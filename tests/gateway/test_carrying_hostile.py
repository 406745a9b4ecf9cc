"""Upstreams that say of tasks what no client should read, and clients that try what is not theirs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.extensions.tasks.calling import TASKS, Caller, Refused
from tests.extensions.tasks.test_listening import acknowledged, told
from tests.gateway.test_carrying import before
from trunkline.extensions.tasks.names import KEY, LIFECYCLE, NARROWED
from trunkline.portable.model import Entry
from trunkline.protocol import messages

NOW = "2026-11-02T09:00:00Z"
FACTS = {"status": "working", "createdAt": NOW, "lastUpdatedAt": NOW, "ttlMs": None, "pollIntervalMs": 100}
OWN = "its-own-id-0001"


class Hostile:
    """A modern server whose answers about tasks are whatever a test says; it keeps what it was sent."""

    def __init__(self) -> None:
        self.created: dict[str, Any] = {"resultType": "task", "taskId": OWN, **FACTS}
        self.shown: dict[str, Any] = {"resultType": "complete", "taskId": OWN, **FACTS}
        self.error: dict[str, Any] | None = None
        self.told: list[dict[str, Any]] = []
        self.tells = True
        self.seen: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.extensions: dict[str, Any] = {TASKS: {}}
        self.streams = 0
        self.broken = asyncio.Event()
        self.drops = 0

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Entry]:
        app = web.Application()
        app.router.add_post("/mcp", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield Entry("up", "http", url=f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp")  # type: ignore[union-attr]
        finally:
            await runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        method, id, params = message["method"], message["id"], message["params"]
        self.seen.append(message)
        self.headers.append(request.headers.get("Mcp-Name"))
        if method == "subscriptions/listen":
            return await self.listen(request, id, params["notifications"])
        if method == "tools/call" and self.drops > 0:
            self.drops -= 1
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if method.startswith("tasks/") and self.error is not None:
            return web.json_response({"jsonrpc": "2.0", "id": id, "error": self.error}, status=400)
        results: dict[str, Any] = {
            "server/discover": {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "resources": {}, "extensions": self.extensions},
                "ttlMs": 60_000,
            },
            "tools/list": {"tools": [{"name": "job", "inputSchema": {"type": "object"}}], "ttlMs": 60_000},
            "resources/list": {"resources": [{"uri": "a://b", "name": "b"}], "ttlMs": 60_000},
            "resources/templates/list": {"resourceTemplates": [], "ttlMs": 60_000},
            "resources/read": self.created,
            "tools/call": self.created,
            "tasks/get": self.shown,
        }
        result = {"resultType": "complete", **results.get(method, {"secret": OWN})}
        return web.json_response({"jsonrpc": "2.0", "id": id, "result": result})

    async def listen(self, request: web.Request, id: object, wanted: dict[str, Any]) -> web.StreamResponse:
        ids = wanted.get("taskIds", []) if self.tells else []
        self.streams += bool(wanted.get("taskIds"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self.send(response, "subscriptions/acknowledged", {"notifications": {"taskIds": ids}}, id)
        for task in self.told if ids else ():
            await self.send(response, "tasks", task, id)
        self.broken.clear()
        await self.broken.wait()
        return response

    async def send(self, response: web.StreamResponse, name: str, params: dict[str, Any], id: object) -> None:
        meta = {messages.SUBSCRIPTION_KEY: id}
        body = {"jsonrpc": "2.0", "method": f"notifications/{name}", "params": {**params, "_meta": meta}}
        await response.write(b"data: " + messages.json.encode(body) + b"\n\n")

    def called(self, method: str) -> list[dict[str, Any]]:
        return [one["params"] for one in self.seen if one["method"] == method]


@pytest.fixture
def up() -> Hostile:
    return Hostile()


@pytest.fixture
async def ann(up: Hostile) -> AsyncIterator[Caller]:
    async with up.served() as entry, before(entry) as caller:
        yield caller
        up.broken.set()


def unfit(refused: pytest.ExceptionInfo[Refused]) -> str:
    """The answer is the upstream's fault, and says so."""
    assert refused.value.code == -31005, refused.value
    assert refused.value.data["dev.trunkline/retry"] is False
    return refused.value.message


@pytest.mark.parametrize(
    "id", ["x" * 3_000_000, "x" * 513, "", 7, None, ["a"], {"a": "b"}, "a\nb", "a\x00b", "\x1b[2J", "a\u202eb"]
)
async def test_an_id_nobody_can_use_is_the_upstreams_fault(up: Hostile, ann: Caller, id: object) -> None:
    up.created["taskId"] = id
    with pytest.raises(Refused) as refused:
        await ann.call("up__job")

    assert len(unfit(refused)) < 400


async def test_the_longest_id_makes_one_that_a_header_carries(up: Hostile, ann: Caller) -> None:
    up.created["taskId"] = up.shown["taskId"] = "é" * 512
    id = await ann.start("up__job")

    assert len(id) < 1600 and id.isascii()
    assert (await ann.get(id))["taskId"] == id
    assert up.headers[-1] is not None and up.headers[-1].startswith("=?base64?")


async def test_of_what_was_made_nothing_is_passed_on_that_a_creation_has_not(up: Hostile, ann: Caller) -> None:
    up.created |= {"result": {"content": []}, "inputRequests": {}, "error": {}, "_meta": {messages.SERVER_INFO_KEY: 1}}
    result = await ann.call("up__job")

    assert not {"result", "inputRequests", "error"} & result.keys()
    assert result["_meta"][messages.SERVER_INFO_KEY] != 1
    assert OWN not in str(result)


async def test_a_task_nobody_asked_for_is_refused(up: Hostile, ann: Caller) -> None:
    other = ann.other(declared=False, token="a")
    with pytest.raises(Refused) as refused:
        await other.call("up__job")
    assert "not asked for" in unfit(refused)
    with pytest.raises(Refused) as refused:
        await ann.send("resources/read", {"uri": "a://b"})
    assert "not asked for" in unfit(refused)


async def test_a_server_that_does_not_declare_tasks_is_not_told_of_them(up: Hostile) -> None:
    up.extensions = {}
    async with up.served() as entry, before(entry) as ann:
        with pytest.raises(Refused) as refused:
            await ann.call("up__job")
        assert "not asked for" in unfit(refused)
    assert TASKS not in str(up.called("tools/call"))


@pytest.mark.parametrize(
    "shown",
    [
        {"taskId": "another-task-of-somebody"},
        {"status": "melted"},
        {"status": "completed"},
        {"status": "completed", "result": {"content": "no list"}},
        {"status": "failed", "error": "no object"},
        {"status": "input_required"},
        {"status": "input_required", "inputRequests": {"k": {"method": "tools/call", "params": {}}}},
        {"status": "input_required", "inputRequests": {"k": "no request"}},
    ],
    ids=str,
)
async def test_a_task_that_cannot_be_used_is_the_upstreams_fault(
    up: Hostile, ann: Caller, shown: dict[str, Any]
) -> None:
    id = await ann.start("up__job")
    up.shown |= shown
    with pytest.raises(Refused) as refused:
        await ann.get(id)

    unfit(refused)


async def test_acks_are_empty_whatever_the_upstream_says(up: Hostile, ann: Caller) -> None:
    id = await ann.start("up__job")

    for result in (await ann.cancel(id), await ann.update(id, {"k": {"action": "decline"}})):
        assert result.keys() <= {"resultType", "_meta"}
    assert up.called("tasks/update")[0]["inputResponses"] == {"k": {"action": "decline"}}
    assert [params["taskId"] for params in (*up.called("tasks/update"), *up.called("tasks/cancel"))] == [OWN, OWN]


async def test_errors_and_messages_speak_of_the_task_by_the_id_the_client_knows(up: Hostile, ann: Caller) -> None:
    id = await ann.start("up__job")
    up.error = {"code": -32602, "message": f"Task {OWN} expired", "data": {"taskId": OWN, "pre" + OWN: [OWN]}}
    with pytest.raises(Refused) as refused:
        await ann.get(id)
    assert (refused.value.code, refused.value.message) == (-32602, f"Task {id} expired")
    assert refused.value.data == {"taskId": id, "pre" + OWN: [id]}

    up.error = None
    up.shown |= {"status": "failed", "statusMessage": f"{OWN}: no disk", "error": {"code": -32000, "message": OWN}}
    task = await ann.get(id)
    assert (task["statusMessage"], task["error"]) == (f"{id}: no disk", {"code": -32000, "message": id})


async def test_an_error_that_speaks_of_the_gateways_hop_is_not_the_clients(up: Hostile, ann: Caller) -> None:
    id = await ann.start("up__job")
    up.shown |= {"status": "failed", "error": {"code": -31001, "message": "who are you?"}}
    task = await ann.get(id)

    assert task["error"]["code"] == -31005
    assert "upstream up does not accept the credentials" in task["error"]["message"]


async def test_secrets_the_upstream_repeats_are_taken_out(up: Hostile) -> None:
    async with up.served() as plain:
        secret = Entry("up", "http", url=plain.url, headers={"Authorization": "s3cr3t"}, secret_values=("s3cr3t",))
        async with before(secret) as ann:
            id = await ann.start("up__job")
            up.shown |= {"status": "failed", "statusMessage": "s3cr3t", "error": {"code": -1, "message": "s3cr3t"}}
            assert "s3cr3t" not in str(await ann.get(id))
            up.error = {"code": -32602, "message": "s3cr3t", "data": "s3cr3t"}
            with pytest.raises(Refused) as refused:
                await ann.get(id)
            assert "s3cr3t" not in str(refused.value)


async def test_notifications_about_tasks_nobody_asked_for_reach_nobody(up: Hostile, ann: Caller) -> None:
    id = await ann.start("up__job")
    up.told = [
        {**FACTS, "taskId": "of-somebody-else", "status": "cancelled"},
        {**FACTS, "taskId": 7, "status": "cancelled"},
        {**FACTS, "status": "cancelled"},
        {**FACTS, "taskId": OWN, "status": "completed", "result": {"content": []}},
    ]
    async with ann.listening(id) as events:
        assert await acknowledged(events) == {"taskIds": [id]}
        assert (await told(events))["status"] == "working"
        task = await told(events)

    assert (task["taskId"], task["status"]) == (id, "completed")


async def test_one_that_tells_nothing_is_polled_and_one_that_breaks_off_is_listened_to_again(
    up: Hostile, ann: Caller
) -> None:
    up.tells = False
    id = await ann.start("up__job")
    async with ann.listening(id) as events:
        await acknowledged(events)
        assert (await told(events))["status"] == "working"
        up.shown |= {"status": "cancelled"}
        assert (await told(events))["status"] == "cancelled"

    up.tells, streams = True, up.streams
    up.shown |= {"status": "working"}
    async with ann.listening(id) as events:
        await acknowledged(events)
        assert (await told(events))["status"] == "working"
        while up.streams == streams:
            await asyncio.sleep(0.01)
        up.told = [{**FACTS, "taskId": OWN, "status": "cancelled"}]
        up.broken.set()
        assert (await told(events))["status"] == "cancelled"
    assert up.streams > streams + 1


async def test_an_id_its_upstream_does_not_know_any_more_is_left_out_of_what_is_listened_to(
    up: Hostile, ann: Caller
) -> None:
    id = await ann.start("up__job")
    up.error = {"code": -32602, "message": "unknown"}
    async with ann.listening(id) as events:
        assert await acknowledged(events) == {"taskIds": []}


async def test_two_callers_with_one_key_are_two_at_the_upstream(up: Hostile) -> None:
    up.extensions = {TASKS: {}, LIFECYCLE: {"idempotencyKeys": True}}
    async with up.served() as entry, before(entry) as ann:
        wishes: dict[str, object] = {KEY: "order-1", NARROWED: {"attempts": 1}}
        for caller in (ann, ann, ann.other(token="b")):
            await caller.call("up__job", wishes)
        metas = [params["_meta"] for params in up.called("tools/call")]

    one, again, bobs = (meta[KEY] for meta in metas)
    assert one == again != bobs
    assert "order-1" not in (one, bobs) and len(one) <= 200
    assert all(meta[NARROWED] == {"attempts": 1} for meta in metas)


async def test_a_key_goes_to_nobody_who_does_not_declare_it(up: Hostile, ann: Caller) -> None:
    await ann.call("up__job", {KEY: "order-1", NARROWED: {"attempts": 1}, "example.org/own": 1})
    [params] = up.called("tools/call")

    assert "order-1" not in str(params) and KEY not in params["_meta"] and NARROWED not in params["_meta"]
    assert params["_meta"]["example.org/own"] == 1


async def test_a_call_with_a_key_that_was_lost_is_sent_again_with_the_same_key(up: Hostile) -> None:
    up.extensions = {TASKS: {}, LIFECYCLE: {"idempotencyKeys": True}}
    async with up.served() as entry, before(entry) as ann:
        up.drops = 1
        await ann.start("up__job", {KEY: "order-1"})
        first, second = up.called("tools/call")
        assert first["_meta"][KEY] == second["_meta"][KEY]

        up.drops = 1
        with pytest.raises(Refused) as refused:
            await ann.start("up__job")
        assert "may have run" in refused.value.message
        assert len(up.called("tools/call")) == 3


async def test_a_call_with_a_key_its_upstream_does_not_honour_is_not_sent_again(up: Hostile, ann: Caller) -> None:
    up.drops = 1
    with pytest.raises(Refused, match="may have run"):
        await ann.start("up__job", {KEY: "order-1"})
    assert len(up.called("tools/call")) == 1


async def test_answers_come_from_the_tasks_owner_alone(up: Hostile, ann: Caller) -> None:
    id = await ann.start("up__job")
    with pytest.raises(Refused):
        await ann.other(token="b").update(id, {"k": {"action": "accept"}})
    for responses in ([], "x", None, {str(number): {} for number in range(1001)}):
        with pytest.raises(Refused) as refused:
            await ann.update(id, responses)  # type: ignore[arg-type]
        assert refused.value.code == -32602

    assert up.called("tasks/update") == []
