"""The token file: who may call, with which tools.

What it is for: `--tokens FILE` becomes the static-token authenticator.
What may live here: reading that file. What may not: comparing tokens.

    {"tokens": [{"name": "ci", "token": "${env:CI_TOKEN}", "tools": ["time__*"]}]}
"""

import os
import re
from pathlib import Path

import msgspec

from trunkline.auth.static import StaticTokens
from trunkline.engine.principal import Principal
from trunkline.errors import ConfigError

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_SHORTEST = 16


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    token: str
    tools: tuple[str, ...] | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: tuple[_Record, ...]


def read_tokens(path: str) -> StaticTokens:
    """Read the file. Raises `ConfigError`; no text of it is ever shown."""
    try:
        file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"The token file {path} cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"The token file {path} is not right: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"The token file {path} is not JSON") from None
    return StaticTokens({_secret(record, path): _principal(record) for record in file.tokens})


def _principal(record: _Record) -> Principal:
    return Principal(issuer="trunkline:tokens", subject=record.name, tools=record.tools)


def _secret(record: _Record, path: str) -> str:
    reference = _REFERENCE.fullmatch(record.token)
    secret = os.environ.get(reference[1], "") if reference else record.token
    if len(secret) < _SHORTEST:
        what = f"the environment variable {reference[1]}" if reference else "its token"
        raise ConfigError(
            f"The token {record.name!r} in {path}: {what} needs at least {_SHORTEST} characters; "
            "make one with: openssl rand -base64 32"
        )
    return secret
