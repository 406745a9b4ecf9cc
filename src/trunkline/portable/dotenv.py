"""Environment files: `NAME=value` lines, as `envFile` names them.

What it is for: parsing one such file.
What may live here: its quoting and comment rules.
What may not: values in messages; expanding references, which these files do not have.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from trunkline.errors import ConfigError

_GAP = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_QUOTED = re.compile(r"'([^']*)'" r'|"((?:[^"\\]|\\.)*)"' r"|`([^`]*)`", re.DOTALL)
_COMMENT = re.compile(r"(?<=[ \t])#")
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPES: Mapping[str, str] = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def read_env_file(path: Path) -> dict[str, str]:
    """Read an environment file. Raises `ConfigError` naming the file and line.

    read_env_file(Path(".env"))  # {"TOKEN": "..."}
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return parse_env(text, str(path))


def parse_env(text: str, source: str) -> dict[str, str]:
    r"""Parse `NAME=value` lines; a later line wins.

    Lines may start with `export`. An unquoted value ends before ` #`; 'single quotes' and `backticks` keep everything,
    "double quotes" know \n \r \t \" \\ \$; quoted values may run over lines. Raises `ConfigError` with the line.

        parse_env("export A='1' # one", ".env")  # {"A": "1"}
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    values: dict[str, str] = {}
    position = _after(_GAP, text, 0)
    while position < len(text):
        name = _NAME.match(text, position)
        if name is None:
            raise _fault(text, position, source, "is not NAME=value")
        position = name.end()
        values[name.group(1)], end = _value(text, position, source)
        rest = _REST.match(text, end)
        if rest is None:
            raise _fault(text, end, source, "has text after the closing quote")
        position = _after(_GAP, text, rest.end())
    return values


def _value(text: str, position: int, source: str) -> tuple[str, int]:
    """A value and where it ends."""
    if text[position : position + 1] not in ("'", '"', "`"):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        comment = _COMMENT.search(text, position, end)
        return text[position : comment.start() if comment else end].rstrip(" \t"), end
    quoted = _QUOTED.match(text, position)
    if quoted is None:
        raise _fault(text, position, source, "opens a quote that is never closed")
    single, double, back = quoted.groups()
    if double is not None:
        return re.sub(r"\\(.)", _unescape, double, flags=re.DOTALL), quoted.end()
    return single if single is not None else back, quoted.end()


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match.group(1), match.group())


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _fault(text: str, position: int, source: str, what: str) -> ConfigError:
    line = text.count("\n", 0, position) + 1
    return ConfigError(f"{source}:{line}: this line {what}")
