"""The official Python SDK under chaos: `sdk_client.py modern|legacy URL SEED PAUSE UPSTREAMS`.

A caller and a listener until standard input ends. Prints a line of JSON for each call, and for each new view of the
listener. A call that fails and may be repeated is sent once more by hand, as a class of its own.
"""

import asyncio
import json
import random
import sys
import time
import warnings

import mcp.client.streamable_http
from mcp import Client, types

warnings.simplefilter("ignore")
# The SDK gives its GET stream up for ever after two breaks in a row.
mcp.client.streamable_http.MAX_RECONNECTION_ATTEMPTS = 10**9

mode, url, seed, pause, upstreams = sys.argv[1:]
modern = mode == "modern"
ours = [name for name in upstreams.split(",") if name != "everything"]
choose = random.Random(f"{seed} python {mode}")
stop = asyncio.Event()
stale = asyncio.Event()
SECONDS = 40.0


def say(**record):
    print(json.dumps(record), flush=True)


async def elicited(context, params):
    await asyncio.sleep(choose.uniform(0.1, 0.6))
    return types.ElicitResult(action="accept", content={"name": "Ada"} if "name" in str(params) else {})


async def noted(message):
    if isinstance(message, types.ToolListChangedNotification | types.ResourceUpdatedNotification):
        stale.set()


def client():
    return Client(
        url,
        mode="2026-07-28" if modern else "legacy",
        read_timeout_seconds=SECONDS,
        elicitation_callback=elicited,
        message_handler=noted,
    )


def retriable(error):
    data = getattr(getattr(error, "error", None), "data", None)
    if isinstance(data, dict) and "dev.trunkline/retry" in data:
        return bool(data["dev.trunkline/retry"])
    code = getattr(getattr(error, "error", None), "code", None)
    return "stream ended" in str(error) or "error response" in str(error) or code in (-32000, -31003, -31006)


async def made(what, send, id=""):
    began = time.time()
    why, again = "", False
    try:
        await send()
    except Exception as error:
        why, again = f"{type(error).__name__}: {error}", retriable(error)
    say(what=what, began=began, ended=time.time(), why=why, retriable=again, id=id)
    return why


def calls(client, number):
    where = choose.choice(ours)

    async def progressed(*_):
        pass

    sends = {
        f"look {where}": lambda: client.call_tool(f"{where}__look", {"n": number}),
        f"count {where}": lambda: client.call_tool(f"{where}__count", {"id": f"python-{mode}-{number}"}),
        f"slow {where}": lambda: client.call_tool(f"{where}__slow", {"seconds": 1.0}, progress_callback=progressed),
        f"greet {where}": lambda: client.call_tool(f"{where}__greet", {}),
        "list": lambda: client.list_tools(cache_mode="refresh"),
        "read": lambda: client.read_resource(f"chaos://{where}/state", cache_mode="refresh"),
    }
    weights = [6, 5, 3, 2, 1, 1]
    if "everything" in upstreams:
        sends["held"] = lambda: client.call_tool("everything__trigger-elicitation-request", {})
        weights.append(1)
    what = choose.choices(list(sends), weights)[0]
    return what, sends[what]


async def call():
    async with client() as caller:
        number = 0
        while not stop.is_set():
            number += 1
            what, send = calls(caller, number)
            counts = what.startswith("count")
            if await made(what, send, f"python-{mode}-{number}" if counts else "") and not counts:
                await made(f"{what} again", send)
            await asyncio.sleep(choose.uniform(0, 2 * float(pause)))


async def look_again(listener):
    while True:
        await stale.wait()
        stale.clear()
        try:
            tools = {tool.name for tool in (await listener.list_tools(cache_mode="refresh")).tools}
            states = {}
            for where in ours:
                read = await listener.read_resource(f"chaos://{where}/state", cache_mode="refresh")
                states[where] = read.contents[0].text
            say(tools=sorted(name for name in tools if "__extra_" in name), states=states)
        except Exception:
            stale.set()
            await asyncio.sleep(0.3)


async def hear(listener):
    uris = [f"chaos://{where}/state" for where in ours]
    if not modern:
        for uri in uris:
            await listener.subscribe_resource(uri)
        stale.set()
        return
    while True:
        try:
            async with listener.listen(tools_list_changed=True, resource_subscriptions=uris) as events:
                stale.set()
                async for _ in events:
                    stale.set()
        except Exception as error:
            say(note=f"listening ended: {type(error).__name__}: {error}")
            await asyncio.sleep(0.3)


async def listen():
    async with client() as listener:
        looking = asyncio.create_task(look_again(listener))
        hearing = asyncio.create_task(hear(listener))
        await asyncio.Event().wait()
        looking.cancel()
        hearing.cancel()


async def main():
    listening = asyncio.create_task(listen())
    calling = asyncio.create_task(call())
    for _ in range(2):
        # "stop" ends the calls, the end of input everything.
        line = await asyncio.to_thread(sys.stdin.readline)
        stop.set()
        await calling
        say(done=True)
        if not line:
            break
    listening.cancel()
    await asyncio.wait([listening], timeout=5)


asyncio.run(main())
