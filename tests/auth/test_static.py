"""Who holds which token, and that nobody learns a token from us."""

import hashlib
from pathlib import Path

import pytest

from trunkline import ConfigError, Principal, StaticTokens, Unauthenticated
from trunkline.auth.static import TokenRecord
from trunkline.engine.doors import RequestFacts

ALICE = Principal("static-token", "alice")
BOB = Principal("static-token", "bob", tools=("read_*",))


def facts(authorization: bytes | None) -> RequestFacts:
    headers = {} if authorization is None else {b"authorization": authorization}
    return RequestFacts("POST", "http://localhost/mcp", headers, b"{}")


@pytest.mark.parametrize(
    ("header", "principal"), [(b"Bearer for-alice", ALICE), (b"bearer for-bob", BOB), (b"Bearer   for-bob", BOB)]
)
async def test_a_token_tells_who_calls(header: bytes, principal: Principal) -> None:
    tokens = StaticTokens({"for-alice": ALICE, "for-bob": BOB})

    assert await tokens.authenticate(facts(header)) is principal


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, "Bearer"),
        (b"", 'Bearer error="invalid_token"'),
        (b"Bearer", 'Bearer error="invalid_token"'),
        (b"Bearer wrong", 'Bearer error="invalid_token"'),
        (b"Basic for-alice", 'Bearer error="invalid_token"'),
        (b"Bearer for-alice for-bob", 'Bearer error="invalid_token"'),
    ],
)
async def test_anyone_else_is_challenged(header: bytes | None, challenge: str) -> None:
    tokens = StaticTokens({"for-alice": ALICE, "for-bob": BOB})

    with pytest.raises(Unauthenticated) as raised:
        await tokens.authenticate(facts(header))

    assert raised.value.headers == (("WWW-Authenticate", challenge),)
    assert "wrong" not in repr(raised.value.wire())


async def test_records_come_as_digest_environment_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROL_TOKEN", "for-carol")
    (tmp_path / "dave.token").write_text("for-dave\n")
    tokens = StaticTokens.from_records(
        [
            TokenRecord(name="alice", sha256=hashlib.sha256(b"for-alice").hexdigest()),
            TokenRecord(name="carol", secret="env:CAROL_TOKEN", tools=("read_*",)),
            TokenRecord(name="dave", secret="file:dave.token"),
        ],
        tmp_path,
    )

    for name in ("alice", "carol", "dave"):
        principal = await tokens.authenticate(facts(f"Bearer for-{name}".encode()))
        assert (principal.issuer, principal.subject) == ("static-token", name)
    assert (await tokens.authenticate(facts(b"Bearer for-carol"))).tools == ("read_*",)


@pytest.mark.parametrize(
    "record",
    [
        TokenRecord(name="x"),
        TokenRecord(name="x", sha256="0" * 64, secret="env:HOME"),
        TokenRecord(name="x", sha256="hunter2"),
        TokenRecord(name="x", secret="hunter2"),
        TokenRecord(name="x", secret="env:NOT_SET_ANYWHERE"),
        TokenRecord(name="x", secret="file:not-there"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_without_repeating_a_secret(record: TokenRecord) -> None:
    with pytest.raises(ConfigError) as raised:
        StaticTokens.from_records([record])

    assert "'x'" in raised.value.message
    assert "hunter2" not in raised.value.message


def test_the_list_must_name_each_token_once() -> None:
    digest = hashlib.sha256(b"same").hexdigest()
    for records in ([], [TokenRecord(name="a", sha256=digest), TokenRecord(name="b", sha256=digest)]):
        with pytest.raises(ConfigError):
            StaticTokens.from_records(records)
    with pytest.raises(ConfigError):
        StaticTokens({"": ALICE})


def test_no_token_is_kept_or_shown() -> None:
    tokens = StaticTokens({"for-alice": ALICE})

    assert repr(tokens) == "StaticTokens(1 tokens)"
    assert "for-alice" not in repr(vars(tokens))


def test_the_facts_of_a_request_do_not_show_its_credentials() -> None:
    facts = RequestFacts("POST", "http://localhost/mcp", {b"authorization": b"Bearer hunter2"}, b'{"a": "hunter2"}')

    assert "hunter2" not in repr(facts)
