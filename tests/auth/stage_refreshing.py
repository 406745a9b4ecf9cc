"""A process with a sign-in that has to be refreshed: `python -m tests.auth.stage_refreshing FOLDER URL`."""

import asyncio
import sys
from pathlib import Path

from trunkline import Client
from trunkline.auth.keeping import system_store
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn


async def main(folder: Path, url: str) -> None:
    auth = OAuth(SignIn(), store=system_store(folder), interactive=False)
    print("ready", flush=True)
    while not (folder / "go").exists():
        await asyncio.sleep(0.005)
    async with Client(url, auth=auth) as client:
        for text in await asyncio.gather(*[client.call("hello") for _ in range(3)]):
            print(text.text, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
