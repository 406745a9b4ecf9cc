"""A configuration that changes while it is used, with real servers behind it."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.callers import Caller, descendants, until
from trunkline.assembly import reloading as reloading_module
from trunkline.assembly.gateway import Gateway, read_gateway
from trunkline.assembly.lockfile import lock_path, write_lock
from trunkline.assembly.plan import Remembered
from trunkline.assembly.reloading import Reloader, reloading
from trunkline.assembly.settings import Settings, read_settings
from trunkline.errors import ProtocolError, ToolRefused
from trunkline.gateway.pins import ServerPins, digest, pins_of

STAGE = Path(__file__).with_name("stage_reload.py")


class File:
    """The configuration on disk, replaced in one step as editors and deployments do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "trunkline.yaml"

    def write(self, *servers: str, more: str = "") -> None:
        """Write servers given as `name` or `name=label`, with further members after a blank."""
        lines = [f"servers:{'' if servers else ' {}'}"]
        for text in servers:
            (name, _, label), _, members = (text.partition(" ")[0].partition("="), *text.partition(" ")[1:])
            lines.append(
                f"  {name}:\n    command: {sys.executable}\n    args: [{STAGE}]\n    env: {{LABEL: '{label}'}}"
            )
            lines += [f"    {members}"] if members else []
        self.text("\n".join([*lines, more]))

    def text(self, text: str) -> None:
        other = self.path.with_suffix(".new")
        other.write_text(text)
        other.replace(self.path)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@contextlib.asynccontextmanager
async def running(file: File) -> AsyncIterator[tuple[Gateway, Caller]]:
    remembered = Remembered(None)
    gateway = read_gateway(str(file.path), remembered=remembered)
    await gateway.application.start()
    try:
        async with reloading(Reloader(gateway, os.environ, remembered, period=0.05)):
            yield gateway, Caller(gateway.application.engine)
    finally:
        await gateway.application.stop(drain=0)
        assert descendants(STAGE.name) == set()


def names(gateway: Gateway) -> list[str]:
    return [entry.name for entry in gateway.plan.entries]


async def who(caller: Caller, server: str) -> list[str]:
    """The label and the process of a server."""
    return (await caller.call(f"{server}__who"))["content"][0]["text"].rsplit(" ", 1)


async def held(file: File, caller: Caller, server: str) -> "asyncio.Task[dict]":
    """A call in flight, which ends when the gate opens."""
    gate = file.folder / f"{server}.gate"
    task = asyncio.create_task(caller.call(f"{server}__hold", gate=str(gate)))
    await until(Path(f"{gate}.here").exists)
    return task


def text(result: dict) -> str:
    return result["content"][0]["text"]


async def test_a_change_takes_effect_and_drops_no_call(file: File) -> None:
    file.write("kept=k", "changed=old", "removed=r")
    async with running(file) as (gateway, caller):
        kept, old = await who(caller, "kept"), await who(caller, "changed")
        calls = [await held(file, caller, "changed"), await held(file, caller, "removed")]
        heard: list[str] = []
        gateway.federation.watch(lambda change: heard.append(change.kind))

        file.write("kept=k", "changed=new", "added=a")
        await until(lambda: names(gateway) == ["kept", "changed", "added"])

        assert {"tools", "prompts", "resources"} <= set(heard)
        new = await who(caller, "changed")
        assert (new[0], new[1] != old[1]) == ("new", True)
        assert (await who(caller, "added"))[0] == "a"
        assert await who(caller, "kept") == kept
        assert not any(name.startswith("removed") for name in await caller.tools())
        with pytest.raises(ProtocolError, match="Unknown tool"):
            await caller.call("removed__who")
        assert not any(call.done() for call in calls)
        for name in ("changed", "removed"):
            (file.folder / f"{name}.gate").touch()
        assert [text(await call) for call in calls] == ["old", "r"]
        await until(lambda: len(descendants(STAGE.name)) == 3)
        assert int(old[1]) not in descendants(STAGE.name)


