"""Sealed state: forged, foreign and moved text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError, SealError

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_is_sealed_opens_again(payload: bytes, bound: bytes) -> None:
    keys = Keys([NEW])

    assert keys.open("state", bound, keys.seal("state", bound, payload)) == payload


def test_a_rotation_is_noticed_by_no_client() -> None:
    sealed = Keys([OLD]).seal("state", b"me", b"payload")

    assert Keys([NEW, OLD]).open("state", b"me", sealed) == b"payload"
    with pytest.raises(SealError):
        Keys([NEW]).open("state", b"me", sealed)


@pytest.mark.parametrize(("purpose", "bound"), [("session", b"me"), ("state", b"you"), ("state", b"")])
def test_sealed_text_cannot_be_moved(purpose: str, bound: bytes) -> None:
    keys = Keys([NEW])
    sealed = keys.seal("state", b"me", b"payload")

    with pytest.raises(SealError):
        keys.open(purpose, bound, sealed)


def test_every_changed_character_is_noticed() -> None:
    keys = Keys([NEW])
    sealed = keys.seal("state", b"me", b"payload")

    for place, character in enumerate(sealed):
        forged = sealed[:place] + ("A" if character != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(SealError):
            keys.open("state", b"me", forged)


@given(st.text(max_size=200))
def test_any_text_is_refused_not_crashed_on(text: str) -> None:
    with pytest.raises(SealError):
        Keys([NEW]).open("state", b"me", text)


def test_keys_are_not_shown() -> None:
    assert "n" * 8 not in repr(Keys([NEW]))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        Keys([b"short"])


def test_keys_are_replaced_while_running() -> None:
    keys = Keys([OLD])
    sealed = keys.seal("state", b"me", b"payload")

    keys.replace([NEW, OLD])

    assert keys.open("state", b"me", sealed) == b"payload"
    assert Keys([NEW]).open("state", b"me", keys.seal("state", b"me", b"newer")) == b"newer"
    keys.replace([NEW])
    with pytest.raises(SealError):
        keys.open("state", b"me", sealed)


@pytest.mark.parametrize("bad", [[], [NEW, b"short"]])
def test_keys_stay_as_they_were_when_the_others_are_no_good(bad: list[bytes]) -> None:
    keys = Keys([OLD])

    with pytest.raises(ConfigError):
        keys.replace(bad)

    assert Keys([OLD]).open("state", b"me", keys.seal("state", b"me", b"payload")) == b"payload"
