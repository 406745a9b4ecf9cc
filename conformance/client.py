"""The client the suite runs: `python -m conformance.client URL`, one scenario a process."""

import asyncio
import json
import os
import sys

from conformance.sign_in import credentials
from trunkline.client.client import Client
from trunkline.client.inputs import ElicitAnswer, ElicitRequest, SampleRequest
from trunkline.errors import TrunklineError
from trunkline.protocol.revisions import REVISIONS

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
WIRE = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2026-07-28")
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))

# What a scenario calls, where it is not "every tool, without arguments".
CALLS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "tools_call": [("add_numbers", {"a": 5, "b": 3})],
    "elicitation-sep1034-client-defaults": [("test_client_elicitation_defaults", {})],
    "sse-retry": [("test_reconnection", {})],
    "sep-2322-client-request-state": [
        (name, {})
        for name in ("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state", "test_mrtr_no_result_type")
    ],
}


def elicit(request: ElicitRequest) -> ElicitAnswer:
    """A person who takes what the form proposes, and confirms."""
    fields = request.schema.get("properties")
    confirmed = {"confirmed": True} if isinstance(fields, dict) and "confirmed" in fields else {}
    return ElicitAnswer("accept", {**request.defaults(), **confirmed})


def sample(request: SampleRequest) -> str:
    """A model with one thing to say."""
    return "A sampled answer."


async def main(url: str) -> None:
    """Use whatever the server offers, as the scenario wants."""
    async with Client(
        url,
        elicit=elicit,
        sample=sample,
        roots=["/tmp"],
        era=REVISIONS[WIRE].era if WIRE in REVISIONS else None,
        auth=credentials(SCENARIO, CONTEXT),
    ) as client:
        tools = {tool.name: tool for tool in await client.tools()}
        calls = CALLS.get(SCENARIO)
        if SCENARIO == "http-custom-headers":
            calls = [(call["name"], call["arguments"]) for call in CONTEXT["toolCalls"]]
        elif SCENARIO == "json-schema-2020-12-preservation":
            calls = [("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].raw["inputSchema"]})]
        elif SCENARIO in ("http-invalid-tool-headers", "http-standard-headers") or SCENARIO.startswith("auth/"):
            calls = [(name, {}) for name in tools]
        for name, arguments in calls or []:
            await _call(client, name, arguments)
        await _read_all(client)


async def _call(client: Client, name: str, arguments: dict[str, object]) -> None:
    try:
        result = await client.call(name, arguments, check=False)
        print(f"{name}: {result.text}")
    except TrunklineError as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)


async def _read_all(client: Client) -> None:
    capabilities = (await client.server()).capabilities
    for resource in await client.resources() if "resources" in capabilities else []:
        await client.read(resource.uri)
    for prompt in await client.prompts() if "prompts" in capabilities else []:
        await client.prompt(prompt.name, {argument.name: "x" for argument in prompt.arguments})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
