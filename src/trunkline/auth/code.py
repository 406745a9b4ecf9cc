"""The authorization code flow, as a person takes part in it.

What it is for: the address a person is sent to, and what may be made of the address they come back with (OAuth 2.1,
4.1; Authorization Response Validation).
What may live here: pure functions over those two addresses. What may not: browsers, listeners, requests.
"""

import base64
import hashlib
import hmac
import secrets
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from trunkline.auth.addresses import shown
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.tokens import shown as told
from trunkline.errors import SignInError, SignInRefused


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What must be remembered from before a person leaves until they are back; it is for one attempt.

    Parameters:
        issuer: of the validated metadata, to compare `iss` with (RFC 9207, 2.4).
        names_issuer: whether the server said that it always sends `iss`.
        state: ties the answer to this attempt. verifier: ties the code to it (RFC 7636). Both are secret.
    """

    issuer: str
    names_issuer: bool
    client_id: str
    redirect_uri: str
    state: str
    verifier: str

    def __repr__(self) -> str:
        return f"<Attempt to sign in at {self.issuer}>"


def begin(
    metadata: ServerMetadata, client_id: str, redirect_uri: str, resource: str, scopes: frozenset[str]
) -> tuple[Attempt, str]:
    """Start an attempt: what to remember, and the address to open.

    Raises `SignInError` for a server without authorization codes or without PKCE by S256 (Authorization Code
    Protection).
    """
    if metadata.authorization_endpoint is None:
        raise SignInError(f"The authorization server {shown(metadata.issuer)} has no page for people to sign in")
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        raise SignInError(
            f"The authorization server {shown(metadata.issuer)} does not say that it supports PKCE with S256, so "
            "signing in there is not safe: its operator has to add code_challenge_methods_supported to its metadata"
        )
    attempt = Attempt(
        issuer=metadata.issuer,
        names_issuer=metadata.authorization_response_iss_parameter_supported,
        client_id=client_id,
        redirect_uri=redirect_uri,
        state=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
    )
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": attempt.state,
        "code_challenge": challenge(attempt.verifier),
        "code_challenge_method": "S256",
        "resource": resource,
    }
    if scopes:
        query["scope"] = " ".join(sorted(scopes))
    if "offline_access" in scopes:
        # OpenID Connect Core, 11: without consent, a server ignores the wish for a refresh token.
        query["prompt"] = "consent"
    endpoint = metadata.authorization_endpoint
    return attempt, f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def challenge(verifier: str) -> str:
    """The `S256` challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def is_answer(attempt: Attempt, address: str) -> bool:
    """Whether an address a browser was sent to answers this attempt; anybody can make a browser open one (CSRF)."""
    state = _parameters(address).get("state", "")
    return hmac.compare_digest(state.encode(), attempt.state.encode())


def accept(attempt: Attempt, address: str) -> str:
    """The authorization code of the address a person came back with.

    Nothing of it is acted on, and nothing shown, before `state` and `iss` are what they must be (Authorization Response
    Validation).

    Raises `SignInError` for an answer of something else, `SignInRefused` for the server's refusal.
    """
    if not is_answer(attempt, address):
        raise SignInError("The answer does not belong to this attempt to sign in: start again, and use its own page")
    answer = _parameters(address)
    issuer = answer.get("iss")
    if issuer is None and attempt.names_issuer:
        raise SignInError(
            f"The answer does not say that it comes from {shown(attempt.issuer)}, which always says so: it is not used"
        )
    if issuer is not None and issuer != attempt.issuer:
        raise SignInError(
            f"The answer comes from another authorization server than {shown(attempt.issuer)}: it is not used"
        )
    if "error" in answer:
        error, description = told(answer["error"], 60), told(answer.get("error_description", ""))
        said = f": {description}" if description else ""
        raise SignInRefused(f"The authorization server {shown(attempt.issuer)} refused with {error}{said}", error)
    if not answer.get("code"):
        raise SignInError(f"The answer of {shown(attempt.issuer)} has neither a code nor an error")
    return answer["code"]


def _parameters(address: str) -> dict[str, str]:
    """The parameters of an answer; one that stands there twice has no value (OAuth 2.1, 3.1)."""
    pairs = parse_qsl(urlsplit(address.strip()).query, keep_blank_values=True, max_num_fields=50)
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}
