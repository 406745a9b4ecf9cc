"""The official Python SDK as a client of the workshop: `sdk_client.py MODE KEY PREFIX URL|COMMAND...`.

MODE is `modern`, `auto`, or the handshake revision to offer. PREFIX stands before names ("-": none).
Prints what the client saw as one JSON object: a value for each step, or the error the step ended with.
"""

import asyncio
import json
import sys
import warnings

import anyio
import mcp.client.session
from mcp import Client, MCPError, StdioServerParameters, types

warnings.simplefilter("ignore")
SECONDS = 15.0

mode, key, prefix, *target = sys.argv[1:]
prefix = "" if prefix == "-" else prefix
modern = mode in ("modern", "auto")
seen: dict[str, object] = {}
progress: list[object] = []
logs: list[object] = []
questions: list[object] = []
changes: list[str] = []
changed = asyncio.Condition()


async def step(name, run):
    """Record what a step gives, or how it fails; the next one runs in any case."""
    try:
        with anyio.fail_after(SECONDS):
            seen[name] = await run
    except MCPError as error:
        seen[name] = {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    except Exception as error:
        seen[name] = {"exception": f"{type(error).__name__}: {error}"}


async def elicited(context, params):
    questions.append([params.message, sorted(params.requested_schema["properties"])])
    answers = {"name": "Ada", "city": "Paris", "size": 42}
    (field,) = params.requested_schema["properties"]
    if field not in answers:
        return types.ElicitResult(action="decline")
    return types.ElicitResult(action="accept", content={field: answers[field]})


async def sampled(context, params):
    content = params.messages[-1].content
    block = content[0] if isinstance(content, list) else content
    text = types.TextContent(type="text", text=f"{block.text}, at most {params.max_tokens}")
    return types.CreateMessageResult(role="assistant", content=text, model="tiny")


async def rooted(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///home/ada", name="home")])


async def logged(params):
    logs.append([params.level, params.data, params.logger])


async def progressed(done, total, message):
    progress.append([done, total, message])


async def noted(message):
    if modern:
        return  # the subscription tells the same
    if isinstance(message, types.ToolListChangedNotification):
        await changed_to("tools")
    elif isinstance(message, types.ResourceUpdatedNotification):
        await changed_to(str(message.params.uri))


async def changed_to(what):
    async with changed:
        changes.append(what)
        changed.notify_all()


async def until(count):
    async with changed:
        await changed.wait_for(lambda: len(changes) >= count)


async def call(client, name, arguments=None, **options):
    return await client.call_tool(prefix + name, arguments or {}, **options)


async def text(client, name, arguments=None, **options):
    result = await call(client, name, arguments, **options)
    return result.content[0].text


async def tools(client):
    listed, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        listed += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return listed


async def shape(client):
    tool = next(tool for tool in await tools(client) if tool.name == prefix + "add")
    out = tool.output_schema and sorted(tool.output_schema["properties"])
    return {"in": sorted(tool.input_schema["properties"]), "out": out}


async def titles(client):
    tool = next(tool for tool in await tools(client) if tool.name == prefix + "echo")
    return [tool.title, tool.description, tool.annotations and tool.annotations.read_only_hint]


async def names(client):
    return sorted(tool.name.removeprefix(prefix) for tool in await tools(client))


async def structured(client):
    result = await call(client, "add", {"a": 2, "b": 3})
    return [result.structured_content, result.content[0].text, bool(result.is_error)]


async def failure(client, name, arguments):
    result = await call(client, name, arguments)
    return [bool(result.is_error), result.content[0].text]


async def picture(client):
    caption, image = (await call(client, "picture")).content
    return [caption.text, image.type, image.mime_type, image.data]


async def worked(client):
    await call(client, "work", {"steps": 3}, progress_callback=progressed)
    return progress


async def chatted(client):
    if not modern:
        await client.set_logging_level("info")
    await call(client, "chat")
    return logs


async def asked(client, name, arguments=None):
    questions.clear()
    answer = await text(client, name, arguments)
    return [answer, list(questions)]


async def resources(client):
    return sorted(str(resource.uri) for resource in (await client.list_resources()).resources)


async def templates(client):
    return sorted(template.uri_template for template in (await client.list_resource_templates()).resource_templates)


async def read(client, uri):
    (contents,) = (await client.read_resource(uri)).contents
    return [str(contents.uri), contents.mime_type, getattr(contents, "text", None) or contents.blob]


async def prompts(client):
    listed = (await client.list_prompts()).prompts
    return [[p.name.removeprefix(prefix), p.title, [[a.name, bool(a.required)] for a in p.arguments]] for p in listed]


async def prompt(client):
    got = await client.get_prompt(prefix + "review", {"code": "x = 1", "language": "rust"})
    return [[message.role, message.content.text] for message in got.messages]


async def complete(client):
    of_prompt = types.PromptReference(type="ref/prompt", name=prefix + "review")
    of_template = types.ResourceTemplateReference(type="ref/resource", uri="notes://day/{day}")
    first = await client.complete(of_prompt, {"name": "language", "value": "p"})
    second = await client.complete(of_template, {"name": "day", "value": "t"})
    return [first.completion.values, second.completion.values]


async def cancelled(client):
    with anyio.move_on_after(0.4):
        await call(client, "wait", {"key": key})
    with anyio.move_on_after(5.0):
        while await text(client, "outcome", {"key": key}) != "cancelled":
            await anyio.sleep(0.05)
    return await text(client, "outcome", {"key": key})


async def listened(client):
    """Hear of a new tool, of one that went, and of a resource, in this order."""
    name = f"extra-{key}"
    if modern:
        async with client.listen(tools_list_changed=True, resource_subscriptions=["notes://today"]) as events:
            hearing = asyncio.ensure_future(hear(events))
            heard = await provoke(client, name)
            hearing.cancel()
        return heard
    await client.subscribe_resource("notes://today")
    heard = await provoke(client, name)
    await client.unsubscribe_resource("notes://today")
    return heard


async def hear(events):
    async for event in events:
        await changed_to(getattr(event, "uri", "tools"))


async def provoke(client, name):
    changes.clear()
    await call(client, "grow", {"name": name})
    await until(1)
    grown = prefix + name in {tool.name for tool in await tools(client)}
    says = await text(client, name)
    await call(client, "shrink", {"name": name})
    await until(2)
    shrunk = prefix + name not in {tool.name for tool in await tools(client)}
    await call(client, "touch", {"uri": "notes://today"})
    await until(3)
    return [changes[:3], grown, says.replace(name, "new"), shrunk]


async def scenario(client):
    seen["revision"] = client.protocol_version
    info = client.server_info
    seen["server"] = info and [info.name, info.version, info.title]
    seen["instructions"] = client.instructions
    await step("tools", names(client))
    await step("titles", titles(client))
    await step("shape", shape(client))
    await step("echo", text(client, "echo", {"text": "Grüße, 世界 🪚 \u2028"}))
    await step("add", structured(client))
    await step("fail", failure(client, "fail", {}))
    await step("invalid", failure(client, "add", {"a": "two", "b": 3}))
    await step("unknown", failure(client, "no_such_tool", {}))
    await step("picture", picture(client))
    await step("where", text(client, "where", {"region": "Zürich"}))
    await step("work", worked(client))
    await step("chat", chatted(client))
    await step("greet", asked(client, "greet"))
    await step("confirm", asked(client, "confirm"))
    await step("order", asked(client, "order", {"key": key}))
    await step("think", text(client, "think", {"about": "wood"}))
    await step("shelves", text(client, "shelves"))
    await step("resources", resources(client))
    await step("templates", templates(client))
    await step("read", read(client, "notes://today"))
    await step("blob", read(client, "notes://logo"))
    await step("read_template", read(client, "notes://day/sun%20day"))
    await step("missing", read(client, "notes://nowhere"))
    await step("prompts", prompts(client))
    await step("prompt", prompt(client))
    await step("complete", complete(client))
    await step("cancel", cancelled(client))
    await step("listen", listened(client))
    await step("after", text(client, "echo", {"text": "still here"}))


async def main():
    if not modern:
        # The revision a handshake offers is a constant of the SDK.
        mcp.client.session.LATEST_HANDSHAKE_VERSION = mode
    first, *rest = target
    where = first if first.startswith("http") else StdioServerParameters(command=first, args=rest)
    negotiation = {"modern": "2026-07-28", "auto": "auto"}.get(mode, "legacy")
    async with Client(
        where,
        mode=negotiation,
        read_timeout_seconds=SECONDS,
        elicitation_callback=elicited,
        sampling_callback=sampled,
        list_roots_callback=rooted,
        logging_callback=logged,
        message_handler=noted,
        log_level="info" if modern else None,
    ) as client:
        await scenario(client)
    print(json.dumps(seen))


asyncio.run(main())
