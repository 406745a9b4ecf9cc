"""Where URIs occur in results."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway import rewriting


def expose(uri):
    return uri.replace("old", "new")


def test_links_and_embedded_resources_of_a_call():
    link = {"type": "resource_link", "uri": "old://1", "name": "n"}
    embedded = {"type": "resource", "resource": {"uri": "old://2", "text": "old://2"}}
    text = {"type": "text", "text": "old://3"}
    result = {"content": [link, embedded, text], "structuredContent": {"uri": "old://4"}}
    assert rewriting.call_result(result, expose) == {
        "content": [
            {"type": "resource_link", "uri": "new://1", "name": "n"},
            {"type": "resource", "resource": {"uri": "new://2", "text": "old://2"}},
            text,
        ],
        "structuredContent": {"uri": "old://4"},
    }
    assert link["uri"] == "old://1"


def test_what_needs_no_rewriting_is_returned_as_it_came():
    result = {
        "content": [{"type": "resource_link", "uri": "x://1"}, {"type": "resource", "resource": {"uri": "x://2"}}]
    }
    assert rewriting.call_result(result, expose) is result


def test_reads_and_prompts():
    assert rewriting.read_result({"contents": [{"uri": "old://1"}, "odd"]}, expose) == {
        "contents": [{"uri": "new://1"}, "odd"]
    }
    link = {"type": "resource_link", "uri": "old://1"}
    assert rewriting.prompt_result({"messages": [{"role": "user", "content": link}, 3]}, expose) == {
        "messages": [{"role": "user", "content": {"type": "resource_link", "uri": "new://1"}}, 3]
    }


def test_lies_are_left_alone():
    for result in ({}, {"content": "old"}, {"content": [None, {"type": "resource"}]}, {"_meta": {"ui": 3}}):
        assert rewriting.call_result(result, expose) == result


KEYS = ["content", "contents", "messages", "type", "resource", "uri", "_meta", "ui", "resourceUri", "ui/resourceUri"]
anything = st.recursive(
    st.sampled_from(["resource", "resource_link", "old://x", None, 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=5))
def test_no_lie_breaks_the_walk(result):
    for walk in (rewriting.tool, rewriting.call_result, rewriting.read_result, rewriting.prompt_result):
        shown = walk(result, expose)
        assert str(shown).replace("new://", "old://") == str(result)
