"""Requests multiplexed over one stream."""

import asyncio

import pytest

from tests.client.raw import GREETING, Message, Scripted, answer
from trunkline.client.duplex import DuplexChannel
from trunkline.client.modern import ModernPeer
from trunkline.errors import InvalidAnswer, MessageTooLong, RequestTimeout, TransportError


async def connected(link: Scripted, **options: object) -> ModernPeer:
    channel = DuplexChannel(link, "scripted", **options)  # type: ignore[arg-type]
    peer = ModernPeer(channel, GREETING, "scripted")
    await channel.start(peer.sink)
    return peer


async def test_answers_find_their_requests_in_any_order() -> None:
    waiting: list[Message] = []

    def reply(message: Message) -> list[Message | bytes | None]:
        waiting.append(message)
        if len(waiting) < 3:
            return []
        return [answer(one, {"name": one["params"]["name"]}) for one in reversed(waiting)]  # type: ignore[index]

    peer = await connected(Scripted(reply))
    results = await asyncio.gather(*(peer.request("tools/call", {"name": name}) for name in "abc"))
    assert [result["name"] for result in results] == ["a", "b", "c"]
    await peer.close()


async def test_garbage_is_counted_and_told_but_never_fatal() -> None:
    garbage: list[bytes] = []
    lines = [
        b"npm WARN deprecated",
        b"",
        b"\xff\xfe",
        b"{",
        b'{"a":1}',
        b"[" * 10_000,
        b'{"jsonrpc":"2.0","id":1,"id":1}',
    ]
    peer = await connected(Scripted(lambda message: [*lines, answer(message, {"ok": True})]), on_garbage=garbage.append)
    assert await peer.request("tools/list", {}) == {"ok": True}
    assert garbage == [line for line in lines if line]
    assert isinstance(peer.channel, DuplexChannel)
    assert peer.channel.garbage == len(garbage)
    await peer.close()


class Narrow(Scripted):
    """A link on which messages of more than 1,000 bytes are dropped."""

    async def receive(self) -> bytes | None:
        raw = await super().receive()
        if raw is not None and len(raw) > 1000:
            raise MessageTooLong(f"a line of {len(raw)} bytes", raw[:256], raw[-256:])
        return raw


LONG = "x" * 2000


@pytest.mark.parametrize(
    "written",
    [
        '{"jsonrpc":"2.0","id":%d,"result":{"a":"' + LONG + '"}}',
        '{ "id" : "%d", "jsonrpc": "2.0", "result" : [' + LONG + '"]}',
        '{"result":{"a":"' + LONG + '"},"jsonrpc":"2.0","id":%d}',
        '{"jsonrpc":"2.0","error":{"a":"' + LONG + '"} , "id": %d }\r',
    ],
)
async def test_an_answer_that_is_too_long_is_told_to_the_request_it_was_for(written: str) -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] == "tools/call":
            return [(written % message["id"]).encode()]
        return [answer(message, {"ok": True})]

    peer = await connected(Narrow(reply))
    with pytest.raises(InvalidAnswer, match=r"a line of 2\d\d\d bytes"):
        await peer.request("tools/call", {"name": "long"})
    assert await peer.request("tools/list", {}) == {"ok": True}
    await peer.close()


@pytest.mark.parametrize(
    "written",
    [
        '{"jsonrpc":"2.0","id":%d,"method":"x","params":{"a":"' + LONG + '"}}',
        '{"jsonrpc":"2.0","id":999,"result":{"a":"' + LONG + '","b":{"id":%d}}}',
        '{"result":{"a":"' + LONG + '","b":[1],"id":%d}}',
        "id: %d " + LONG,
    ],
)
async def test_what_is_too_long_and_no_answer_is_left_out(written: str) -> None:
    peer = await connected(Narrow(lambda message: [(written % message["id"]).encode(), answer(message, {"ok": True})]))
    assert await peer.request("tools/call", {"name": "long"}) == {"ok": True}
    await peer.close()


