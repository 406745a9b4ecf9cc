"""A process with a sign-in that has to be refreshed: `python -m tests.auth.stage_refreshing FOLDER URL [DATABASE]`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from trunkline import Client
from trunkline.auth import shared_keeping
from trunkline.auth.doors import TokenStore
from trunkline.auth.keeping import system_store
from trunkline.auth.oauth import OAuth
from trunkline.auth.shared_keeping import SharedSignIns
from trunkline.auth.signin import SignIn
from trunkline.engine.sealed import Keys
from trunkline.storage.storage import open_storage

LEASE = 2.0
"""Seconds that a process which died stays in the way of the others."""


@contextlib.asynccontextmanager
async def store_at(folder: Path, database: str | None) -> AsyncIterator[TokenStore]:
    """Where the sign-in is kept: in files of this machine, or where replicas share it."""
    if database is None:
        yield system_store(folder)
        return
    async with open_storage(database) as storage:
        yield SharedSignIns(lambda: storage, Keys([b"k" * 32])).of("")


async def main(folder: Path, url: str, database: str | None) -> None:
    shared_keeping._LEASE = LEASE
    async with store_at(folder, database) as store:
        auth = OAuth(SignIn(), store=store, interactive=False)
        print("ready", flush=True)
        while not (folder / "go").exists():
            await asyncio.sleep(0.005)
        async with Client(url, auth=auth) as client:
            for text in await asyncio.gather(*[client.call("hello") for _ in range(3)]):
                print(text.text, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
