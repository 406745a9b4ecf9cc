"""The client's half of RFC 9449: what stands in a proof, and what a stored key gives away."""

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from trunkline.auth.proofs import ProofKey, token_hash
from trunkline.errors import ConfigError

URL = "https://mcp.example.com/mcp"


def test_a_proof_says_what_the_standard_asks() -> None:
    key = ProofKey.make()
    decoded = jwt.decode(key.proof("POST", f"{URL}?a=1#b", now=1_800_000_000.9), ECKey.import_key(key.public_jwk))

    assert decoded.header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public_jwk}
    assert set(key.public_jwk) == {"kty", "crv", "x", "y"}
    assert decoded.claims.pop("jti")
    assert decoded.claims == {"htm": "POST", "htu": URL, "iat": 1_800_000_000}


def test_a_proof_names_token_and_nonce_where_there_are() -> None:
    key = ProofKey.make()
    proof = key.proof("GET", URL, token="t0ken", nonce="n-1")
    claims = jwt.decode(proof, ECKey.import_key(key.public_jwk)).claims
    assert (claims["ath"], claims["nonce"], claims["htm"]) == (token_hash("t0ken"), "n-1", "GET")


def test_the_hash_of_a_token_is_that_of_the_standards_example() -> None:
    # RFC 9449, section 7.1, figure 12.
    assert token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU") == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_the_thumbprint_is_that_of_the_public_key() -> None:
    # The key of RFC 9449, section 4.1, and the thumbprint its section 6.1 binds a token to.
    public = {
        "kty": "EC",
        "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }
    assert ECKey.import_key(public).thumbprint() == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    key = ProofKey.make()
    assert key.thumbprint == ECKey.import_key(key.public_jwk).thumbprint()


def test_no_two_proofs_are_the_same() -> None:
    key = ProofKey.make()
    public = ECKey.import_key(key.public_jwk)
    assert len({jwt.decode(key.proof("POST", URL), public).claims["jti"] for _ in range(50)}) == 50


def test_a_key_comes_back_from_a_store() -> None:
    key = ProofKey.make()
    again = ProofKey.from_jwk(key.private_jwk())
    assert again.thumbprint == key.thumbprint
    assert jwt.decode(again.proof("POST", URL), ECKey.import_key(key.public_jwk))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        {"kty": "EC", "crv": "P-256", "x": "secret", "y": "secret", "d": "secret"},
        ProofKey.make().public_jwk,
        ECKey.generate_key("P-384").as_dict(private=True),
        RSAKey.generate_key(2048).as_dict(private=True),
    ],
    ids=["nothing", "symmetric", "broken", "public", "P-384", "RSA"],
)
def test_any_other_key_is_refused_and_not_told(jwk: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        ProofKey.from_jwk(jwk)
    assert not any(value in str(refused.value) for value in jwk.values() if len(value) > 5)
    assert refused.value.__cause__ is None


def test_a_key_shows_nobody_its_private_half() -> None:
    key = ProofKey.make()
    assert key.private_jwk()["d"] not in repr(key) + str(vars(key))
