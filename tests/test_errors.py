"""Errors can always be told."""

from trunkline.errors import InvalidParams, TransportError
from trunkline.protocol import messages


def test_half_a_character_in_what_a_peer_said_does_not_keep_an_error_from_being_told() -> None:
    error = TransportError("answered 500 \udcff \u00e9")

    assert str(error) == error.message == "answered 500 ? \u00e9"
    assert b"? \xc3\xa9" in messages.error_message(1, InvalidParams("\ud800 \u00e9"))
