"""The token file: who may call, with which tools.

What it is for: `--tokens FILE` becomes the static-token authenticator.
What may live here: reading that file. What may not: comparing tokens.

    {"tokens": [{"name": "ci", "secret": "env:CI_TOKEN", "tools": ["time__*"]}]}
"""

from pathlib import Path

import msgspec

from trunkline.auth.static import StaticTokens, TokenRecord
from trunkline.errors import ConfigError


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: tuple[TokenRecord, ...]


def read_tokens(path: str) -> StaticTokens:
    """Read the file. Raises `ConfigError` that says what is wrong and never quotes a value."""
    try:
        file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"The token file {path} cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"The token file {path} is not right: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"The token file {path} is not JSON") from None
    return StaticTokens.from_records(file.tokens, Path(path).resolve().parent)
