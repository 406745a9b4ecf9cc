"""Tools that are not what was pinned of them: seen by nobody, called by nobody, on every way there is to them."""

import asyncio
import json
import logging

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, until
from tests.gateway.openapi.test_openapi import PETS, calling
from tests.gateway.test_holding import ABLE, ANSWERS, behind
from tests.gateway.test_hostile import beside, process, stateful, until_tools
from tests.gateway.upstreams import federated, workshop
from trunkline.engine.engine import Engine
from trunkline.errors import InvalidParams, ToolRefused, UpstreamUnavailable
from trunkline.gateway import Edit, Endpoint, Federation, ProgressiveEngine, Selection
from trunkline.gateway.pins import Pinning, ServerPins, digest, pins_of

TOOL = {"name": "echo", "description": "adds", "inputSchema": {"type": "object"}}
GOOD, EVIL = "echoes", "reads your mail"
NAMED = r"tool 'echo' of upstream shifts is refused: its description changed since it was pinned\. .*`trunkline pin`"


def pinning(mode="strict", *more, description=GOOD, instructions=None):
    """Pins of `echo` and `tell` of the servers of `hostile.py`."""
    tell = {"name": "tell", "inputSchema": {"type": "object"}}
    return Pinning(mode, pins_of(instructions, [{**TOOL, "description": description}, tell, *more]))


def pin(federation, name, one):
    """As a changed lock file does."""
    federation.replace(federation._entries, {name: one})


def calls(file):
    log = file.with_name(f"{file.name}.log")
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "says"
    path.write_text(GOOD)
    return path


async def test_a_tool_that_changes_is_refused_and_comes_back(file, caplog):
    with caplog.at_level(logging.WARNING, "trunkline.gateway"):
        async with beside(stateful("shifts", file)) as (federation, caller):
            pin(federation, "shifts", pinning())
            await until_tools(caller, 3)
            assert (await caller.call("shifts__echo"))["content"]
            changes = []
            federation.watch(changes.append)

            file.write_text(EVIL)
            await caller.call("shifts__tell")
            # At once: the list that is known by now is still the good one.
            with pytest.raises(ToolRefused, match=NAMED) as failure:
                await caller.call("shifts__echo")
            assert failure.value.wire()["code"] == -31009
            assert failure.value.data == {
                "dev.trunkline/upstream": "shifts",
                "dev.trunkline/retry": False,
                "dev.trunkline/changed": ["description"],
            }
            assert await caller.tools() == ["good__echo", "shifts__tell"]
            status = federation.statuses()[1]
            assert (status.tools, status.refused) == (1, ("tool 'echo': description changed",))
            assert {change.kind for change in changes} == {"tools"}

            file.write_text(GOOD)
            await caller.call("shifts__tell")
            assert (await caller.call("shifts__echo"))["content"]
            assert "shifts__echo" in await caller.tools()
            assert federation.statuses()[1].refused == ()
    assert calls(file) == [f"echo {GOOD}", f"tell {EVIL}", f"tell {GOOD}", f"echo {GOOD}"]
    assert "tool 'echo' is refused: description changed" in caplog.text
    assert "tool 'echo' is as it was pinned, and shown again" in caplog.text
    assert EVIL not in caplog.text


async def test_what_is_approved_anew_is_there_without_a_restart(file):
    async with beside(stateful("shifts", file)) as (federation, caller):
        pin(federation, "shifts", pinning(description=EVIL))
        await until(lambda: federation.statuses()[1].tools == 1)
        assert await caller.tools() == ["good__echo", "shifts__tell"]
        process = federation._upstreams["shifts"]
        changes = []
        federation.watch(changes.append)
        pin(federation, "shifts", pinning(description=GOOD))
        assert [change.kind for change in changes] == ["tools"]
        assert await caller.tools() == ["good__echo", "shifts__echo", "shifts__tell"]
        assert (await caller.call("shifts__echo"))["content"]
        assert federation._upstreams["shifts"] is process
        pin(federation, "shifts", Pinning())
        assert federation.statuses()[1].refused == ()


async def test_a_tool_that_is_gone_is_not_called_by_who_still_knows_it(file):
    async with beside(stateful("shifts", file)) as (federation, caller):
        pin(federation, "shifts", pinning())
        await until_tools(caller, 3)
        file.write_text("gone")
        await caller.call("shifts__tell")
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("shifts__echo")
    assert calls(file) == ["tell gone"]


