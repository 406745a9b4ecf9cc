"""Logs: one line per event, with the request's id, never payloads."""

import asyncio
import json
import logging
from io import StringIO

import pytest

from trunkline import Client, Server
from trunkline.assembly import logs
from trunkline.errors import RemoteError


@pytest.fixture
def lines() -> StringIO:
    return StringIO()


def test_a_call_is_one_line_with_its_id_and_without_its_arguments(lines: StringIO) -> None:
    logs.set_up("info", "json", logging.StreamHandler(lines))
    server = Server("logged", observer=logs.CallLog())

    @server.tool
    async def greet(name: str) -> str:
        return f"secret of {name}"

    async def main() -> None:
        async with Client(server) as client:
            trace = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
            await client.call("greet", name="hunter2", meta={"traceparent": trace})

    asyncio.run(main())
    (line,) = [line for line in map(json.loads, lines.getvalue().splitlines()) if line.get("method") == "tools/call"]

    assert line["request"] == "0af7651916cd43dd8448eb211c80319c"
    assert (line["subject"], line["outcome"], line["principal"]) == ("greet", "ok", "anonymous")
    assert "hunter2" not in lines.getvalue() and "secret of" not in lines.getvalue()


def test_text_lines_carry_the_same_fields(lines: StringIO) -> None:
    logs.set_up("info", "text", logging.StreamHandler(lines))

    logging.getLogger("trunkline.x").info("upstream lost", extra={"upstream": "time"})

    assert lines.getvalue().rstrip().endswith("info    upstream lost  upstream=time")


def test_the_level_is_respected(lines: StringIO) -> None:
    logs.set_up("warning", "text", logging.StreamHandler(lines))

    logging.getLogger("trunkline.x").info("quiet")

    assert lines.getvalue() == ""


async def test_nothing_a_caller_sends_or_gets_stands_in_a_line_of_its_own_or_at_all(lines: StringIO) -> None:
    logs.set_up("info", "text", logging.StreamHandler(lines))
    server = Server("logged", observer=logs.CallLog())
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}

    @server.tool(output_schema=schema)
    async def lookup() -> dict[str, object]:
        return {"age": "hunter2"}

    @server.resource("files://{+path}")
    async def files(path: str) -> str:
        return path

    async with Client(server) as client:
        await client.call("lookup", check=False)
        await client.read("files://hunter2@host/a?token=hunter2")
        for name in ("a\n12:00:00 info    forged", "b\x1b[2J outcome=ok"):
            with pytest.raises(RemoteError):
                await client.call(name)

    printed = lines.getvalue()
    assert "hunter2" not in printed
    assert "not what properties/age/type says" in printed
    assert "files://host/a" in printed
    assert "forged" in printed
    assert not [line for line in printed.splitlines() if line.startswith("12:00:00 info    forged")]
    assert "\x1b" not in printed
    assert '"b\\\\x1b[2J outcome=ok"' in printed
