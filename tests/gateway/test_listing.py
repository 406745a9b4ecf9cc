"""What is kept of an upstream's list, however it lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.listing import IDENTITY, KINDS, MEMBERS, listed
from trunkline.protocol import json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(["name", "uri", "uriTemplate", "inputSchema", "title", "description", "icons", "_meta", "size"])
members = st.lists(st.dictionaries(known, json_values, max_size=5) | json_values, max_size=6)


@given(st.sampled_from(KINDS), members, json_values, json_values)
def test_whatever_a_server_lists_the_rest_is_usable(kind, items, ttl, scope):
    share = listed(kind, [{MEMBERS[kind]: items, "ttlMs": ttl, "cacheScope": scope}])
    names = [item[IDENTITY[kind]] for item in share.items]
    assert len(set(names)) == len(names)
    assert all(isinstance(name, str) for name in names)
    assert share.ttl_ms is None or share.ttl_ms >= 0


def test_a_bad_tool_leaves_its_neighbours_alone_and_is_told_to_the_operator():
    good = {"name": "good", "inputSchema": {"type": "object"}}
    bad = [
        {"inputSchema": {"type": "object"}},
        {"name": 7, "inputSchema": {"type": "object"}},
        {"name": "no schema"},
        {"name": "array", "inputSchema": {"type": "array"}},
        {"name": "header", "inputSchema": {"type": "object", "properties": {"a": {"x-mcp-header": "a b"}}}},
        "not a tool",
        dict(good),
    ]
    share = listed("tools", [{"tools": [good, *bad]}])
    assert share.items == (good,)
    assert len(share.faults) == len(bad)


def test_a_deep_schema_is_left_out():
    schema: dict = {"type": "object"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"x": schema}}
    assert listed("tools", [{"tools": [{"name": "deep", "inputSchema": schema}]}]).items == ()


@pytest.mark.parametrize("field", ["title", "description", "icons", "outputSchema", "annotations", "_meta"])
def test_optional_members_of_a_wrong_type_are_dropped(field):
    (tool,) = listed("tools", [{"tools": [{"name": "t", "inputSchema": {"type": "object"}, field: None}]}]).items
    assert tool == {"name": "t", "inputSchema": {"type": "object"}}


def test_unknown_members_survive():
    tool = {"name": "t", "inputSchema": {"type": "object"}, "x-new": {"deep": [1]}}
    assert listed("tools", [{"tools": [tool]}]).items == (tool,)


def test_pages_are_joined_with_the_shortest_life_and_the_narrowest_scope():
    pages = [
        {"prompts": [{"name": "a"}], "ttlMs": 500, "cacheScope": "public"},
        {"prompts": [{"name": "b"}], "ttlMs": -4, "cacheScope": "private"},
    ]
    share = listed("prompts", pages)
    assert [item["name"] for item in share.items] == ["a", "b"]
    assert (share.ttl_ms, share.private) == (0, True)


def test_an_answer_without_the_list_is_a_fault_not_an_error():
    share = listed("resources", [{"resources": "none"}])
    assert share.items == ()
    assert share.faults


def test_tool_lists_of_the_configuration_apply():
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("read", "write")]
    share = listed("tools", [{"tools": tools}], admits=lambda name: name != "write")
    assert [item["name"] for item in share.items] == ["read"]


def test_mirrored_parameters_are_known():
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    share = listed("tools", [{"tools": [{"name": "t", "inputSchema": schema}]}])
    assert [param.key for param in share.headers["t"]] == [b"mcp-param-region"]


schemas = st.recursive(
    st.sampled_from(["object", "string", "integer", "Region", "a b", None, 1, True]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "x-mcp-header", "$ref", "items", "a"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.lists(schemas, max_size=4))
def test_no_schema_breaks_a_list(found):
    tools = [{"name": f"t{index}", "inputSchema": schema} for index, schema in enumerate(found)]
    good = {"name": "good", "inputSchema": {"type": "object"}}
    assert good in listed("tools", [{"tools": [*tools, good]}]).items


@pytest.mark.parametrize(("written", "kept"), [("1e999", 2**53), ("-1e999", 0), ("0.5", 0), ("-3", 0)])
def test_a_time_to_live_of_any_number_is_bounded(written, kept):
    page = json.parse(f'{{"tools": [], "ttlMs": {written}}}')

    assert listed("tools", [page]).ttl_ms == kept