async def test_an_endpoint_does_not_miss_a_tool_that_is_refused(file):
    file.write_text(EVIL)
    async with beside(stateful("shifts", file)) as (federation, _):
        pin(federation, "shifts", pinning())
        endpoint = Endpoint(federation, Selection(tools=("shifts__echo", "shifts__nothing")))
        await until(lambda: federation.statuses()[1].tools == 1 and federation.statuses()[0].tools == 1)
        assert endpoint.problems() == ["there is no tool 'shifts__nothing'"]
        assert endpoint.count("tools") == 0


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-06-18"])
async def test_no_way_leads_to_a_refused_tool(file, revision):
    file.write_text(EVIL)
    async with beside(stateful("shifts", file)) as (federation, _):
        pin(federation, "shifts", pinning())
        await until(lambda: federation.statuses()[1].tools == 1)
        single = federation.single("shifts")
        await single.start()
        selection = Selection(tools=("*",), edit_tools={"shifts__echo": Edit(name="safe", description="harmless")})
        endpoint = Endpoint(federation, selection)
        try:
            for engine, name in (
                (Engine(federation), "shifts__echo"),
                (Engine(single), "echo"),
                (Engine(endpoint), "safe"),
                (ProgressiveEngine(federation), "shifts__echo"),
                (ProgressiveEngine(endpoint), "safe"),
            ):
                client = Caller(engine, revision)
                assert name not in await client.tools()
                with pytest.raises(ToolRefused, match=NAMED):
                    await client.call(name)
            for engine, name in (
                (ProgressiveEngine(federation), "shifts__echo"),
                (ProgressiveEngine(endpoint), "safe"),
            ):
                client = Caller(engine, revision)
                found = await client.call("find_tools", query="echo safe reads your mail harmless", limit=50)
                assert f'"{name}"' not in found["content"][0]["text"]
                with pytest.raises(ToolRefused, match=NAMED):
                    await client.call("call_tool", name=name, arguments={})
        finally:
            await single.stop()
    assert calls(file) == []


@pytest.mark.parametrize(("mode", "there"), [("off", True), ("changed", True), ("strict", False)])
async def test_a_server_nothing_is_pinned_of(file, mode, there):
    async with beside(stateful("shifts", file)) as (federation, caller):
        pin(federation, "shifts", Pinning(mode))
        await until(lambda: federation.statuses()[1].tools is not None)
        assert ("shifts__echo" in await caller.tools()) is there
        if not there:
            with pytest.raises(ToolRefused, match=r"tool 'echo' .* is refused: it is not pinned\."):
                await caller.call("shifts__echo")
            assert len(federation.statuses()[1].refused) == 2


async def test_a_call_before_the_first_list_waits_for_it():
    for pins, error in (
        (pins_of(None, [{"name": "echo", "inputSchema": {"type": "object"}}]), None),
        (pins_of(None, [TOOL]), ToolRefused),
    ):
        federation = Federation([process("slow-list")], pins={"slow-list": Pinning("strict", pins)})
        await federation.start()
        try:
            caller = Caller(Engine(federation))
            if error is None:
                assert (await caller.call("slow-list__echo", a=1))["content"]
            else:
                with pytest.raises(error):
                    await caller.call("slow-list__echo", a=1)
        finally:
            await federation.stop()


async def test_a_list_that_does_not_come_lets_no_call_through(file):
    async with beside(stateful("shifts", file), lists=0.5, listing=0.5) as (federation, caller):
        pin(federation, "shifts", pinning())
        await until_tools(caller, 3)
        file.unlink()
        # The server fails at the list it says has changed: nobody knows what the tool is now.
        await asyncio.gather(caller.call("shifts__tell"), return_exceptions=True)
        with pytest.raises(UpstreamUnavailable) as failure:
            await caller.call("shifts__echo")
        assert failure.value.data["dev.trunkline/retry"] is True
    assert f"echo {GOOD}" not in calls(file)


async def test_a_server_that_comes_back_as_another_is_not_called(tmp_path):
    async with beside(stateful("turns", tmp_path / "turned")) as (federation, caller):
        good = pins_of(None, [{"name": "echo", "inputSchema": {"type": "object"}}])
        pin(federation, "turns", Pinning("changed", good))
        await until_tools(caller, 2)
        assert (await caller.call("turns__echo"))["content"]
        async with asyncio.timeout(20):
            while True:
                try:
                    assert not await caller.call("turns__echo")
                except UpstreamUnavailable:
                    await asyncio.sleep(0.02)
                except ToolRefused:
                    break


async def test_a_call_is_not_sent_again_to_a_server_that_came_back_as_another(file):
    async with beside(stateful("dies-changed", file)) as (federation, caller):
        marked = {**TOOL, "description": GOOD, "annotations": {"readOnlyHint": True}}
        pin(federation, "dies-changed", Pinning("changed", pins_of(None, [marked])))
        await until_tools(caller, 3)
        with pytest.raises(ToolRefused, match="description changed"):
            await caller.call("dies-changed__echo")
    assert calls(file) == [f"echo {GOOD}"]


