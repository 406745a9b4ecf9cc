"""The operator signs the gateway in once: real processes over one configuration, and what is left on the disk."""

import asyncio
import json
import sqlite3
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.auth.provider import Protected
from tests.cli.test_commands import Up
from tests.cli.test_sign_in import SECRET, Machine
from tests.gateway.signed import guarded


def configured(folder: Path, server: Protected, **more: object) -> str:
    path = folder / "trunkline.yaml"
    path.write_text(yaml.safe_dump({"servers": {"tracker": {"url": server.url, "auth": "sign-in"}}, **more}))
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_the_gateway_uses_what_the_operator_signed_in_to(tmp_path: Path, machine: Machine) -> None:
    async with guarded() as server:
        config = configured(tmp_path, server)
        before = await machine.run("call", config, "tracker__hello")
        assert before.code != 0
        assert f"trunkline login tracker --config {config}" in before.err
        done = await machine.run("login", "tracker", "--config", config, agrees=True)
        assert done.code == 0, done.err
        assert done.out.startswith(f"Signed in to raw at {server.url}, by {server.provider.issuer}\n")
        assert str(machine.state) in done.out
        after = await machine.run("call", config, "tracker__hello")
        assert after.code == 0, after.err
        assert "hello done" in after.out
        assert len(server.provider.calls("/authorize")) == 1
        assert SECRET.search(done.out + done.err + before.err + after.err) is None


async def test_a_shared_database_has_it_for_every_replica_and_is_worth_nothing_alone(
    tmp_path: Path, machine: Machine
) -> None:
    async with guarded() as server:
        database = tmp_path / "shared.db"
        config = configured(tmp_path, server, storage={"url": f"sqlite:///{database}"}, keys="keys.json")
        assert (await machine.run("keys", "new", str(tmp_path / "keys.json"))).code == 0
        done = await machine.run("login", "tracker", "--config", config, agrees=True)
        assert done.code == 0, done.err
        assert "database" in done.out
        assert machine.kept() == []
        with sqlite3.connect(database) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        raw = database.read_bytes()
        assert server.provider.issuer.encode() in raw
        assert SECRET.search(raw.decode("latin-1")) is None
        after = await machine.run("call", config, "tracker__hello")
        assert after.code == 0, after.err


async def test_only_servers_that_people_sign_in_to_are_signed_in_to(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "trunkline.yaml"
    secret = {"grant": "client-credentials", "client_id": "robot", "client_secret": "${env:NOT_SET}"}
    servers = {
        "robot": {"url": "https://mcp.example.com/mcp", "auth": secret},
        "open": {"url": "https://a.example/mcp"},
    }
    path.write_text(json.dumps({"servers": servers}))
    for name, said in (
        ("nobody", "there is no server 'nobody'; those with `auth`: robot"),
        ("open", "for that it needs `auth: sign-in`"),
        ("robot", "for that it needs `auth: sign-in`"),
    ):
        done = await machine.run("login", name, "--config", str(path))
        assert (done.code, said in done.err) == (2, True), done.err


async def test_accounts_of_callers_need_an_address_that_they_can_open(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "trunkline.yaml"
    mail = {"url": "https://mcp.mail.invalid/mcp", "auth": {"grant": "sign-in", "per": "principal"}}
    path.write_text(yaml.safe_dump({"servers": {"mail": mail}, "storage": "memory"}))
    done = await machine.run("up", str(path), "--host", "0.0.0.0", "--port", "0", "--allow-remote")
    assert done.code == 2
    assert "mail: `per: principal`" in done.err
    assert "public_url" in done.err
    assert "Traceback" not in done.err


async def test_a_gateway_publishes_who_it_is_as_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "trunkline.yaml"
    mail = {"url": "https://mcp.mail.invalid/mcp", "auth": {"grant": "sign-in", "per": "principal"}}
    listen = {"public_url": "https://mcp.example.com/tools"}
    path.write_text(yaml.safe_dump({"servers": {"mail": mail}, "storage": "memory", "listen": listen}))
    up = await asyncio.to_thread(Up, str(path))
    try:
        place = up.url.replace("/mcp", "/connect/client.json")
        async with (
            aiohttp.ClientSession() as http,
            http.get(place, headers={"Host": "mcp.example.com"}) as answer,
        ):
            document = await answer.json()
        # Byte for byte the address that authorization servers fetch it from (CIMD, 4.1).
        assert document["client_id"] == "https://mcp.example.com/tools/connect/client.json"
        assert document["redirect_uris"] == ["https://mcp.example.com/tools/connect/callback"]
    finally:
        up.stop()
