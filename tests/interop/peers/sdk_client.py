"""The official Python SDK as a client of the conformance fixture: `sdk_client.py legacy|auto URL|COMMAND... [--prefix P]`.

Prints what it saw as one JSON object.
"""

import argparse
import asyncio
import json

from mcp import Client, StdioServerParameters, types


async def accept(context, params):
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["legacy", "auto"])
    parser.add_argument("target", nargs="+")
    parser.add_argument("--prefix", default="")
    options = parser.parse_args()
    first, *rest = options.target
    target = first if first.startswith("http") else StdioServerParameters(command=first, args=rest)
    seen = {"progress": 0}

    async def count(progress, total, message):
        seen["progress"] += 1

    async with Client(target, mode=options.mode, elicitation_callback=accept) as client:
        name = lambda tool: f"{options.prefix}{tool}"  # noqa: E731
        seen["revision"] = client.protocol_version
        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        seen["resources"] = sorted(str(r.uri) for r in (await client.list_resources()).resources)
        seen["prompts"] = sorted(prompt.name for prompt in (await client.list_prompts()).prompts)
        seen["call"] = (await client.call_tool(name("test_simple_text"), {})).content[0].text
        seen["header"] = (await client.call_tool(name("test_x_mcp_header"), {"region": "Zürich"})).content[0].text
        seen["failed"] = (await client.call_tool(name("test_error_handling"), {})).is_error
        await client.call_tool(name("test_tool_with_progress"), {}, progress_callback=count)
        asked = await client.call_tool(name("test_input_required_result_elicitation"), {})
        seen["asked"] = asked.content[0].text
        seen["read"] = (await client.read_resource("test://static-text")).contents[0].text
        prompt = await client.get_prompt(name("test_prompt_with_arguments"), {"arg1": "one", "arg2": "two"})
        seen["prompt"] = prompt.messages[0].content.text
    print(json.dumps(seen))


asyncio.run(main())