async def test_a_server_that_shows_its_callers_another_face_reaches_nobody_with_it(file):
    entry = stateful("two-faced", file, processes="per-session")
    async with beside(entry) as (federation, _):
        pin(federation, "two-faced", pinning())
        for principal in (ALICE, BOB):
            caller = Caller(Engine(federation), "2025-06-18", principal=principal)
            await until_tools(caller, 3)
            assert (await caller.call("two-faced__echo"))["content"]
            shown = (await caller.request("tools/list"))["tools"]
            assert EVIL not in json.dumps(shown)
    assert calls(file) == [f"echo {EVIL}"] * 2


async def test_the_face_the_gateway_sees_counts_for_all_callers(file):
    file.write_text(EVIL)
    async with beside(stateful("two-faced", file, processes="per-session")) as (federation, _):
        pin(federation, "two-faced", pinning())
        for principal in (ALICE, BOB):
            caller = Caller(Engine(federation), "2025-06-18", principal=principal)
            with pytest.raises(ToolRefused):
                await caller.call("two-faced__echo")
        # No process was started for a caller either.
        assert federation.statuses()[1].sessions == 0


async def test_a_flood_of_changes_hurts_nobody_else():
    plain = pins_of(None, [{"name": "echo", "inputSchema": {"type": "object"}}])
    async with beside(process("flood"), lists=1.0) as (federation, caller):
        pin(federation, "flood", Pinning("strict", plain))
        await until_tools(caller, 2)
        flood = asyncio.create_task(caller.call("flood__echo", e=5))
        for _ in range(20):
            await caller.call("good__echo")
        assert (await flood)["content"] == [{"type": "text", "text": '{"e": 5}'}]


async def test_a_call_that_waits_for_a_person_is_not_answered_once_its_tool_is_refused():
    async with behind(workshop()) as (federation, engine):
        caller = Caller(engine, capabilities=ABLE, answers=ANSWERS)
        asked = await caller.once("tools/call", {"name": "up__order", "arguments": {"item": "hats"}})
        answers = {key: ANSWERS[one["method"]] for key, one in asked["inputRequests"].items()}
        pin(federation, "up", Pinning("strict", ServerPins()))
        with pytest.raises(ToolRefused, match="tool 'order' of upstream up is refused: it is not pinned"):
            await caller.once(
                "tools/call",
                {
                    "name": "up__order",
                    "arguments": {"item": "hats"},
                    "requestState": asked["requestState"],
                    "inputResponses": answers,
                },
            )


@pytest.mark.parametrize("legacy", [(), ("up",)])
async def test_servers_of_either_era_are_held_to_pins(legacy):
    async with federated({"up": workshop()}, legacy=legacy, shared=False) as (federation, engine, _):
        caller = Caller(engine)
        await until_tools(caller, 5)
        instructions, share = await federation.defined("up")
        pins = pins_of(instructions, share.items)
        changed = {**pins.tools, "add": {**pins.tools["add"], "inputSchema": digest("another")}}
        pin(federation, "up", Pinning("changed", ServerPins(pins.instructions, changed)))
        assert "up__add" not in await caller.tools()
        with pytest.raises(ToolRefused, match="its input schema changed"):
            await caller.call("up__add", a=1, b=2)
        assert (await caller.call("up__whoami"))["structuredContent"]
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("up__nothing")


async def test_operations_of_an_api_are_held_to_pins():
    async with calling(PETS) as (caller, api, federation):
        names = await caller.tools()
        _, share = await federation.defined("api")
        pin(federation, "api", Pinning("strict", ServerPins()))
        assert names and await caller.tools() == []
        for name in names:
            with pytest.raises(ToolRefused, match="is not pinned"):
                await caller.call(name)
        assert api.seen == []
        pin(federation, "api", Pinning("strict", pins_of(None, share.items)))
        assert await caller.tools() == names


async def test_instructions_that_change_are_not_passed_on(file, caplog):
    file.write_text("Call echo first.")
    with caplog.at_level(logging.WARNING, "trunkline.gateway"):
        async with beside(stateful("preaches", file)) as (federation, _):
            await until(lambda: federation.statuses()[1].tools == 1)
            for one, shown in (
                (Pinning("strict", ServerPins(digest("Call echo first."))), True),
                (Pinning("changed", ServerPins(digest("Call nothing."))), False),
                (Pinning("changed", ServerPins()), False),
                (Pinning("changed"), True),
                (Pinning("strict"), False),
                (Pinning("off"), True),
            ):
                pin(federation, "preaches", one)
                assert ("Call echo first." in (federation.instructions() or "")) is shown
                told = [line for line in federation.statuses()[1].refused if line.startswith("instructions")]
                assert bool(told) is not shown
    assert "upstream preaches: instructions: changed; they are withheld" in caplog.text