async def test_a_batch_is_taken_apart() -> None:
    import json

    def reply(message: Message) -> list[Message | bytes | None]:
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
        return [json.dumps([log, answer(message, {"ok": True})]).encode()]

    seen = []

    async def note(method: str, params: dict[str, object]) -> None:
        seen.append(params["data"])

    peer = await connected(Scripted(reply))
    assert await peer.request("tools/list", {}, on_notification=note) == {"ok": True}
    assert seen == ["x"]
    await peer.close()


async def test_the_end_of_the_stream_fails_what_is_in_flight_and_what_comes_later() -> None:
    peer = await connected(Scripted(lambda message: [None]))
    with pytest.raises(TransportError, match="ended the connection") as during:
        await peer.request("tools/call", {"name": "x"})
    assert during.value.delivered
    with pytest.raises(TransportError) as after:
        await peer.request("tools/call", {"name": "x"})
    assert not after.value.delivered
    await peer.close()


async def test_a_request_nobody_waits_for_is_cancelled_by_message() -> None:
    link = Scripted(lambda message: [])
    peer = await connected(link)
    with pytest.raises(RequestTimeout):
        await peer.request("tools/call", {"name": "x"}, timeout=0.05)
    while len(link.received) < 2:
        await asyncio.sleep(0.01)
    assert link.received[1]["method"] == "notifications/cancelled"
    assert link.received[1]["params"]["requestId"] == link.received[0]["id"]  # type: ignore[index]
    await peer.close()


async def test_two_subscriptions_do_not_mix() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] != "subscriptions/listen":
            return []
        params = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
        wanted = message["params"]["notifications"]  # type: ignore[index]
        acknowledged = {
            "method": "notifications/subscriptions/acknowledged",
            "params": {**params, "notifications": wanted},
        }
        kind = "tools" if "toolsListChanged" in wanted else "prompts"
        changed = {"method": f"notifications/{kind}/list_changed", "params": params}
        return [{"jsonrpc": "2.0", **acknowledged}, {"jsonrpc": "2.0", **changed}]

    peer = await connected(Scripted(reply))
    tools, prompts = peer.listen({"toolsListChanged": True}), peer.listen({"promptsListChanged": True})
    for subscription, kind in ((tools, "tools"), (prompts, "prompts")):
        assert (await anext(subscription)).method == "notifications/subscriptions/acknowledged"
        assert (await anext(subscription)).method == f"notifications/{kind}/list_changed"
    await tools.aclose()
    await prompts.aclose()
    await peer.close()


async def test_a_server_may_end_a_subscription_by_cancelling_it() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] != "subscriptions/listen":
            return []
        meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
        acknowledged = {"method": "notifications/subscriptions/acknowledged", "params": {**meta, "notifications": {}}}
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": message["id"]}}
        return [{"jsonrpc": "2.0", **acknowledged}, {"jsonrpc": "2.0", **cancelled}]

    peer = await connected(Scripted(reply))
    assert len([notification async for notification in peer.listen({})]) == 1
    await peer.close()


async def test_a_slow_reader_of_one_request_does_not_hold_up_another() -> None:
    slow = asyncio.Event()

    def reply(message: Message) -> list[Message | bytes | None]:
        token = message["params"]["_meta"].get("progressToken")  # type: ignore[index]
        progress = {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1},
        }
        return [progress, answer(message, {})] if token is not None else [answer(message, {})]

    async def stuck(method: str, params: dict[str, object]) -> None:
        await slow.wait()

    peer = await connected(Scripted(reply))
    held = asyncio.create_task(
        peer.request("tools/call", {"name": "x", "_meta": {"progressToken": 7}}, on_notification=stuck)
    )
    await asyncio.sleep(0)
    assert await peer.request("tools/list", {}) == {}
    assert not held.done()
    slow.set()
    assert await held == {}
    await peer.close()
