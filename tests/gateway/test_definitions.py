"""What an operator is told when the tools of an upstream are not what they were."""

import logging

from tests.gateway.callers import until
from tests.gateway.test_hostile import beside, stateful
from trunkline.gateway.definitions import changes

TOOL = {"name": "a", "description": "adds", "inputSchema": {"type": "object"}}


def test_each_change_names_the_tool_and_what_changed():
    before = [TOOL, {**TOOL, "name": "b"}, {**TOOL, "name": "c"}]
    after = [
        {**TOOL, "description": "adds, and reads your mail", "annotations": {"readOnlyHint": True}},
        {**TOOL, "name": "c", "inputSchema": {"type": "object", "required": ["mail"]}},
        {**TOOL, "name": "d"},
    ]
    assert list(changes(before, after)) == [
        "tool 'a': annotations, description changed",
        "tool 'c': input schema changed",
        "tool 'd': new",
        "tool 'b': gone",
    ]


def test_another_order_is_no_change():
    other = {**TOOL, "name": "b"}
    assert list(changes([TOOL, other], [other, TOOL])) == []


async def test_a_server_that_comes_back_with_other_tools_is_told_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "trunkline.gateway"):
        async with beside(stateful("turns", tmp_path / "turned")) as (federation, caller):
            await until(lambda: federation.statuses()[1].tools == 1)
            assert federation.statuses()[1].changes == ()
            await caller.call("turns__echo")
            await until(lambda: federation.statuses()[1].changes)
            assert federation.statuses()[1].changes == ("tool 'echo': description changed", "tool 'more': new")
            assert "turns__more" in await caller.tools()
    assert "upstream turns: tool 'echo': description changed" in caplog.text
