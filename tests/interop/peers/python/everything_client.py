"""The official Python SDK as a client of server-everything: `everything_client.py MODE URL`.

MODE is `modern` or the handshake revision to offer. Prints what the client saw as one JSON object.
"""

import asyncio
import json
import sys
import warnings

import anyio
import mcp.client.session
from mcp import Client, types

warnings.simplefilter("ignore")
mode, url = sys.argv[1:]
URI = "demo://resource/dynamic/text/1"
seen: dict[str, object] = {}
progress: list[object] = []
updated = asyncio.Event()


async def elicited(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="tiny")


async def rooted(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada", name="home")])


async def progressed(done, total, message):
    progress.append([done, total])


async def noted(message):
    if isinstance(message, types.ResourceUpdatedNotification):
        updated.set()


async def step(name, run):
    """Record what a step gives, or how it fails."""
    try:
        with anyio.fail_after(15):
            seen[name] = await run
    except Exception as error:
        seen[name] = f"{type(error).__name__}: {error}"


async def text(client, name, arguments=None, **options):
    result = await client.call_tool(f"everything__{name}", arguments or {}, **options)
    return " ".join(block.text for block in result.content)


async def worked(client):
    await text(client, "trigger-long-running-operation", {"duration": 0.4, "steps": 4}, progress_callback=progressed)
    return progress


async def cancelled(client):
    with anyio.move_on_after(0.4):
        await text(client, "trigger-long-running-operation", {"duration": 60, "steps": 60})
    return await text(client, "echo", {"message": "still here"})


async def followed(client):
    """Hear of a resource that changes; the server tells of it every other time the tool is called."""

    async def until_told():
        while not updated.is_set():
            await text(client, "toggle-subscriber-updates")
            with anyio.move_on_after(0.3):
                await updated.wait()
        return True

    if mode != "modern":
        await client.subscribe_resource(URI)
        return await until_told()
    async with client.listen(resource_subscriptions=[URI]) as events:

        async def hear():
            async for event in events:
                if str(getattr(event, "uri", "")) == URI:
                    updated.set()

        hearing = asyncio.ensure_future(hear())
        told = await until_told()
        hearing.cancel()
    return told


async def main():
    if mode != "modern":
        mcp.client.session.LATEST_HANDSHAKE_VERSION = mode
    async with Client(
        url,
        mode="2026-07-28" if mode == "modern" else "legacy",
        read_timeout_seconds=15,
        elicitation_callback=elicited,
        sampling_callback=sampled,
        list_roots_callback=rooted,
        message_handler=noted,
    ) as client:
        seen["revision"] = client.protocol_version
        await step("elicitation", text(client, "trigger-elicitation-request"))
        await step("sampling", text(client, "trigger-sampling-request", {"prompt": "x", "maxTokens": 5}))
        await step("roots", text(client, "get-roots-list"))
        await step("progress", worked(client))
        await step("subscription", followed(client))
        await step("cancellation", cancelled(client))
    print(json.dumps(seen))


asyncio.run(main())
