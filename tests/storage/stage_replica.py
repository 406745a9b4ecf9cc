"""A replica in a process of its own: does what its arguments say and prints what was acknowledged, line by line.

python -m tests.storage.stage_replica URL write|events|mail|hold [RECIPIENT]
"""

import asyncio
import itertools
import sys

from tests.storage.conftest import QUICK
from trunkline.storage.storage import Storage, open_storage


async def write(storage: Storage, _: str) -> None:
    """Put records from many tasks; print each key once it is acknowledged."""
    store = storage.records("session")

    async def one(task: int) -> None:
        for number in itertools.count():
            await store.put(f"{task}.{number}", b"%d" % number)
            print(f"{task}.{number}", flush=True)

    await asyncio.gather(*map(one, range(8)))


async def events(storage: Storage, _: str) -> None:
    """Append to a stream; print each id once it is durable."""
    await storage.events.begin("o.s", "a", b"")
    while True:
        ids = [storage.events.append("o.s", "a", b"x") for _ in range(10)]
        await storage.events.flush()
        print("\n".join(ids), flush=True)


async def mail(storage: Storage, recipient: str) -> None:
    """Send numbered mail; print each number once it is acknowledged."""
    for number in itertools.count():
        assert await storage.replicas.send(recipient, "t", b"%d" % number)
        print(number, flush=True)


async def hold(storage: Storage, _: str) -> None:
    """Hold a lease; print whether it is held."""
    async with storage.lease("x", 6) as held:
        print(held, flush=True)
        await asyncio.Event().wait()


async def main(url: str, what: str, recipient: str = "") -> None:
    """Register, print the name, and go on until killed."""
    async with open_storage(url, timing=QUICK) as storage:
        print(storage.name, flush=True)
        await {"write": write, "events": events, "mail": mail, "hold": hold}[what](storage, recipient)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
