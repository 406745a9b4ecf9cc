"""`trunkline auth list`: where this machine's user is signed in.

What it is for: sign-ins as people see them.
What may live here: showing them, without their secrets. What may not: requests; nothing that makes any is imported.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from trunkline.assembly import logs
from trunkline.auth.keeping import system_store
from trunkline.auth.tokens import Kept
from trunkline.cli.plain import plain
from trunkline.errors import ConfigError


def run(arguments: argparse.Namespace) -> int:
    """List them, as text or as JSON."""
    logs.set_up("warning")
    return asyncio.run(_list(arguments))


async def _list(arguments: argparse.Namespace) -> int:
    store = system_store()
    rows: list[dict[str, object]] = []
    for name in await store.list():
        row: dict[str, object] = {"resource": name.resource, "issuer": name.issuer}
        try:
            kept = await store.load(name.issuer, name.resource)
            row |= {"problem": "it cannot be opened; sign in again"} if kept is None else _facts(kept)
        except ConfigError as error:
            row["problem"] = error.message
        rows.append(row)
    if arguments.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        print(plain(str(row["resource"])))
        print(f"  {'issuer':8} {plain(str(row['issuer']))}")
        for member, value in _told(row).items():
            print(f"  {member:8} {value}")
    if not rows:
        print("Nobody is signed in anywhere; sign in with: trunkline login URL", file=sys.stderr)
    return 0


def described(kept: Kept) -> dict[str, str]:
    """A sign-in for people, without its secrets."""
    return _told(_facts(kept))


def _facts(kept: Kept) -> dict[str, object]:
    """A sign-in without its secrets."""
    tokens = kept.tokens
    if tokens is None:
        return {"problem": "its token does not hold any more; sign in again"}
    ends = None if tokens.expires_at is None else datetime.fromtimestamp(tokens.expires_at, UTC)
    return {
        "scopes": sorted(tokens.scopes),
        "bound": tokens.token_type.lower() == "dpop",
        "expires": None if ends is None else ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expired": not tokens.fresh(early=0),
        "refreshes": tokens.refresh_token is not None,
    }


def _told(facts: Mapping[str, object]) -> dict[str, str]:
    if "problem" in facts:
        return {"problem": plain(str(facts["problem"]))}
    scopes = facts["scopes"]
    kind = "bound to a key of this machine (DPoP)" if facts["bound"] else "bearer"
    ends = f"until {facts['expires']}" if facts["expires"] else "with no known end"
    after = ", renewed by itself" if facts["refreshes"] else ", over: sign in again" if facts["expired"] else ""
    return {
        "scopes": plain(" ".join(scopes)) if isinstance(scopes, list) and scopes else "none were named",
        "token": f"{kind}, {ends}{after}",
    }
