"""From a configuration file to a gateway that is not started yet."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from trunkline.assembly.gateway import read_gateway
from trunkline.errors import ConfigError
from trunkline.portable.model import Input


def write(path: Path, **servers: object) -> str:
    path.write_text(json.dumps({"mcpServers": servers}))
    return str(path)


def test_one_broken_entry_is_shown_and_the_others_stay(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mcp.json",
        good={"command": "python"},
        unset={"url": "${NOT_SET_ANYWHERE}"},
        wrong={"command": 5},
        off={"url": "${ALSO_NOT_SET}", "disabled": True},
    )

    rows = {status.name: status for status in read_gateway(path, environment={}).statuses()}

    assert rows["good"].state == "stopped"
    assert rows["off"].state == "disabled"
    assert rows["unset"].state == rows["wrong"].state == "failed"
    assert "NOT_SET_ANYWHERE" in (rows["unset"].error or "")


def test_an_input_is_asked_for_once(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    server = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer ${input:token}"}}
    inputs = [{"type": "promptString", "id": "token", "description": "Token", "password": True}]
    path.write_text(json.dumps({"servers": {"a": server, "b": server}, "inputs": inputs}))
    asked: list[Input] = []

    def ask(wanted: Input) -> str:
        asked.append(wanted)
        return "secret-of-the-person"

    gateway = read_gateway(str(path), ask=ask)

    assert [wanted.id for wanted in asked] == ["token"]
    assert not gateway.problems


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"mcpServers": {}}', '{"mcpServers": 3}', '{"a": 1, "a": 2}'])
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(text)

    with pytest.raises(ConfigError):
        read_gateway(str(path))


async def test_a_gateway_is_ready_when_its_servers_have_answered_or_failed(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        "import pathlib, time\n"
        "from trunkline import Server\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists():\n"
        "    time.sleep(0.02)\n"
        "Server('slow').run()\n"
    )
    slow = {"command": sys.executable, "args": [str(script)]}
    gateway = read_gateway(write(tmp_path / "mcp.json", slow=slow, broken={"command": "no-such-command-here"}))
    application = gateway.application
    assert application.phase == "starting"
    await application.start()
    try:
        while {status.name: status.state for status in gateway.statuses()}["broken"] == "starting":
            await asyncio.sleep(0.02)
        assert application.phase == "starting"
        (tmp_path / "go").touch()
        while application.phase == "starting":
            await asyncio.sleep(0.02)
        assert {status.name: status.tools for status in gateway.statuses()}["slow"] == 0
        application.leave()
        assert application.phase == "draining"
    finally:
        await application.stop(drain=0)


async def test_a_server_that_takes_long_does_not_keep_the_others_from_being_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.assembly.gateway._PATIENCE", 0.2)
    gateway = read_gateway(write(tmp_path / "mcp.json", silent={"command": "sleep", "args": ["600"]}))
    await gateway.application.start()
    try:
        while gateway.application.phase == "starting":
            await asyncio.sleep(0.02)
        assert [status.state for status in gateway.statuses()] == ["starting"]
    finally:
        await gateway.application.stop(drain=0)