async def test_a_call_that_takes_too_long_is_cut_off_after_the_drain_time(file: File) -> None:
    file.write("kept", "removed=r drain_timeout: 0.2")
    async with running(file) as (gateway, caller):
        call = await held(file, caller, "removed")
        file.write("kept")
        with pytest.raises(ProtocolError, match="upstream removed"):
            await call
        await until(lambda: names(gateway) == ["kept"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("servers: {a: {comand: x}}", "did you mean `command`?"),
        ("servers: [", "not valid YAML"),
        ("servers: {}", "names no server"),
        ("include: [gone.json]", "gone.json: cannot be read"),
        ("servers: {a: {command: x, env: {A: '${env:NOT_SET_AT_ALL}'}}}", "NOT_SET_AT_ALL is not set"),
        ("listen: {trusted_proxies: [everybody]}\nservers: {a: {command: x}}", "everybody"),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_why(file: File, text: str, said: str) -> None:
    file.write("a=first")
    async with running(file) as (gateway, caller):
        before = await who(caller, "a")
        file.text(text)
        await until(lambda: bool(gateway.fault))

        row = gateway.statuses()[-1]
        assert (row.name, row.state) == ("(configuration)", "failed")
        assert said in (row.error or "")
        assert await who(caller, "a") == before

        file.write("a=first", "b=second")
        assert (await until_called(caller, "b"))[0] == "second"
        assert gateway.fault == ""
        assert await who(caller, "a") == before


async def until_called(caller: Caller, server: str) -> list[str]:
    async with asyncio.timeout(20):
        while True:
            try:
                return await who(caller, server)
            except ProtocolError:
                await asyncio.sleep(0.05)


async def test_an_edit_right_after_the_file_was_read_is_not_lost(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write("a")
    edits = [("a", "b", "c"), ("a", "b")]

    def read_and_edited(path: str) -> Settings:
        settings = read_settings(path)
        if edits and len(settings.servers) != 1:
            file.write(*edits.pop())
        return settings

    async with running(file) as (gateway, _):
        monkeypatch.setattr(reloading_module, "read_settings", read_and_edited)
        file.write("a", "z")
        await until(lambda: not edits and names(gateway) == ["a", "b", "c"])


async def test_twenty_edits_in_a_row_end_in_the_last_one(file: File) -> None:
    file.write("a=0", "kept=k")
    async with running(file) as (gateway, caller):
        kept = await who(caller, "kept")
        for n in range(1, 21):
            file.write(f"a={n}", "kept=k", *([f"b{n}=b"] if n % 3 else []))
            await asyncio.sleep(0.03)
        await until(lambda: names(gateway) == ["a", "kept", "b20"])
        assert (await who(caller, "a"))[0] == "20"
        assert await who(caller, "kept") == kept
        await until(lambda: len(descendants(STAGE.name)) == 3)


async def test_no_call_fails_while_its_server_is_changed_again_and_again(file: File) -> None:
    file.write("a=0", "b=b")
    async with running(file) as (_, caller):
        done = asyncio.Event()
        labels: list[int] = []

        async def keep_calling() -> None:
            while not done.is_set():
                labels.append(int((await who(caller, "a"))[0]))

        calling = [asyncio.create_task(keep_calling()) for _ in range(3)]
        for n in range(1, 11):
            file.write(f"a={n}", "b=b")
            await asyncio.sleep(0.15)
        await until(lambda: labels[-1:] == [10])
        done.set()
        await asyncio.gather(*calling)
        await until(lambda: len(descendants(STAGE.name)) == 2)


async def test_what_a_configuration_refers_to_is_watched_too(file: File) -> None:
    (file.folder / "mcp.json").write_text('{"mcpServers": {}}')
    (file.folder / "more.env").write_text("LABEL=one\n")
    (file.folder / "secret").write_text("first")
    stage = f"{{command: {sys.executable}, args: [{STAGE}]"
    file.text(
        f"include: [mcp.json]\nservers:\n  by_file: {stage}, env_file: more.env}}\n"
        f"  by_secret: {stage}, env: {{LABEL: '${{file:secret}}'}}}}\n"
    )
    async with running(file) as (gateway, caller):
        assert (await who(caller, "by_file"))[0] == "one"
        (file.folder / "more.env").write_text("LABEL=two\n")
        (file.folder / "secret").write_text("second")
        (file.folder / "mcp.json").write_text(
            f'{{"mcpServers": {{"new": {{"command": "{sys.executable}", "args": ["{STAGE}"]}}}}}}'
        )
        await until(lambda: "new" in names(gateway))
        await until(lambda: [one.env.get("LABEL") for one in gateway.plan.entries] == [None, "two", "second"])
        assert [(await who(caller, name))[0] for name in ("new", "by_file", "by_secret")] == ["", "two", "second"]


async def test_who_may_call_changes_and_is_never_opened_to_all(file: File) -> None:
    digests = {name: f"  - {{name: {name}, sha256: {letter * 64}}}\n" for name, letter in (("ann", "a"), ("bob", "b"))}
    file.write("a", more="tokens:\n" + digests["ann"])
    async with running(file) as (gateway, _):
        first = gateway.application.authenticator
        file.write("a", more="tokens:\n" + digests["ann"] + digests["bob"])
        await until(lambda: gateway.application.authenticator is not first)
        assert repr(gateway.application.authenticator) == "StaticTokens(2 tokens)"
        file.write("a")
        await until(lambda: "`tokens` is gone" in gateway.fault)
        assert repr(gateway.application.authenticator) == "StaticTokens(2 tokens)"


async def test_what_cannot_change_while_running_is_said(file: File) -> None:
    file.write("a")
    async with running(file) as (gateway, _):
        file.write("a", more="listen: {port: 9000, call_timeout: 7}\nstorage: memory")
        await until(lambda: bool(gateway.pending))
        assert gateway.application.call_timeout == 7
        assert gateway.statuses()[-1].error == "changed, and takes effect at the next start: listen.port, storage"


async def test_an_answer_is_kept_and_nobody_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"

    def write(label: str, *inputs: str) -> None:
        declared = ", ".join(f'{{"type": "promptString", "id": "{one}"}}' for one in inputs)
        env = f'{{"LABEL": "{label}", "SECRET": "{"".join(f"${{input:{one}}}" for one in inputs)}"}}'
        server = f'{{"command": "{sys.executable}", "args": ["{STAGE}"], "env": {env}}}'
        path.write_text(f'{{"servers": {{"a": {server}}}, "inputs": [{declared}]}}')

    write("one", "x")
    asked: list[str] = []
    remembered = Remembered(lambda wanted: asked.append(wanted.id) or "answer")  # type: ignore[func-returns-value]
    gateway = read_gateway(str(path), remembered=remembered)
    reloader = Reloader(gateway, os.environ, remembered)
    write("two", "x")
    await reloader.reload()
    assert [dict(entry.env) for entry in gateway.plan.entries] == [{"LABEL": "two", "SECRET": "answer"}]
    write("three", "x", "y")
    await reloader.reload()
    assert "the input 'y' is new" in gateway.fault
    assert asked == ["x"]


async def test_what_is_pinned_anew_takes_effect_and_a_bad_lock_file_changes_nothing(file: File) -> None:
    configuration = str(file.path)
    write_lock({"a": ServerPins()}, configuration)
    file.write("a=first", more="pins: strict")
    async with running(file) as (gateway, caller):
        instructions, share = await gateway.federation.defined("a")
        assert await caller.tools() == []
        with pytest.raises(ToolRefused, match="tool 'who' of upstream a is refused: it is not pinned"):
            await who(caller, "a")

        write_lock({"a": pins_of(instructions, share.items)}, configuration)
        await until(lambda: not gateway.statuses()[0].refused)
        before = await who(caller, "a")

        for bad in ("<<<<<<< HEAD", '{"version": 1, "servers": {"a": {"tols": {}}}}', None):
            lock = lock_path(configuration)
            lock.unlink() if bad is None else lock.write_text(bad)
            said = "there is no such file" if bad is None else str(lock)
            await until(lambda said=said: said in gateway.fault)
            assert (gateway.statuses()[-1].name, gateway.statuses()[-1].state) == ("(configuration)", "failed")
            assert await who(caller, "a") == before

        other = ServerPins(None, {"who": {"description": digest("approved")}})
        write_lock({"a": other}, configuration)
        await until(lambda: gateway.fault == "" and bool(gateway.statuses()[0].refused))
        with pytest.raises(ToolRefused, match=r"its .*input schema.* changed since"):
            await who(caller, "a")

        file.write("a=first pins: off", more="pins: strict")
        await until(lambda: not gateway.statuses()[0].refused)
        assert await who(caller, "a") == before


async def test_an_option_holds_whatever_the_file_says_later(file: File) -> None:
    write_lock({}, str(file.path))
    file.write("a=first", "b=second pins: off")
    remembered = Remembered(None)
    gateway = read_gateway(str(file.path), remembered=remembered, pins="strict")
    reloader = Reloader(gateway, os.environ, remembered)
    file.write("a=first", "b=second pins: off", "c=third", more="pins: changed")
    await reloader.reload()
    assert {name: one.mode for name, one in gateway.plan.pins.items()} == {"a": "strict", "b": "off", "c": "strict"}
