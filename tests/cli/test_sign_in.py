"""Signing in from the command line: real processes, real HTTP, and a person who opens what they are told to open."""

import asyncio
import json
import os
import re
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.auth.provider import Granted, Protected, protected

# Each is several processes, one after the other.
pytestmark = pytest.mark.timeout(180)

TRUNKLINE = str(Path(sys.executable).with_name("trunkline"))
SECRET = re.compile(r"(access|refresh)-[0-9a-f]{16}")


@dataclass
class Done:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Machine:
    """A machine of somebody: a folder for state, perhaps a keyring."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.state = folder / "state"
        backend = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
        kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        self.environment = {**kept, "XDG_STATE_HOME": str(self.state), "COLUMNS": "200", **backend, **environment}

    async def run(self, *arguments: str, agrees: bool = False, **environment: str) -> Done:
        """Run a command; who agrees opens the address it prints."""
        process = await asyncio.create_subprocess_exec(
            *(TRUNKLINE, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self.environment, **environment},
        )
        assert process.stdout is not None and process.stderr is not None
        lines: list[str] = []

        async def watch(stream: asyncio.StreamReader) -> None:
            async for line in stream:
                lines.append(line.decode())
                if agrees and line.strip().startswith(b"http"):
                    async with aiohttp.ClientSession() as session, session.get(line.decode().strip()) as answer:
                        assert answer.status == 200

        async with asyncio.timeout(50):
            out, _, code = await asyncio.gather(process.stdout.read(), watch(process.stderr), process.wait())
        return Done(code, out.decode(), "".join(lines))

    def kept(self) -> list[dict[str, object]]:
        """What the files hold."""
        return [json.loads(path.read_text()) for path in self.state.glob("trunkline/sign-ins/*.json")]


@asynccontextmanager
async def scene(folder: Path, **environment: str) -> AsyncIterator[tuple[Protected, Machine]]:
    async with protected() as server:
        server.challenge = {"scope": "read"}
        yield server, Machine(folder, **environment)


async def test_who_has_signed_in_can_use_every_command(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        before = await machine.run("tools", server.url, "--json")
        assert before.code == 1
        assert f"{server.url} wants you to sign in: trunkline login {server.url}" in before.err

        login = await machine.run("login", server.url, "--scope", "write", agrees=True)
        assert login.code == 0, login.err
        assert f"at {server.url}, by {server.provider.issuer}" in login.out
        assert re.search(r"scopes +read write\n", login.out)
        assert re.search(r"token +bearer, until 20..-..-..T..:..:..Z, renewed by itself\n", login.out)
        assert "there is no keyring" in login.out

        call = await machine.run("tools", server.url, "--json")
        assert (call.code, call.out.strip()) == (0, "[]")
        listed = await machine.run("auth", "list")
        assert server.url in listed.out and server.provider.issuer in listed.out
        (row,) = json.loads((await machine.run("auth", "list", "--json")).out)
        assert (row["resource"], row["scopes"], row["expired"]) == (server.url, ["read", "write"], False)
        whoami = await machine.run("whoami", server.url)
        assert whoami.code == 0 and re.search(r"accepted +yes", whoami.out)
        assert "only its issuer can read it" in whoami.out

        for done in (before, login, call, listed, whoami):
            assert not SECRET.search(done.out + done.err)
        assert len(server.provider.calls("/token")) == 1
        (path,) = machine.state.glob("trunkline/sign-ins/*.json")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_scopes_that_a_sign_in_lacks_are_told_with_what_gets_them(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        server.tools = [{"name": "add", "inputSchema": {"type": "object"}}]
        server.needs["add"] = "read write"
        await machine.run("login", server.url, agrees=True)

        refused = await machine.run("call", server.url, "add")
        advice = f"trunkline login {server.url} --scope read --scope write"
        assert refused.code == 1
        assert f"{server.url} wants scopes that the sign-in there does not have: {advice}" in refused.err

        assert (await machine.run(*advice.split()[1:], agrees=True)).code == 0
        assert (await machine.run("call", server.url, "add")).code == 0


async def test_a_sign_in_is_used_for_its_server_alone_and_not_over_a_header(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine), protected() as other:
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        before = len(server.requests)
        given = await machine.run("tools", server.url, "--header", "Authorization: Bearer mine")
        assert given.code == 1 and "trunkline login" not in given.err
        assert {sent for _, _, sent in server.requests[before:]} == {"Bearer mine"}

        elsewhere = await machine.run("tools", other.url)
        assert elsewhere.code == 1 and f"trunkline login {other.url}" in elsewhere.err
        assert {sent for _, _, sent in other.requests} == {""}


async def test_with_a_keyring_it_is_sealed(tmp_path: Path) -> None:
    keyring = {
        "PYTHON_KEYRING_BACKEND": "tests.auth.keyring_in_a_file.Keyring",
        "KEYRING_IN_A_FILE": str(tmp_path / "keyring"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    async with scene(tmp_path, **keyring) as (server, machine):
        login = await machine.run("login", server.url, agrees=True)
        assert login.code == 0, login.err
        assert "sealed by the keyring" in login.out
        assert not SECRET.search(json.dumps(machine.kept()))
        assert (await machine.run("tools", server.url, "--json")).out.strip() == "[]"

        gone = await machine.run("tools", server.url, "--json", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
        assert gone.code == 2 and "there is no keyring here" in gone.err
        again = await machine.run(
            "login", server.url, agrees=True, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring"
        )
        assert again.code == 0, again.err


async def test_a_keyring_that_refuses_is_told_before_anybody_signs_in(tmp_path: Path) -> None:
    keyring = {
        "PYTHON_KEYRING_BACKEND": "tests.auth.keyring_in_a_file.Keyring",
        "KEYRING_IN_A_FILE": str(tmp_path / "locked"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    async with scene(tmp_path, **keyring) as (server, machine):
        login = await machine.run("login", server.url, agrees=True)
        assert login.code == 2 and "KeyringLocked" in login.err
        assert server.provider.calls("/authorize") == []


async def test_login_signs_in_anew_as_the_same_client(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        for _ in range(2):
            login = await machine.run("login", server.url, agrees=True)
            assert login.code == 0, login.err
        assert len(server.provider.calls("/authorize")) == 2
        assert len(server.provider.clients) == 1
        assert len(machine.kept()) == 1


async def test_a_sign_in_that_is_over_is_told_and_renewed_by_login(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        server.provider.revoke()
        server.provider.refreshes.clear()
        tools = await machine.run("tools", server.url, "--json")
        assert tools.code == 1 and f"trunkline login {server.url}" in tools.err
        assert "sign in again" in (await machine.run("auth", "list")).out
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        assert (await machine.run("tools", server.url, "--json")).code == 0


async def test_a_client_that_is_registered_is_used_and_its_secret_is_not_told(tmp_path: Path) -> None:
    async with scene(tmp_path, MINE="s3cret") as (server, machine):
        given = ("--client-id", "cli-7", "--client-secret-env", "MINE", "--issuer", server.provider.issuer)
        login = await machine.run("login", server.url, *given, agrees=True)
        assert login.code == 0, login.err
        assert server.provider.clients == {} and "s3cret" not in login.out + login.err
        assert [page["client_id"] for page in server.provider.calls("/authorize")] == ["cli-7"]

        other = await machine.run("login", server.url, *given[:-1], "https://id.example.com", agrees=True)
        assert other.code == 1 and "https://id.example.com" in other.err
        missing = await machine.run("login", server.url, "--client-id", "x", "--client-secret-env", "NONE")
        assert missing.code == 2 and "NONE is not set" in missing.err


async def test_nobody_who_signs_in_is_waited_for_in_vain(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        login = await machine.run("login", server.url, "--wait", "0.5")
        assert login.code == 1 and "Nobody signed in within 0.5 seconds" in login.err
        assert not [one for one in machine.kept() if "tokens" in json.dumps(one)]


async def test_a_server_that_wants_no_sign_in_gets_none(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        server.provider.tokens[""] = Granted(frozenset(), "anyone")
        login = await machine.run("login", server.url)
        assert login.code == 0 and "wants no sign-in" in login.out
        assert machine.kept() == []


async def test_logout_forgets_and_revokes(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        revoked: list[dict[str, str]] = []

        async def revoke(request: web.Request) -> web.StreamResponse:
            revoked.append({name: str(value) for name, value in (await request.post()).items()})
            return web.Response()

        provider = server.provider
        provider.metadata["revocation_endpoint"] = f"{provider.issuer}/revoke"
        provider.site.answers["/revoke"] = revoke
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        (refresh,) = provider.refreshes

        logout = await machine.run("logout", server.url)
        assert logout.code == 0 and f"{provider.issuer} revoked its tokens" in logout.out
        (form,) = revoked
        assert form == {"token": refresh, "token_type_hint": "refresh_token", "client_id": next(iter(provider.clients))}
        assert machine.kept() == [] and not SECRET.search(logout.out + logout.err)
        assert (await machine.run("logout", server.url)).code == 1
        assert (await machine.run("tools", server.url, "--json")).code == 1


async def test_logout_forgets_even_where_nothing_can_be_revoked(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        cannot = await machine.run("logout", "--all")
        assert cannot.code == 0 and "cannot revoke tokens, so they hold until they end" in cannot.out

        provider = server.provider
        provider.metadata["revocation_endpoint"] = f"{provider.issuer}/revoke"
        provider.site.says("/revoke", {"error": "server_error"}, status=503)
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        failed = await machine.run("logout", server.url)
        assert failed.code == 0 and "status 503" in failed.out and machine.kept() == []


async def test_logout_leaves_what_is_not_meant(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine), protected() as other:
        for one in (server, other):
            assert (await machine.run("login", one.url, agrees=True)).code == 0
        assert (await machine.run("logout", server.url)).code == 0
        assert [one["resource"] for one in machine.kept()] == [other.url]
        for arguments in ((), (other.url, "--all")):
            assert (await machine.run("logout", *arguments)).code == 2
        assert len(machine.kept()) == 1


async def test_a_file_that_others_can_read_is_told_by_the_list(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        (path,) = machine.state.glob("trunkline/sign-ins/*.json")
        path.chmod(0o644)
        call = await machine.run("tools", server.url, "--json")
        assert call.code != 0 and call.out == ""
        assert "chmod 600" in (await machine.run("auth", "list")).err
        assert (await machine.run("login", server.url, agrees=True)).code == 0
        assert (await machine.run("tools", server.url, "--json")).out.strip() == "[]"


async def test_whoami_tells_what_a_token_is_worth(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        nobody = await machine.run("whoami", server.url)
        assert nobody.code == 1
        assert f"tokens for {server.url}" in nobody.out and server.provider.issuer in nobody.out
        assert f"trunkline login {server.url}" in nobody.out

        server.challenge = {"error": "invalid_token", "error_description": "it is for another server"}
        claims = {"sub": "ada", "aud": "https://other.example.com", "exp": int(time.time()) + 60, "email": "a@b.c"}
        token = jwt.encode({"alg": "ES256"}, claims, ECKey.generate_key("P-256"))
        wrong = await machine.run("whoami", server.url, "--token-env", "MINE", MINE=token)
        assert wrong.code == 1
        assert re.search(r"accepted +no", wrong.out)
        assert "401, invalid_token: it is for another server" in wrong.out
        assert "sub ada" in wrong.out and "aud https://other.example.com" in wrong.out and "a@b.c" not in wrong.out

        server.provider.tokens[token] = Granted(frozenset(), "anyone")
        right = await machine.run("whoami", server.url, "--token-env", "MINE", "--json", MINE=token)
        facts = json.loads(right.out)
        assert right.code == 0 and facts["accepted"] is True and facts["claims"]["sub"] == "ada"
        assert token not in right.out + wrong.out + right.err + wrong.err


async def test_a_server_cannot_draw_on_the_terminal(tmp_path: Path) -> None:
    async with scene(tmp_path) as (server, machine):
        server.challenge = {"error": "invalid_token", "error_description": "\\x1b[2Jgone"}
        server.publish("/mcp", scopes_supported=["a\x1b[31m"])
        whoami = await machine.run("whoami", server.url, "--token-env", "MINE", MINE="abc")
        assert "\x1b" not in whoami.out


@pytest.mark.parametrize("arguments", [("login",), ("logout",), ("auth", "list"), ("whoami",)])
async def test_help_has_examples(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = await Machine(tmp_path).run(*arguments, "--help")
    assert done.code == 0 and (arguments == ("auth", "list") or "trunkline " + arguments[0] in done.out)


async def test_what_is_no_address_is_told(tmp_path: Path) -> None:
    for what in ("mcp.example.com", "mcp.json"):
        done = await Machine(tmp_path).run("login", what)
        assert done.code == 2 and "is not the address of an MCP server" in done.err
