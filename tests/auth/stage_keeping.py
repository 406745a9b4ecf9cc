"""A process that works with a store: `python -m tests.auth.stage_keeping FOLDER WHAT`."""

import asyncio
import sys
from pathlib import Path

from tests.auth.test_keeping import ISSUER, RESOURCE, kept
from trunkline.auth.keeping import FileStore, system_store


async def count(store: FileStore) -> None:
    """Add 1 to a number in what is kept, twenty times; a lost update shows in the sum."""
    for _ in range(20):
        async with store.lock(ISSUER, RESOURCE):
            held = await store.load(ISSUER, RESOURCE)
            number = int(held.tokens.access_token) if held and held.tokens else 0
            await asyncio.sleep(0.002)
            await store.save(kept(access=str(number + 1)))


async def hold(store: FileStore) -> None:
    async with store.lock(ISSUER, RESOURCE):
        print("held", flush=True)
        await asyncio.sleep(50)


async def save(store: FileStore) -> None:
    await store.save(kept(access="from another process"))


async def main() -> None:
    store = system_store(Path(sys.argv[1]))
    await {"count": count, "hold": hold, "save": save}[sys.argv[2]](store)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
