"""Pins as values: what has the same digest, what has not, and what each mode refuses for it."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tests.gateway.callers import until
from trunkline.gateway.listing import listed
from trunkline.gateway.pins import Pinning, canonical, differing, digest, parts, pins_of
from trunkline.gateway.shelf import Shelf
from trunkline.protocol import json as wire

TOOL = {"name": "echo", "description": "adds", "inputSchema": {"type": "object"}}


def test_a_definition_has_one_digest_however_it_is_written():
    first = {"name": "a", "inputSchema": {"type": "object", "properties": {"n": {"minimum": 1.5, "maximum": 100}}}}
    other = {
        "inputSchema": {"properties": {"n": {"maximum": Raw(b"1.00E2"), "minimum": Raw(b"1.50")}}, "type": "object"}
    }
    assert parts(first) == parts({**other, "name": "a"})


@pytest.mark.parametrize(
    "spellings",
    [["1", "1.0", "10e-1", "0.1e1", "1.000"], ["0", "-0", "0.0", "0e5"], ["-2.5", "-25e-1"], ["1e16", "1e+16", "1E16"]],
)
def test_a_number_has_one_digest_in_whatever_message_it_comes(spellings):
    # Small messages that are written as we would write them are parsed in another way than all others.
    texts = [f'{{"n":{one}}}' for one in spellings] + [f'{{ "n": {one} }}' for one in spellings]
    assert len({digest(wire.parse(text)) for text in texts}) == 1


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.integers())
def test_different_numbers_have_different_digests(real, one, other):
    assert (canonical(one) == canonical(other)) == (one == other)
    assert (canonical(real) == canonical(one)) == (real == one)
    assert float(canonical(real)) == real


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON, JSON)
def test_two_values_have_one_digest_only_when_they_are_the_same(one, other):
    def strict(value):
        return json.dumps(value, sort_keys=True)

    assert canonical(one).isascii()
    assert json.loads(canonical(one)) == one
    assert (canonical(one) == canonical(other)) == (strict(one) == strict(other))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"description": "adds\u200b"}, "description"),
        ({"description": "a\u0308"}, "description"),
        ({"title": "Adds"}, "title"),
        ({"inputSchema": {"type": "object", "required": ["mail"]}}, "inputSchema"),
        ({"outputSchema": {"type": "object"}}, "outputSchema"),
        ({"annotations": {"readOnlyHint": True}}, "annotations"),
        ({"_meta": {"ui": {"resourceUri": "ui://other"}}}, "_meta"),
        ({"execution": {"taskSupport": "required"}}, "execution"),
        ({"prompt": "and read the mail"}, "other"),
    ],
)
def test_whatever_a_model_reads_or_a_host_obeys_counts(change, part):
    before = {**TOOL, "description": "\u00e4"} if "a\u0308" in str(change) else TOOL
    assert differing(parts(before), parts({**before, **change})) == (part,)


def test_icons_do_not_count_and_neither_does_the_number_of_unknown_members():
    assert parts({**TOOL, "icons": [{"src": "https://cdn.example/1?sig=x"}]}) == parts(TOOL)
    assert parts({**TOOL, **{f"x{n}": n for n in range(1000)}}).keys() == {"description", "inputSchema", "other"}


@pytest.mark.parametrize(
    ("mode", "pinned", "refused"),
    [
        ("off", None, {}),
        ("changed", None, {}),
        ("strict", None, {"echo": (), "new": ()}),
        ("off", "other", {}),
        ("changed", "other", {"echo": ("description",)}),
        ("strict", "other", {"echo": ("description",), "new": ()}),
        ("strict", "adds", {"new": ()}),
    ],
)
def test_what_each_mode_refuses(mode, pinned, refused):
    pins = None if pinned is None else pins_of(None, [{**TOOL, "description": pinned}])
    assert Pinning(mode, pins).refused({"echo": parts(TOOL), "new": parts(TOOL)}) == refused


def test_a_name_that_looks_the_same_is_another_one():
    pins = pins_of(None, [TOOL])
    assert Pinning("strict", pins).refused({"\u0435cho": parts(TOOL), "echo\u200b": parts(TOOL)}).keys() == {
        "\u0435cho",
        "echo\u200b",
    }


def test_of_two_tools_with_one_name_the_first_is_held_to_the_pin():
    for first, second, refused in (("adds", "steals", []), ("steals", "adds", ["echo"])):
        share = listed(
            "tools", [{"tools": [{**TOOL, "description": first}]}, {"tools": [{**TOOL, "description": second}]}]
        )
        assert [item["description"] for item in share.items] == [first]
        found = Pinning("strict", pins_of(None, [TOOL])).refused({"echo": parts(share.items[0])})
        assert list(found) == refused


async def test_a_list_that_was_asked_for_before_a_change_says_nothing_after_it():
    asked, answers = [], [asyncio.Event(), asyncio.Event()]

    async def ask(method, params):
        asked.append(method)
        description = ("adds", "steals")[len(asked) - 1]
        await answers[len(asked) - 1].wait()
        return {"tools": [{**TOOL, "description": description}]}

    shelf = Shelf("up", ask, None, lambda kind, known: None)
    shelf.pin(Pinning("strict", pins_of(None, [TOOL])))
    settling = asyncio.create_task(shelf.settle("tools", 10))
    await until(lambda: len(asked) == 1)
    shelf.expire("tools")
    answers[0].set()
    await until(lambda: len(asked) == 2)
    assert not settling.done()
    answers[1].set()
    assert await settling
    assert shelf.lists["tools"].refused == {"echo": ("description",)}


async def test_a_list_that_changes_without_end_is_not_asked_for_without_end():
    asked = []

    async def ask(method, params):
        asked.append(method)
        shelf.expire("tools")
        return {"tools": [TOOL]}

    shelf = Shelf("up", ask, None, lambda kind, known: None)
    assert not await shelf.settle("tools", 0.5)
    assert len(asked) < 10
