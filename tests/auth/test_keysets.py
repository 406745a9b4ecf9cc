"""Keys that change, issuers that are away, and strangers who name keys nobody has."""

import asyncio
import logging

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.auth.authority import Authority, authority
from trunkline.auth.issuers import Issuer
from trunkline.auth.keysets import FORCED, STALE, KeySet
from trunkline.errors import IssuerUnavailable


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys_of(issuer: Authority, **options: float) -> tuple[KeySet, Clock]:
    clock = Clock()
    return KeySet(Issuer(issuer.issuer, clock=clock), clock=clock, **options), clock  # type: ignore[arg-type]


def asked(issuer: Authority) -> int:
    return issuer.site.asked.count("/jwks")


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


async def settled(keys: KeySet) -> None:
    while keys._fetching is not None and not keys._fetching.done():
        await asyncio.sleep(0.01)


async def test_keys_are_fetched_once_for_all_who_wait() -> None:
    async with authority() as issuer:
        keys, _ = keys_of(issuer)
        found = await asyncio.gather(*(keys.find("k1", "EC") for _ in range(50)))
        assert all(len(one) == 1 for one in found)
        assert asked(issuer) == 1


async def test_one_who_leaves_takes_nobody_along() -> None:
    async with authority() as issuer:
        keys, _ = keys_of(issuer)
        leaving = asyncio.create_task(keys.find("k1", "EC"))
        staying = asyncio.create_task(keys.find("k1", "EC"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) == 1


async def test_a_new_key_is_found_at_once_and_strangers_cause_few_requests() -> None:
    async with authority() as issuer:
        keys, clock = keys_of(issuer)
        await keys.find("k1", "EC")
        issuer.keys["k2"] = new_key("k2")
        clock.now += FORCED + 1
        assert len(await keys.find("k2", "EC")) == 1
        before = asked(issuer)
        for number in range(200):
            assert await keys.find(f"invented {number}", "EC") == []
        assert asked(issuer) == before
        clock.now += FORCED + 1
        for number in range(200):
            assert await keys.find(f"invented {number}", "EC") == []
        assert asked(issuer) == before + 1


async def test_old_keys_serve_while_new_ones_are_fetched_and_then_go() -> None:
    async with authority() as issuer:
        keys, clock = keys_of(issuer)
        await keys.find("k1", "EC")
        issuer.keys = {"k2": new_key("k2")}
        clock.now += 301
        assert len(await keys.find("k1", "EC")) == 1
        await settled(keys)
        assert await keys.find("k1", "EC") == []
        assert len(await keys.find("k2", "EC")) == 1
        assert asked(issuer) == 2


async def test_an_issuer_that_is_away_is_done_without_for_a_day(caplog: pytest.LogCaptureFixture) -> None:
    async with authority() as issuer:
        keys, clock = keys_of(issuer)
        await keys.find("k1", "EC")
        issuer.site.answers.pop("/jwks")
        clock.now += STALE - 1
        with caplog.at_level(logging.WARNING):
            assert len(await keys.find("k1", "EC")) == 1
            await settled(keys)
        assert "cannot be fetched" in caplog.text
        clock.now += 10
        with pytest.raises(IssuerUnavailable):
            await keys.find("k1", "EC")


async def test_an_issuer_that_never_was_there_is_not_asked_by_everyone() -> None:
    async with authority() as issuer:
        issuer.site.answers.pop("/jwks")
        keys, clock = keys_of(issuer)
        for _ in range(20):
            with pytest.raises(IssuerUnavailable) as told:
                await keys.find("k1", "EC")
            assert told.value.retry_after > 0
        assert asked(issuer) == 1
        issuer.publish()
        clock.now += 6
        assert len(await keys.find("k1", "EC")) == 1


async def test_a_shorter_life_is_honoured_and_a_longer_one_is_not() -> None:
    async with authority() as issuer:
        for said, seconds in (("max-age=60", 60), ("public, max-age=86400", 300), ("max-age=0", 10), ("no-store", 300)):
            issuer.cache_control = said
            keys, clock = keys_of(issuer)
            await keys.find("k1", "EC")
            assert keys.fresh_until - clock.now == seconds


async def test_what_is_no_key_for_signatures_spoils_no_other() -> None:
    async with authority() as issuer:
        listed = [
            {"kty": "PQ", "kid": "future"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"},
            {"kty": "RSA", "kid": "half", "n": "AA"},
            {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "enc", "use": "enc"},
            {**OctKey.generate_key(256).as_dict(private=True), "kid": "secret"},
            {**new_key("leaked").as_dict(private=True)},
        ]
        issuer.site.says("/jwks", {"keys": listed})
        keys, _ = keys_of(issuer)
        (leaked,) = await keys.find(None, "EC")
        assert leaked.get("kid") == "leaked"
        assert not leaked.is_private
        assert await keys.find(None, "RSA") == await keys.find("secret", "oct") == []


@pytest.mark.parametrize("document", [{}, {"keys": []}, {"keys": 7}, [], {"keys": [{"kty": "oct", "k": "AAAA"}]}])
async def test_a_key_set_without_a_key_is_a_failure(document: object) -> None:
    async with authority() as issuer:
        issuer.site.says("/jwks", document)
        keys, _ = keys_of(issuer)
        with pytest.raises(IssuerUnavailable):
            await keys.find("k1", "EC")


async def test_keys_are_not_fetched_from_wherever_metadata_point() -> None:
    """A private address in `jwks_uri` is not asked, unless the issuer itself is there (server-side request forgery)."""
    async with authority() as issuer:
        keys = KeySet(Issuer("https://id.example.com"), url=f"{issuer.issuer}/jwks")
        with pytest.raises(IssuerUnavailable):
            await keys.find("k1", "EC")
        assert asked(issuer) == 0
