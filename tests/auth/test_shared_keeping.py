"""Sign-ins that replicas share, in both databases: everybody has them, one refreshes, the database alone is no use."""

import asyncio
import logging

from tests.gateway.callers import Caller, gateway, until
from tests.gateway.signed import FAST, entry, guarded, sign_in
from tests.storage.conftest import url  # noqa: F401
from trunkline.auth.shared_keeping import SharedSignIns
from trunkline.auth.tokens import Kept, Tokens
from trunkline.engine.sealed import Keys
from trunkline.gateway import Federation
from trunkline.gateway.credentials import Accounts
from trunkline.storage.storage import Storage, open_storage

KEY = b"k" * 32
SIGNED_IN = Kept(
    issuer="https://id.example.com",
    resource="https://mcp.example.com/mcp",
    tokens=Tokens(access_token="access-secret", refresh_token="refresh-secret"),
    proof_key={"d": "private-secret"},
)
NAMES = SIGNED_IN.issuer, SIGNED_IN.resource


def shared(storage: Storage, key: bytes = KEY) -> SharedSignIns:
    return SharedSignIns(lambda: storage, Keys([key]))


async def test_every_replica_has_what_one_kept(url: str) -> None:  # noqa: F811
    async with open_storage(url) as one, open_storage(url) as other:
        mine, theirs = shared(one).of(""), shared(other).of("")
        assert (await theirs.list(), await theirs.load(*NAMES)) == ([], None)
        await mine.save(SIGNED_IN)
        assert await theirs.load(*NAMES) == SIGNED_IN
        assert [(name.issuer, name.resource) for name in await theirs.list()] == [NAMES]
        assert await theirs.load(NAMES[0] + "/", NAMES[1]) is None
        assert await theirs.forget(*NAMES)
        assert await mine.load(*NAMES) is None
        assert not await mine.forget(*NAMES)


async def test_nothing_opens_for_another_owner_in_another_place_or_with_another_key(url: str, caplog) -> None:  # noqa: F811
    async with open_storage(url) as storage:
        everybody = shared(storage)
        alice, mallory = everybody.of("alice"), everybody.of("mallory")
        await alice.save(SIGNED_IN)
        assert await mallory.list() == []
        records = everybody.open()[1]
        raw = await records.load(alice._key)
        assert raw is not None
        assert b"secret" not in raw
        # Who writes to the database can move a record, and cannot use it.
        await records.put(mallory._key, raw)
        caplog.set_level(logging.WARNING)
        assert await mallory.load(*NAMES) is None
        moved = raw.replace(b"mcp.example.com/mcp", b"mcp.example.com/abc")
        await records.put(alice._key, moved)
        assert await alice.load(NAMES[0], "https://mcp.example.com/abc") is None
        await records.put(alice._key, raw)
        assert await shared(storage, b"x" * 32).of("alice").load(*NAMES) is None
        assert await alice.load(*NAMES) == SIGNED_IN
        assert "secret" not in caplog.text


async def test_writers_do_not_lose_each_others_sign_ins(url: str) -> None:  # noqa: F811
    async with open_storage(url) as one, open_storage(url) as other:
        stores = [shared(one).of(""), shared(other).of("")]
        kept = [Kept(issuer=f"https://id{number}.example.com", resource=NAMES[1]) for number in range(20)]
        await asyncio.gather(*(stores[number % 2].save(each) for number, each in enumerate(kept)))
        assert len(await stores[0].list()) == 20


async def test_of_two_replicas_one_refreshes(url: str) -> None:  # noqa: F811
    async with guarded() as server, open_storage(url) as one, open_storage(url) as other:
        await sign_in(server, shared(one).of(""))
        made = [
            Federation([entry(server)], accounts=Accounts(shared(each).of("")), backoff=FAST) for each in (one, other)
        ]
        async with gateway(made[0]) as engine, gateway(made[1]) as replica:
            for federation in made:
                await until(lambda each=federation: each.statuses()[0].tools is not None)
            server.provider.revoke()
            callers = [Caller(each) for each in (engine, replica) for _ in range(5)]
            await asyncio.gather(*(caller.call("tracker__hello") for caller in callers))
        grants = [form["grant_type"] for form in server.provider.calls("/token")]
        assert grants == ["authorization_code", "refresh_token"]


async def test_one_at_a_time_has_a_sign_in(url: str) -> None:  # noqa: F811
    async with open_storage(url) as one, open_storage(url) as other:
        held: list[str] = []

        async def use(storage: Storage, name: str) -> None:
            async with shared(storage).of("").lock(*NAMES):
                held.append(f"{name} in")
                await asyncio.sleep(0.1)
                held.append(f"{name} out")

        await asyncio.gather(use(one, "a"), use(other, "b"), use(one, "c"))
        assert [step.partition(" ")[0] for step in held[::2]] == [step.partition(" ")[0] for step in held[1::2]]
