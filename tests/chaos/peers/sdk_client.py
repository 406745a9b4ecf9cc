"""The official Python SDK under chaos: `sdk_client.py modern|legacy URL SEED PAUSE UPSTREAMS`.

A caller and a listener until standard input ends. Prints a line of JSON for each call, and for each new view of the
listener. A call that fails and may be repeated is sent once more by hand, as a class of its own.
"""

import asyncio
import contextlib
import contextvars
import itertools
import json
import logging
import random
import sys
import time
import warnings

import mcp.client.streamable_http
from mcp import Client, types

warnings.simplefilter("ignore")

mode, url, seed, pause, upstreams = sys.argv[1:]
modern = mode == "modern"
ours = [name for name in upstreams.split(",") if name != "everything"]
choose = random.Random(f"{seed} python {mode}")
stop = asyncio.Event()
stale = asyncio.Event()
SECONDS = 40.0


def say(**record):
    print(json.dumps(record), flush=True)


class GivenUp(logging.Handler):
    """Hears, from the SDK's own log, that it has given the listener's GET stream up, which its user is not told.

    It does so for ever after `MAX_RECONNECTION_ATTEMPTS` attempts that failed one after the other
    (`handle_get_stream`). The tasks of the listener's client have the context they were started in.
    """

    listener = contextvars.ContextVar("listener", default=False)

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.event = asyncio.Event()

    def emit(self, record):
        if self.listener.get() and "GET stream max reconnection attempts" in record.getMessage():
            say(gave_up=record.getMessage(), when=time.time())
            self.event.set()


given_up = GivenUp()
mcp.client.streamable_http.logger.addHandler(given_up)
mcp.client.streamable_http.logger.setLevel(logging.DEBUG)
mcp.client.streamable_http.logger.propagate = False


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
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            (error,) = error.exceptions
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
    """Calls, with another client where the SDK has ended one.

    It does so where a connection breaks between the head of an answer in JSON and its body: `_handle_json_response` of
    `mcp/client/streamable_http.py` (mcp 2.3.0) lets the error through to the tasks of the whole client.
    """
    numbers = itertools.count(1)
    while not stop.is_set():
        try:
            await call_with_one(numbers)
        except Exception as error:
            say(note=f"unhandled: the client ended: {error!r}")


async def call_with_one(numbers):
    caller = None

    async def connect():
        nonlocal caller
        caller = await stack.enter_async_context(client())

    async with contextlib.AsyncExitStack() as stack:
        while await made("connect", connect):
            await asyncio.sleep(0.3)
        while not stop.is_set():
            number = next(numbers)
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
    async with listener.listen(tools_list_changed=True, resource_subscriptions=uris) as events:
        stale.set()
        async for _ in events:
            stale.set()


async def heard(listener):
    """Listen until the SDK gives up; what fails, a subscription too, is tried again."""
    while not given_up.event.is_set():
        try:
            await hear(listener)
            if not modern:
                await given_up.event.wait()
        except Exception as error:
            say(note=f"listening ended: {type(error).__name__}: {error}")
            await asyncio.sleep(0.3)


async def listen():
    """A listener; a client whose stream is given up is of no use, and its user makes another."""
    given_up.listener.set(True)
    while True:
        given_up.event.clear()
        looking = None
        try:
            async with client() as listener:
                looking = asyncio.create_task(look_again(listener))
                await heard(listener)
        except Exception as error:
            say(note=f"the listener ended: {type(error).__name__}: {error}")
        finally:
            if looking is not None:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
        await asyncio.sleep(0.3)


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
