"""FastMCP's client as a client of the workshop: `fastmcp_client.py modern|auto|legacy KEY PREFIX URL|COMMAND...`.

PREFIX stands before every tool's and prompt's name ("-": none). Prints what the client saw as one JSON object.
It has no subscriptions of its own and cannot ask for logs in the modern era: these steps are not here.
"""

import asyncio
import json
import sys
import warnings

import anyio
import mcp_types as types
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError
from mcp import MCPError

warnings.simplefilter("ignore")
SECONDS = 15.0

mode, key, prefix, *target = sys.argv[1:]
prefix = "" if prefix == "-" else prefix
seen: dict[str, object] = {}
progress: list[object] = []
logs: list[object] = []
questions: list[object] = []


async def step(name, run):
    """Record what a step gives, or how it fails; the next one runs in any case."""
    try:
        with anyio.fail_after(SECONDS):
            seen[name] = await run
    except MCPError as error:
        seen[name] = {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    except Exception as error:
        seen[name] = {"exception": f"{type(error).__name__}: {error}"}


async def elicited(message, response_type, params, context):
    (field,) = params.requested_schema["properties"]
    questions.append([message, [field]])
    answers = {"name": "Ada", "city": "Paris", "size": 42}
    return {field: answers[field]} if field in answers else ElicitResult(action="decline")


async def sampled(messages, params, context):
    text = types.TextContent(type="text", text=f"{messages[-1].content.text}, at most {params.max_tokens}")
    return types.CreateMessageResult(role="assistant", content=text, model="tiny")


async def logged(params):
    logs.append([params.level, params.data, params.logger])


async def progressed(done, total, message):
    progress.append([done, total, message])


async def text(client, name, arguments=None, **options):
    return (await client.call_tool(prefix + name, arguments or {}, **options)).content[0].text


async def names(client):
    return sorted(tool.name.removeprefix(prefix) for tool in await client.list_tools())


async def structured(client):
    result = await client.call_tool(prefix + "add", {"a": 2, "b": 3})
    return [result.structured_content, result.content[0].text, result.is_error]


async def failure(client, name, arguments):
    try:
        await client.call_tool(prefix + name, arguments)
    except ToolError as error:
        return [True, str(error)]


async def picture(client):
    caption, image = (await client.call_tool(prefix + "picture")).content
    return [caption.text, image.type, image.mime_type, image.data]


async def worked(client):
    await client.call_tool(prefix + "work", {"steps": 3}, progress_handler=progressed)
    return progress


async def chatted(client):
    await client.set_logging_level("info")
    await client.call_tool(prefix + "chat")
    return logs


async def asked(client, name, arguments=None):
    questions.clear()
    answer = await text(client, name, arguments)
    return [answer, list(questions)]


async def resources(client):
    return sorted(str(resource.uri) for resource in await client.list_resources())


async def templates(client):
    return sorted(template.uri_template for template in await client.list_resource_templates())


async def read(client, uri):
    (contents,) = await client.read_resource(uri)
    return [str(contents.uri), contents.mime_type, getattr(contents, "text", None) or contents.blob]


async def prompts(client):
    listed = await client.list_prompts()
    return [[p.name.removeprefix(prefix), p.title, [[a.name, bool(a.required)] for a in p.arguments]] for p in listed]


async def prompt(client):
    got = await client.get_prompt(prefix + "review", {"code": "x = 1", "language": "rust"})
    return [[message.role, message.content.text] for message in got.messages]


async def complete(client):
    of_prompt = types.PromptReference(type="ref/prompt", name=prefix + "review")
    of_template = types.ResourceTemplateReference(type="ref/resource", uri="notes://day/{day}")
    first = await client.complete(of_prompt, {"name": "language", "value": "p"})
    second = await client.complete(of_template, {"name": "day", "value": "t"})
    return [first.values, second.values]


async def main():
    first, *rest = target
    where = first if first.startswith("http") else StdioTransport(first, rest)
    async with Client(
        where,
        mode="2026-07-28" if mode == "modern" else mode,
        timeout=SECONDS,
        roots=["file:///home/ada"],
        elicitation_handler=elicited,
        sampling_handler=sampled,
        log_handler=logged,
    ) as client:
        seen["revision"] = client.protocol_version
        info = client.server_info
        seen["server"] = info and [info.name, info.version, info.title]
        seen["instructions"] = client.instructions
        await step("tools", names(client))
        await step("echo", text(client, "echo", {"text": "Grüße, 世界 🪚 \u2028"}))
        await step("add", structured(client))
        await step("fail", failure(client, "fail", {}))
        await step("invalid", failure(client, "add", {"a": "two", "b": 3}))
        await step("unknown", failure(client, "no_such_tool", {}))
        await step("picture", picture(client))
        await step("where", text(client, "where", {"region": "Zürich"}))
        await step("work", worked(client))
        if mode == "legacy":
            await step("chat", chatted(client))
        await step("greet", asked(client, "greet"))
        await step("confirm", asked(client, "confirm"))
        await step("order", asked(client, "order", {"key": key}))
        await step("think", text(client, "think", {"about": "wood"}))
        await step("resources", resources(client))
        await step("templates", templates(client))
        await step("read", read(client, "notes://today"))
        await step("blob", read(client, "notes://logo"))
        await step("read_template", read(client, "notes://day/sun%20day"))
        await step("missing", read(client, "notes://nowhere"))
        await step("prompts", prompts(client))
        await step("prompt", prompt(client))
        await step("complete", complete(client))
        await step("after", text(client, "echo", {"text": "still here"}))
    print(json.dumps(seen))


asyncio.run(main())
