"""`trunkline whoami`: what a token is worth at a server.

What it is for: whose tokens a server takes, what yours says, and whether it is let in.
What may live here: finding that out and showing it. What may not: signing in; a token on the screen.
"""

import argparse
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from trunkline.assembly import logs
from trunkline.assembly.serving import run as run_loop
from trunkline.auth.addresses import AddressRules
from trunkline.auth.challenges import challenges, find
from trunkline.auth.doors import Credentials
from trunkline.auth.fetching import Fetcher
from trunkline.auth.given import StaticToken
from trunkline.auth.keeping import system_store
from trunkline.auth.metadata import covers, find_resource
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.auth.tokens import Kept
from trunkline.cli.plain import plain
from trunkline.cli.sign_ins import described
from trunkline.client.client import Client
from trunkline.errors import ConfigError, HttpFailure, RemoteError, SignInError, TransportError

Facts = dict[str, object]

_CLAIMS = ("sub", "client_id", "azp", "aud", "scope", "scp", "iss", "exp")
"""Of a token that can be read, what is shown of it."""


def run(arguments: argparse.Namespace) -> int:
    """Find out, and show; 0 when the server lets the token in, else 1."""
    logs.set_up("error")
    return run_loop(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    facts: Facts = {"server": arguments.url, **await _server(arguments)}
    if arguments.token_env:
        token = os.environ.get(arguments.token_env)
        if not token:
            raise ConfigError(f"The environment variable {arguments.token_env} of --token-env is not set")
        facts |= {"claims": _claims(token), **await _tried(arguments.url, StaticToken(token))}
    else:
        auth = OAuth(SignIn(), store=system_store(), interactive=False, allow=arguments.allow)
        tried = await _tried(arguments.url, auth)
        # After it was tried, since it may have been renewed for that.
        facts |= {**await _kept(arguments.url), **tried}
    if arguments.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for name, value in facts.items():
            print("\n".join(f"{name:10} {line}" for line in _lines(value)))
    return 0 if facts["accepted"] else 1


async def _server(arguments: argparse.Namespace) -> Facts:
    """What the server says of its tokens, to anyone."""
    fetcher = Fetcher(AddressRules.around(arguments.url, arguments.allow))
    try:
        metadata = await find_resource(fetcher, arguments.url, None)
    except TransportError as error:
        return {"metadata": error.message}
    if metadata is None:
        return {"metadata": "it does not say whose tokens it takes"}
    return {
        "takes": f"tokens for {metadata.resource}",
        "issuers": list(metadata.authorization_servers),
        **({"knows": list(metadata.scopes_supported)} if metadata.scopes_supported else {}),
    }


async def _kept(url: str) -> Facts:
    store = system_store()
    names = [name for name in await store.list() if covers(name.resource, url)]
    for name in sorted(names, key=lambda name: len(name.resource), reverse=True):
        kept: Kept | None = await store.load(name.issuer, name.resource)
        if kept is not None and kept.tokens is not None:
            return {"issuer": kept.issuer, **described(kept), "claims": _claims(kept.tokens.access_token)}
    return {"token": f"you are not signed in; sign in with: trunkline login {url}"}


async def _tried(url: str, auth: Credentials) -> Facts:
    """Whether the server lets it in; what it says where not."""
    try:
        async with Client(url, auth=auth) as client:
            server = await client.server()
            try:
                tools: int | None = len(await client.tools())
            except RemoteError:
                tools = None
    except HttpFailure as failure:
        return {"accepted": False, "reason": _reason(failure)}
    except SignInError as error:
        return {"accepted": False, "reason": error.message}
    return {"accepted": True, "name": server.name, **({} if tools is None else {"tools": tools})}


def _reason(failure: HttpFailure) -> str:
    said = challenges(failure.headers)
    parts = [find(said, "error"), find(said, "error_description")]
    scope = find(said, "scope")
    told = ": ".join(part for part in parts if part) or "it does not say why"
    return f"{failure.status}, {told}{f'; it wants the scopes {scope}' if scope else ''}"


def _claims(token: str) -> Facts | None:
    """What a token says of itself, unchecked; None for one that only its issuer can read."""
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        said = msgspec.json.decode(jws.extract_compact(token.encode()).payload)
    except (JoseError, msgspec.MsgspecError, ValueError, TypeError):
        return None
    if not isinstance(said, Mapping):
        return None
    shown = {name: said[name] for name in _CLAIMS if name in said}
    if isinstance(said.get("exp"), int | float):
        shown["exp"] = datetime.fromtimestamp(said["exp"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return shown


def _lines(value: object) -> list[str]:
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if value is None:
        return ["only its issuer can read it"]
    if isinstance(value, dict):
        return [f"{name} {plain(_text(one))}" for name, one in value.items()] or ["none"]
    return [plain(_text(value))]


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
