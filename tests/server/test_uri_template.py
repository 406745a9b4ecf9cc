"""Which URIs belong to a template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import ConfigError
from trunkline.server.uri_template import UriTemplate


@pytest.mark.parametrize(
    ("template", "uri", "variables"),
    [
        ("weather://{city}", "weather://Paris", {"city": "Paris"}),
        ("weather://{city}", "weather://S%C3%A3o%20Paulo", {"city": "São Paulo"}),
        ("weather://{city}", "weather://a/b", None),
        ("weather://{city}", "weather://a?b", None),
        ("weather://{city}", "weather://", None),
        ("weather://{city}", "other://Paris", None),
        ("weather://{city}", "weather://%ff", None),
        ("a://{x}/{y}.txt", "a://1/2.txt", {"x": "1", "y": "2"}),
        ("a://{x}/{y}.txt", "a://1/2.txt.txt", {"x": "1", "y": "2.txt"}),
        ("a://{x}-{y}", "a://1-2-3", {"x": "1", "y": "2-3"}),
        ("a://{x}-{y}", "a://--2", {"x": "-", "y": "2"}),
        ("a://{+x}-{y}", "a://1-2-", {"x": "1", "y": "2-"}),
        ("a://{x}%2F", "a://1%2F", {"x": "1"}),
        ("a://{x}", "a://1%2F2", {"x": "1/2"}),
        ("file:///{+path}", "file:///a/b/c.txt", {"path": "a/b/c.txt"}),
        ("file:///{+path}/{name}.md", "file:///a/b/c.md", {"path": "a/b", "name": "c"}),
        ("repo://{owner}/{+path}/raw", "repo://me/src/a/raw", {"owner": "me", "path": "src/a"}),
        ("repo://{owner}/{+path}", "repo://me", None),
        ("find://notes{?text,limit}", "find://notes?text=a%20b&limit=3", {"text": "a b", "limit": "3"}),
        ("find://notes{?text,limit}", "find://notes", {}),
        ("find://notes{?text}", "find://notes?other=1", None),
        ("find://notes{?text}", "find://notes?text=1&text=2", None),
        ("find://{who}{?text}", "find://me?text=", {"who": "me", "text": ""}),
    ],
)
def test_matching(template: str, uri: str, variables: dict[str, str] | None) -> None:
    assert UriTemplate(template).match(uri) == variables


@pytest.mark.parametrize(
    "template", ["a://{x}{y}", "a://{+x}/{+y}", "a://{x}/{x}", "a://{?q}/b", "a://{x", "a://{x-y}", "a://}", "a://{}"]
)
def test_what_cannot_be_matched_unambiguously_is_refused(template: str) -> None:
    with pytest.raises(ConfigError):
        UriTemplate(template)


SEGMENT = st.text("ab-._%25é", min_size=1, max_size=12).filter(lambda text: "/" not in text)


@given(first=SEGMENT, second=SEGMENT, rest=st.text("ab/.-", min_size=1, max_size=30))
def test_what_was_expanded_is_found_again(first: str, second: str, rest: str) -> None:
    from urllib.parse import quote

    template = UriTemplate("x://{first}/{second}/{+rest}/end")
    uri = f"x://{quote(first, safe='')}/{quote(second, safe='')}/{rest}/end"

    assert template.match(uri) == {"first": first, "second": second, "rest": rest}


def test_a_hostile_uri_costs_no_more_than_its_length() -> None:
    template = UriTemplate("x://{a}-{b}-{c}-{d}-{e}-{f}-{g}/end")

    assert template.match("x://" + "-" * 200_000) is None
    assert template.match("x://" + "-a" * 200_000 + "/en") is None


@given(st.text(max_size=60))
def test_any_text_is_answered(uri: str) -> None:
    UriTemplate("x://{a}/{+b}{?c}").match(uri)
    UriTemplate("{+b}:{a}").match(uri)
