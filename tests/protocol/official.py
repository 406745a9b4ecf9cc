"""The official schemas for tests: validators, and values made from a definition."""

import json
import random
import string
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

import jsonschema_rs

ROOT = Path(__file__).parents[2]
REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
WRONG = (None, True, 3, 2.5, "wrong", [], {}, [7], {"other": 1})


@cache
def schema(revision: str) -> dict:
    return json.loads((ROOT / f"schemas/schema-{revision}.json").read_text(encoding="utf-8"))


def key(revision: str) -> str:
    return "$defs" if "$defs" in schema(revision) else "definitions"


def definitions(revision: str) -> dict:
    return schema(revision)[key(revision)]


def rooted(revision: str, name: str, whole: Mapping | None = None) -> dict:
    """The schema of one definition."""
    return {**(whole or schema(revision)), "$ref": f"#/{key(revision)}/{name}"}


@cache
def amended(revision: str) -> dict:
    """The schema with the nulls and fractions its conversion from TypeScript lost (see tools/generate_wire.py)."""

    def widen(node: object) -> object:
        if isinstance(node, list):
            return [widen(one) for one in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("type")
        if isinstance(kind, list) and {"boolean", "integer"} <= set(kind):
            return {**node, "type": [*kind, "number"]}
        return {name: widen(body) for name, body in node.items()}

    whole = deepcopy(schema(revision))
    if "JSONValue" in whole[key(revision)]:
        whole[key(revision)]["JSONValue"] = {}
    return widen(whole)


@cache
def validator(revision: str, name: str, *, amend: bool = False) -> jsonschema_rs.Validator:
    draft = jsonschema_rs.Draft202012Validator if key(revision) == "$defs" else jsonschema_rs.Draft7Validator
    return draft(rooted(revision, name, amended(revision) if amend else None), validate_formats=False)


class Maker:
    """Makes instances of a revision's definitions; the same seed makes the same values."""

    def __init__(self, revision: str, choose: random.Random, share: float = 0.5) -> None:
        self.defs = definitions(revision)
        self.choose = choose
        self.share = share
        """How many of the optional members are there: 0 none, 1 all."""

    def make(self, name: str) -> object:
        return self.value({"$ref": f"#/x/{name}"}, 0)

    def value(self, body: dict, depth: int) -> object:
        if "$ref" in body:
            return self.value(self.defs[body["$ref"].rpartition("/")[2]], depth + 1)
        if "const" in body:
            return body["const"]
        if "enum" in body:
            return self.choose.choice(body["enum"])
        if "allOf" in body:
            return self.all_of(body, depth)
        if "anyOf" in body:
            return self.value(self.choose.choice(body["anyOf"]), depth + 1)
        kind = body.get("type", "any")
        kind = self.choose.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, f"any_{kind}")(body, depth)

    def all_of(self, body: dict, depth: int) -> object:
        whole: dict = {}
        for part in body["allOf"]:
            part = self.defs[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            whole = {
                "type": "object",
                "properties": {**whole.get("properties", {}), **part["properties"]},
                "required": [*whole.get("required", []), *part.get("required", [])],
            }
        return self.value(whole, depth)

    def any_any(self, body: dict, depth: int) -> object:
        return self.choose.choice([None, True, 12, 2.5, "text", ["a", 1], {"a": {"b": None}}])

    def any_string(self, body: dict, depth: int) -> str:
        if body.get("format") == "uri":
            return "file:///" + self.letters()
        return self.choose.choice(["", "\u00e9\u4e16\U0001f600", 'a "quoted"\n', self.letters()])

    def letters(self) -> str:
        return "".join(self.choose.choices(string.ascii_lowercase, k=6))

    def any_integer(self, body: dict, depth: int) -> int:
        return self.choose.randint(body.get("minimum", -(2**53)), body.get("maximum", 2**63))

    def any_number(self, body: dict, depth: int) -> float:
        low, high = body.get("minimum", -1000), body.get("maximum", 1000)
        return self.choose.choice([self.choose.uniform(low, high), self.choose.randint(low, high)])

    def any_boolean(self, body: dict, depth: int) -> bool:
        return self.choose.random() < 0.5

    def any_null(self, body: dict, depth: int) -> None:
        return None

    def any_array(self, body: dict, depth: int) -> list:
        count = self.choose.randint(0, 2) if depth < 10 else 0
        return [self.value(body.get("items", {}), depth + 1) for _ in range(count)]

    def any_object(self, body: dict, depth: int) -> dict:
        required = body.get("required", ())
        share = self.share if depth < 10 else 0
        made = {
            name: self.value(part, depth + 1)
            for name, part in body.get("properties", {}).items()
            if name in required or self.choose.random() < share
        }
        rest = body.get("additionalProperties")
        if rest is not None and depth < 10 and self.choose.random() < share:
            made[f"x-{self.letters()}"] = self.value(rest if isinstance(rest, dict) else {}, depth + 1)
        return made


def nodes(value: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every place in a value: its container and the key or index there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in list(pairs):
        yield value, place
        yield from nodes(inner)


def broken(value: object, choose: random.Random) -> object:
    """A copy with one member dropped or replaced; it may still be valid."""
    copy = deepcopy(value)
    places = list(nodes(copy))
    if not places or choose.random() < 0.1:
        return choose.choice(WRONG)
    container, place = choose.choice(places)
    if isinstance(container, dict) and choose.random() < 0.4:
        del container[place]
    else:
        container[place] = choose.choice(WRONG)
    return copy
