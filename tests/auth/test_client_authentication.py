"""A client proves who it is in the way the server takes, and gives away no more than that."""

import base64
import time
import warnings
from urllib.parse import unquote, unquote_plus

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from trunkline.auth.assertions import Signer
from trunkline.auth.client_authentication import KeyClient, PublicClient, SecretClient, client_of
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.tokens import Registration
from trunkline.errors import ConfigError, SignInError

ISSUER = "https://id.example.com/tenant"


def server(*methods: str, algorithms: tuple[str, ...] | None = None) -> ServerMetadata:
    return ServerMetadata(
        issuer=ISSUER,
        token_endpoint="https://id.example.com/token",
        token_endpoint_auth_methods_supported=methods or None,
        token_endpoint_auth_signing_alg_values_supported=algorithms,
    )


@pytest.mark.parametrize(
    ("methods", "used"),
    [
        ((), "basic"),
        (("client_secret_post", "client_secret_basic"), "basic"),
        (("private_key_jwt", "client_secret_post"), "post"),
        (("none", "client_secret_basic"), "basic"),
    ],
)
async def test_a_secret_goes_the_way_the_server_lists(methods: tuple[str, ...], used: str) -> None:
    proven = await SecretClient("cli", "s3cret").prove(server(*methods))

    if used == "post":
        assert proven.form == {"client_id": "cli", "client_secret": "s3cret"}
        assert proven.headers == ()
    else:
        assert proven.form == {}
        assert proven.headers == (("Authorization", "Basic " + base64.b64encode(b"cli:s3cret").decode()),)


async def test_a_secret_is_not_sent_to_a_server_that_takes_none() -> None:
    with pytest.raises(SignInError, match=r"tenant takes no client secret; it takes none, private_key_jwt") as raised:
        await SecretClient("cli", "s3cret").prove(server("none", "private_key_jwt"))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("decode", [unquote, unquote_plus])
async def test_basic_carries_any_letter(decode: type[str]) -> None:
    name, secret = "https://app.example.com/c:1 %41", "a:b+c d/é%&="
    ((_, value),) = (await SecretClient(name, secret).prove(server())).headers

    one, _, other = base64.b64decode(value.removeprefix("Basic ")).decode("ascii").partition(":")
    assert (decode(one), decode(other)) == (name, secret)


async def test_a_method_that_was_agreed_is_used_whatever_is_listed() -> None:
    proven = await SecretClient("cli", "s3cret", "client_secret_post").prove(server("client_secret_basic"))
    assert proven.form["client_secret"] == "s3cret"


async def test_a_client_without_a_secret_says_who_it_is() -> None:
    proven = await PublicClient("cli").prove(server())
    assert (proven.form, proven.headers) == ({"client_id": "cli"}, ())


@pytest.mark.parametrize(
    ("registration", "form", "basic"),
    [
        (Registration(client_id="cli"), {"client_id": "cli"}, False),
        (Registration(client_id="cli", method="none", client_secret="s3cret"), {"client_id": "cli"}, False),
        (Registration(client_id="cli", client_secret="s3cret"), {}, True),
        (
            Registration(client_id="cli", client_secret="s3cret", method="client_secret_post"),
            {"client_id": "cli", "client_secret": "s3cret"},
            False,
        ),
    ],
)
async def test_a_registration_says_how(registration: Registration, form: dict[str, str], basic: bool) -> None:
    proven = await client_of(registration).prove(server())
    assert (proven.form, bool(proven.headers)) == (form, basic)


def test_a_registration_that_needs_a_key_is_told() -> None:
    with pytest.raises(ConfigError, match="private_key_jwt"):
        client_of(Registration(client_id="cli", method="private_key_jwt"))


KEYS = {
    "P-256": (ECKey.generate_key("P-256"), "ES256"),
    "P-384": (ECKey.generate_key("P-384"), "ES384"),
    "P-521": (ECKey.generate_key("P-521"), "ES512"),
    "RSA": (RSAKey.generate_key(2048), "RS256"),
    "Ed25519": (OKPKey.generate_key("Ed25519"), "Ed25519"),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("form", ["pem", "jwk"])
async def test_an_assertion_is_what_rfc_7523_wants(name: str, form: str) -> None:
    key, algorithm = KEYS[name]
    given = key.as_pem(private=True) if form == "pem" else key.as_dict(private=True)
    client = KeyClient("cli", Signer.from_key(given, key_id="k1"))

    proven, again = await client.prove(server()), await client.prove(server())

    assert set(proven.form) == {"client_assertion_type", "client_assertion"} and proven.headers == ()
    assert proven.form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    token = jwt.decode(proven.form["client_assertion"], key, algorithms=[algorithm])
    other = jwt.decode(again.form["client_assertion"], key, algorithms=[algorithm])
    assert token.header == {"typ": "JWT", "alg": algorithm, "kid": "k1"}
    claims = token.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("cli", "cli", ISSUER)
    assert claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 300
    assert claims["jti"] != other.claims["jti"]


async def test_the_algorithm_is_one_the_server_lists() -> None:
    signer = Signer.from_key(KEYS["RSA"][0].as_pem(private=True))
    for listed, used in ((("ES256", "PS256"), "PS256"), (("ES256",), "RS256"), (None, "RS256")):
        proven = await KeyClient("cli", signer).prove(server(algorithms=listed))
        header = jwt.decode(proven.form["client_assertion"], KEYS["RSA"][0], algorithms=[used]).header
        assert header["alg"] == used


async def test_an_old_server_can_be_given_the_audience_it_insists_on() -> None:
    client = KeyClient("cli", Signer.from_key(KEYS["P-256"][0].as_pem(private=True)), audience="https://id/token")
    proven = await client.prove(server())
    assert jwt.decode(proven.form["client_assertion"], KEYS["P-256"][0]).claims["aud"] == "https://id/token"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "s3cret",
        "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----",
        {"kty": "EC", "crv": "P-256", "d": "s3cret"},
        ECKey.generate_key("P-256").as_pem(private=False),
        ECKey.generate_key("secp256k1").as_pem(private=True),
        OctKey.generate_key(256).as_dict(private=True),
        KEYS["P-256"][0].as_pem(private=True, password="s3cret"),
    ],
)
def test_what_is_no_key_is_told_without_it(bad: str | bytes | dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ConfigError, match="private key") as raised:
            Signer.from_key(bad)
    assert "s3cret" not in repr(raised.value)


def test_an_algorithm_that_does_not_fit_is_told() -> None:
    pem = KEYS["P-256"][0].as_pem(private=True)
    for algorithm in ("RS256", "HS256", "none"):
        with pytest.raises(ConfigError, match="ES256"):
            Signer.from_key(pem, algorithm)


async def test_nothing_secret_is_in_a_repr() -> None:
    pem = KEYS["P-256"][0].as_pem(private=True)
    client = KeyClient("cli", Signer.from_key(pem))
    shown = f"{SecretClient('cli', 's3cret')!r} {client!r} {await SecretClient('cli', 's3cret').prove(server())!r}"
    assert "s3cret" not in shown and "PRIVATE" not in shown and base64.b64encode(b"cli:s3cret").decode() not in shown
