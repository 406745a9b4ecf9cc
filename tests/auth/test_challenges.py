"""`WWW-Authenticate` in all its forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from trunkline.auth.challenges import Challenge, challenges, find, read, write


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("Bearer", [Challenge("bearer")]),
        ('Bearer realm="x"', [Challenge("bearer", {"realm": "x"})]),
        (
            'Bearer error="insufficient_scope", scope="a b", resource_metadata="https://x/y"',
            [Challenge("bearer", {"error": "insufficient_scope", "scope": "a b", "resource_metadata": "https://x/y"})],
        ),
        (
            'DPoP algs="ES256 ES384", Bearer realm="a, b=\\"c\\""',
            [Challenge("dpop", {"algs": "ES256 ES384"}), Challenge("bearer", {"realm": 'a, b="c"'})],
        ),
        ("Negotiate, Bearer scope=a", [Challenge("negotiate"), Challenge("bearer", {"scope": "a"})]),
        ("Negotiate YII=, Bearer", [Challenge("negotiate"), Challenge("bearer")]),
        ('Bearer realm="x" scope="a"', [Challenge("bearer", {"realm": "x", "scope": "a"})]),
        ('Bearer scope="a", scope="b"', [Challenge("bearer", {"scope": "a"})]),
        ('BEARER Scope = "a"', [Challenge("bearer", {"scope": "a"})]),
        (", ,Bearer ,realm=x", [Challenge("bearer", {"realm": "x"})]),
        ('Bearer realm="never closed, scope=a', [Challenge("bearer")]),
        ("", []),
        ('"', []),
    ],
)
def test_a_field_is_read(field: str, expected: list[Challenge]) -> None:
    assert read(field) == expected


def test_several_fields_are_read_and_the_metadata_found_in_any_of_them() -> None:
    headers = CIMultiDictProxy(
        CIMultiDict([("WWW-Authenticate", "Bearer"), ("WWW-Authenticate", 'DPoP resource_metadata="https://x/y"')])
    )
    found = challenges(headers)
    assert [challenge.scheme for challenge in found] == ["bearer", "dpop"]
    assert find(found, "resource_metadata") == "https://x/y"
    assert challenges({"www-authenticate": "Bearer"}) == (Challenge("bearer"),)


@given(
    st.dictionaries(
        st.sampled_from(["realm", "scope", "error"]), st.text(st.characters(min_codepoint=32, max_codepoint=126))
    )
)
def test_what_is_written_is_read(params: dict[str, str]) -> None:
    assert read(write("Bearer", params)) == [Challenge("bearer", params)]


@given(st.text(max_size=200))
def test_anything_can_be_read(field: str) -> None:
    read(field)


def test_a_value_that_splits_the_header_is_not_written() -> None:
    with pytest.raises(ValueError, match="printable"):
        write("Bearer", {"scope": "a\r\nSet-Cookie: b"})
