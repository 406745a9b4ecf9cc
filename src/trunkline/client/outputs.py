"""Whether a tool keeps its promise.

What it is for: check structured results against the output schemas of the tools listed so far.
What may live here: the schemas, compiled when first needed. What may not: requests.
"""

import logging

from trunkline.client.results import CallResult, Tool
from trunkline.errors import InvalidAnswer
from trunkline.protocol.schema import Validator, compile_schema, violations

_log = logging.getLogger("trunkline.client")


class Outputs:
    """The tools known of one server."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._validators: dict[str, Validator | None] = {}

    def learn(self, tools: list[Tool]) -> None:
        """Take the tools just listed."""
        self._tools = {tool.name: tool for tool in tools}
        self._validators.clear()

    def repeatable(self, name: str) -> bool:
        """Whether a tool says of itself that running it twice does no harm."""
        tool = self._tools.get(name)
        hints = tool.annotations if tool is not None else None
        return hints is not None and (hints.read_only_hint or hints.idempotent_hint)

    def check(self, name: str, result: CallResult) -> None:
        """Raise `InvalidAnswer` when a structured result is not what the tool's schema promises."""
        if result.is_error or result.structured is None:
            return
        validator = self._validator(name)
        if validator is None:
            return
        if not validator.is_valid(result.structured):
            reasons = "; ".join(violations(validator, result.structured))
            raise InvalidAnswer(f"The tool {name} broke its output schema: {reasons}")

    def _validator(self, name: str) -> Validator | None:
        if name not in self._validators:
            tool = self._tools.get(name)
            self._validators[name] = None if tool is None else _compiled(tool)
        return self._validators[name]


def _compiled(tool: Tool) -> Validator | None:
    if tool.output_schema is None:
        return None
    try:
        return compile_schema(tool.output_schema)
    except ValueError as error:
        _log.warning("The output schema of %s is not used: %s", tool.name, error)
        return None
