"""Logs: one line per event, with the request's id, never payloads."""

import asyncio
import json
import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from trunkline import Client, Server
from trunkline.assembly import logs


@pytest.fixture
def lines() -> StringIO:
    return StringIO()


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


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
