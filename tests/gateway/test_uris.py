"""The rewriting rule of colliding URIs, and template matching."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.names import labels
from trunkline.gateway.uris import Template, is_web, restore, rewrite

uris = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[a-z]{1,6}:(//)?[a-z_/{}?#]{0,20}", fullmatch=True),
    st.sampled_from(
        ["ui://app/main.html", "file:///etc/hosts", "urn:isbn:1", "demo://{id}/x", "a__b", "demo://a__b/c"]
    ),
)
servers = st.text(max_size=50)


@given(servers, uris)
def test_the_rule_is_reversible(server, uri):
    label = labels([server])[server]
    assert restore(rewrite(label, uri)) == (label, uri)


@given(uris, st.lists(servers, min_size=2, max_size=2, unique=True))
def test_two_upstreams_never_share_a_rewritten_uri(uri, names):
    first, second = labels(names).values()
    assert rewrite(first, uri) != rewrite(second, uri)


@pytest.mark.parametrize(
    ("uri", "rewritten"),
    [
        ("demo://item/1", "demo://time__item/1"),
        ("ui://app/main.html", "ui://time__app/main.html"),
        ("file:///etc/hosts", "file://time__/etc/hosts"),
        ("urn:isbn:1", "urn:time__isbn:1"),
        ("demo://{id}/x", "demo://time__{id}/x"),
        ("relative/path", "time__relative/path"),
    ],
)
def test_the_scheme_stays(uri, rewritten):
    assert rewrite("time", uri) == rewritten


def test_what_is_not_rewritten_has_no_original():
    assert restore("demo://item/1") is None
    assert restore("demo://__item") is None


@pytest.mark.parametrize(
    ("template", "uri", "matches"),
    [
        ("demo://{id}", "demo://1", True),
        ("demo://{id}", "demo://1/2", False),
        ("demo://{+path}", "demo://1/2", True),
        ("demo://{a}/{b}", "demo://1/2", True),
        ("demo://{a}/{b}", "demo://1/2/3", False),
        ("demo://{a}/x/{b}", "demo://1/x/2", True),
        ("demo://x", "demo://x", True),
        ("demo://x", "demo://y", False),
        ("demo://{id}/end", "demo://end", False),
        ("demo://search{?q,page}", "demo://search?q=a/b", True),
        ("{+any}", "anything", True),
        ("", "", True),
    ],
)
def test_templates_match_what_they_expand_to(template, uri, matches):
    assert Template(template).matches(uri) is matches


def test_a_hostile_template_costs_one_pass():
    template = Template("x://" + "{+a}b" * 10_000)
    assert not template.matches("x://" + "b" * 9_999)


def test_the_web_is_known_by_its_scheme():
    assert is_web("HTTPS://example.com")
    assert not is_web("demo://https://")
