"""Reads that are answered from what is kept: only what is still good, and only to those who may see it."""

import asyncio
import contextlib

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, until
from tests.gateway.upstreams import federated
from trunkline import Context, Server
from trunkline.gateway.reads import Reads
from trunkline.protocol.messages import Params
from trunkline.protocol.revisions import REVISIONS


class Library:
    """A server that counts how often it is read, and says how long each answer is good, and for whom."""

    def __init__(self):
        self.reads = 0
        self.hint = {"ttlMs": 60_000, "cacheScope": "public"}
        self.hold = asyncio.Event()
        self.hold.set()
        self.server = Server("library")

        @self.server.resource("book://{name}")
        async def book(name: str, context: Context) -> str:
            self.reads += 1
            count = self.reads
            await self.hold.wait()
            if name == "asks":
                await context.elicit("Whose?", {"type": "object", "properties": {}})
            return f"{name} {count}"

        provider, library = self.server.engine.provider, self
        original = provider.read_resource

        async def read(context):
            return {**await original(context), **library.hint}

        provider.read_resource = read


@contextlib.asynccontextmanager
async def behind(library):
    """A gateway over it that is connected: what is read before that is not kept."""
    async with federated({"library": library.server}) as (federation, engine, local):
        await until(lambda: federation.statuses()[0].state == "ready")
        yield federation, engine, local


async def text(caller, uri="book://a", **more):
    return (await caller.request("resources/read", {"uri": uri, **more}))["contents"][0]["text"]


async def test_what_is_everybodys_is_read_once():
    library = Library()
    async with behind(library) as (federation, engine, _):
        assert await text(Caller(engine, principal=ALICE)) == "a 1"
        assert await text(Caller(engine, principal=BOB)) == "a 1"
        assert await text(Caller(engine, "2025-06-18", principal=BOB)) == "a 1"
        assert await text(Caller(engine), "book://b") == "b 2"
        assert (federation.statuses()[0].hits, federation.statuses()[0].cached) == (2, 2)
        result = await Caller(engine).request("resources/read", {"uri": "book://a"})
        assert 0 < result["ttlMs"] <= 60_000


@pytest.mark.parametrize("scope", ["private", None, "odd"])
async def test_what_is_private_stays_with_its_caller(scope):
    library = Library()
    library.hint = {"ttlMs": 60_000, "cacheScope": scope}
    async with behind(library) as (_, engine, _):
        alice, bob = Caller(engine, principal=ALICE), Caller(engine, principal=BOB)
        assert [await text(alice), await text(bob), await text(alice), await text(bob)] == ["a 1", "a 2"] * 2


@pytest.mark.parametrize("hint", [{}, {"ttlMs": 0, "cacheScope": "public"}, {"ttlMs": "long", "cacheScope": "public"}])
async def test_what_has_no_time_is_not_kept(hint):
    library = Library()
    library.hint = hint
    async with behind(library) as (_, engine, _):
        caller = Caller(engine)
        assert [await text(caller), await text(caller)] == ["a 1", "a 2"]


async def test_clients_that_can_do_other_things_read_for_themselves():
    library = Library()
    async with behind(library) as (_, engine, _):
        assert await text(Caller(engine)) == "a 1"
        assert await text(Caller(engine, capabilities={"sampling": {}})) == "a 2"


async def test_requests_that_say_more_are_not_answered_from_what_is_kept():
    library = Library()
    async with behind(library) as (_, engine, _):
        caller = Caller(engine)
        assert await text(caller) == "a 1"
        assert await text(caller, range="0-10") == "a 2"
        assert await text(caller, _meta={"com.example/tenant": "x"}) == "a 3"
        assert await text(caller) == "a 1"


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_answers_to_questions_are_never_kept(revision):
    library = Library()
    answers = {"elicitation/create": {"action": "accept", "content": {}}}
    async with behind(library) as (federation, engine, _):
        for _ in range(2):
            caller = Caller(engine, revision, capabilities={"elicitation": {}}, answers=answers)
            assert await text(caller, "book://asks")
            assert caller.asked
        assert federation.statuses()[0].hits == 0


async def test_a_change_drops_what_is_kept_and_what_is_being_read():
    library = Library()
    async with behind(library) as (federation, engine, _):
        caller = Caller(engine)
        upstream = federation._upstreams["library"]
        assert await text(caller) == "a 1"
        library.hold.clear()
        other = asyncio.create_task(text(caller, "book://b"))
        while library.reads < 2:
            await asyncio.sleep(0.005)
        upstream._reads.drop("book://a")
        library.hold.set()
        assert await other == "b 2"
        assert await text(caller) == "a 3"
        assert await text(caller, "book://b") == "b 4"


async def test_many_who_want_the_same_read_it_once():
    library = Library()
    async with behind(library) as (_, engine, _):
        await text(Caller(engine), "book://warm")
        library.hold.clear()
        callers = [Caller(engine, principal=ALICE) for _ in range(20)]
        tasks = [asyncio.create_task(text(caller)) for caller in callers]
        await asyncio.sleep(0.05)
        library.hold.set()
        assert set(await asyncio.gather(*tasks)) == {"a 2"}
        assert library.reads == 2


async def test_one_who_leaves_does_not_take_the_others_along():
    library = Library()
    async with behind(library) as (_, engine, _):
        caller = Caller(engine)
        await text(caller, "book://warm")
        library.hold.clear()
        first, second = asyncio.create_task(text(caller)), asyncio.create_task(text(caller))
        await asyncio.sleep(0.05)
        first.cancel()
        library.hold.set()
        assert (await second).startswith("a ")


async def test_what_is_kept_is_bounded():
    async def answer(size):
        return {"contents": [{"text": "x" * size}], "ttlMs": 1000, "cacheScope": "public"}

    context = Context(1, "resources/read", Params(), REVISIONS["2026-07-28"], ALICE, None, {})
    reads = Reads(entries=10, size=100_000)
    for index in range(100):
        await reads.get(context, {"uri": f"a://{index}"}, lambda: answer(10))
        assert len(reads) <= 10
    await reads.get(context, {"uri": "a://large"}, lambda: answer(50_000))
    assert len(reads) == 10
    for index in range(100):
        await reads.get(context, {"uri": f"b://{index}"}, lambda: answer(11_000))
    assert len(reads) <= 8
    reads.drop()
    assert len(reads) == 0
    assert reads._size == 0
