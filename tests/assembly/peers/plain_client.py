"""The official Python SDK as a client that knows nothing of tasks.

`plain_client.py URL call TOOL JSON` or `plain_client.py URL read URI` prints the result as JSON.
"""

import asyncio
import json
import sys
import warnings

from mcp import Client

warnings.simplefilter("ignore")


async def main(url: str, what: str, name: str, given: str = "{}") -> None:
    async with Client(url) as client:
        result = await (client.call_tool(name, json.loads(given)) if what == "call" else client.read_resource(name))
        print(result.model_dump_json(by_alias=True))


asyncio.run(main(*sys.argv[1:]))
