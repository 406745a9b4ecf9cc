"""Where in a configuration a mistake stands.

What it is for: every message about a file names file, line, server and field the same way.
What may live here: the place and the wording around a complaint.
What may not: values from the file; they may be secrets.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from trunkline.errors import ConfigError
from trunkline.portable.jsonc import Trail


@dataclass(frozen=True, slots=True)
class Place:
    """A value in a file: the file's name, the lines of its values, the trail to this one, and what it belongs to."""

    source: str
    lines: Mapping[Trail, int]
    trail: Trail = ()
    owner: str = ""
    field: str = ""

    def own(self, owner: str, *steps: str | int) -> "Place":
        """The place further in of something with a name of its own, such as a server."""
        return replace(self, trail=(*self.trail, *steps), owner=owner, field="")

    def at(self, step: str | int) -> "Place":
        """The place of a member."""
        part = f"[{step}]" if isinstance(step, int) else f".{step}" if self.field else step
        return replace(self, trail=(*self.trail, step), field=self.field + part)

    def fault(self, what: str) -> ConfigError:
        """The error that says what is wrong here."""
        trail = self.trail
        while trail and trail not in self.lines:
            trail = trail[:-1]
        line = f":{self.lines[trail]}" if trail in self.lines else ""
        return ConfigError(": ".join(part for part in (f"{self.source}{line}", self.owner, self.field, what) if part))


def server(name: str) -> str:
    """A server's name as messages show it: quoted, without characters a terminal would obey."""
    return f"server {json.dumps(name[:80])}"


def kind(value: object) -> str:
    """What a JSON value is, without saying its content."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "a number"
