"""OpenAPI schemas as JSON Schema.

What it is for: one schema object of a document becomes one that stands for itself, what it refers to in `$defs`.
What may live here: the differences between OpenAPI's dialects and JSON Schema 2020-12. What may not: operations.
"""

import re
from collections.abc import Mapping

from trunkline.gateway.openapi.document import Document

Schema = dict[str, object]

NODES = 8_000
"""Subschemas one tool may have."""

TOTAL = 1_000_000
"""Subschemas all tools of a document may have together."""

_DEPTH = 60
_PLAIN = frozenset(
    [
        "type",
        "enum",
        "const",
        "default",
        "format",
        "pattern",
        "title",
        "description",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
        "required",
        "deprecated",
        "readOnly",
        "writeOnly",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "examples",
        "contentEncoding",
        "contentMediaType",
        "dependentRequired",
    ]
)
_ONE = frozenset(
    [
        "items",
        "additionalProperties",
        "not",
        "if",
        "then",
        "else",
        "contains",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_LIST = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_MAP = frozenset(("properties", "patternProperties", "dependentSchemas"))
_COMPONENT = "#/components/schemas/"


class Budget:
    """What all schemas of a document may still cost."""

    def __init__(self, left: int = TOTAL) -> None:
        self.left = left


class Converter:
    """Converts the schemas of one tool; `definitions` fills with what they refer to.

    Parameters:
        document: where references lead.
        budget: shared by all tools of the document.
    """

    def __init__(self, document: Document, budget: Budget) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[str, str] = {}
        self._document = document
        self._budget = budget
        self._count = 0

    def convert(self, node: object, depth: int = 0) -> Schema | bool:
        """A schema in JSON Schema 2020-12. Raises `ValueError` for one that is too large, or refers to nothing."""
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise ValueError("a schema is no object")
        self._count += 1
        self._budget.left -= 1
        if depth > _DEPTH or self._count > NODES or self._budget.left < 0:
            raise ValueError("its schemas are too large or too deep")
        reference = node.get("$ref")
        if isinstance(reference, str):
            made: Schema = {"$ref": f"#/$defs/{self._define(reference)}"}
            return made if self._document.old else {**self._members(node, depth), **made}
        return self._dialect(node, self._members(node, depth))

    def _members(self, node: Mapping[str, object], depth: int) -> Schema:
        made: Schema = {}
        for key, value in node.items():
            if key in _PLAIN:
                made[key] = value
            elif key in _ONE:
                made[key] = self.convert(value, depth + 1)
            elif key in _LIST and isinstance(value, list):
                made[key] = [self.convert(item, depth + 1) for item in value]
            elif key in _MAP and isinstance(value, Mapping):
                made[key] = {str(name): self.convert(item, depth + 1) for name, item in value.items()}
        return made

    def _dialect(self, node: Mapping[str, object], made: Schema) -> Schema:
        """What OpenAPI 3.0 writes otherwise."""
        if not self._document.old:
            return made
        if "example" in node and "examples" not in made:
            made["examples"] = [node["example"]]
        for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and limit in made:
                made[exclusive] = made.pop(limit)
        if made.get("required") in (True, False):
            del made["required"]
        if node.get("nullable") is True and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
            if isinstance(enum := made.get("enum"), list) and None not in enum:
                made["enum"] = [*enum, None]
        return made

    def _define(self, reference: str) -> str:
        if reference in self._names:
            return self._names[reference]
        known = reference.removeprefix(_COMPONENT) if reference.startswith(_COMPONENT) else reference
        name = base = re.sub(r"[^A-Za-z0-9_.-]+", "_", known).strip("_")[:80] or "schema"
        number = 2
        while name in self.definitions:
            name, number = f"{base}_{number}", number + 1
        self._names[reference] = name
        self.definitions[name] = {}
        made = self.convert(self._document.look(reference))
        self.definitions[name] = made if isinstance(made, dict) else ({} if made else {"not": {}})
        return name
