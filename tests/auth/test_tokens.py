"""The answer of a token endpoint, and what of it is kept."""

import json
import time

import pytest

from trunkline.auth.tokens import Kept, Registration, TokenResponse, Tokens, read_tokens
from trunkline.errors import InvalidAnswer, SignInRefused, TransportError

GOOD = {"access_token": "s3cret", "token_type": "bearer", "expires_in": 60, "refresh_token": "r3fresh", "scope": "a b"}


def test_tokens_are_taken_from_an_answer() -> None:
    response = read_tokens(200, json.dumps(GOOD).encode(), "https://idp")
    tokens = Tokens.of(response, frozenset({"c"}))
    assert (tokens.access_token, tokens.token_type, tokens.scopes) == ("s3cret", "Bearer", {"a", "b"})
    assert tokens.expires_at is not None and abs(tokens.expires_at - time.time() - 60) < 5
    assert tokens.fresh() and not tokens.fresh(early=61)


def test_what_an_answer_leaves_out_stays_as_it_was() -> None:
    before = Tokens(access_token="old", refresh_token="kept")
    tokens = Tokens.of(TokenResponse(access_token="new", token_type="DPoP"), frozenset({"c"}), before)
    assert (tokens.refresh_token, tokens.scopes, tokens.token_type) == ("kept", {"c"}, "DPoP")
    assert tokens.fresh()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"access_token=x",
        b"[]",
        b'{"access_token": "s3cret"}',
        b'{"access_token": 5, "token_type": "bearer"}',
        b'{"access_token": "", "token_type": "bearer"}',
        b'{"access_token": "s3cret\\r\\nX: y", "token_type": "bearer"}',
        b'{"access_token": "s3cret", "token_type": "bearer", "expires_in": "soon"}',
    ],
)
def test_what_is_no_answer_of_a_token_endpoint_is_refused_without_showing_it(body: bytes) -> None:
    with pytest.raises(InvalidAnswer) as refusal:
        read_tokens(200, body, "https://idp")
    assert "s3cret" not in str(refusal.value)


def test_an_error_is_told_with_its_code() -> None:
    body = b'{"error": "invalid_grant", "error_description": "gone\\u001b[31m"}'
    with pytest.raises(SignInRefused, match="invalid_grant: gone \\[31m") as refusal:
        read_tokens(400, body, "https://idp")
    assert (refusal.value.error, refusal.value.status) == ("invalid_grant", 400)
    with pytest.raises(InvalidAnswer, match="403 and no OAuth error"):
        read_tokens(403, b"<html>", "https://idp")
    for body in (b"<html>", b'{"error": "server_error"}'):
        with pytest.raises(TransportError, match="503: try again later") as trouble:
            read_tokens(503, body, "https://idp")
        assert not isinstance(trouble.value, InvalidAnswer | SignInRefused)


def test_no_secret_is_shown() -> None:
    response = TokenResponse(access_token="s3cret", token_type="Bearer", refresh_token="s3cret", id_token="s3cret")
    registration = Registration(client_id="me", client_secret="s3cret")
    kept = Kept(
        issuer="https://idp",
        resource="https://mcp",
        tokens=Tokens.of(response, frozenset()),
        registration=registration,
        proof_key={"d": "s3cret"},
    )
    for thing in (response, registration, kept, kept.tokens):
        assert "s3cret" not in repr(thing) and "s3cret" not in str(thing)
