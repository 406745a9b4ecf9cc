"""Questions of a server, asked on the terminal.

What it is for: elicitation, sampling and roots while `trunkline call` runs.
What may live here: prompts and reading answers. What may not: how they travel.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm, Prompt

from trunkline.errors import ConfigError

JSONObject = dict[str, object]


class Terminal:
    """Asks the person at the terminal; questions go to stderr so that the result on stdout stays clean."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    async def elicit(self, params: Mapping[str, object]) -> JSONObject:
        """Answer `elicitation/create`: a form field by field, or a URL to visit."""
        return await asyncio.to_thread(self._elicit, params)

    async def sample(self, params: Mapping[str, object]) -> JSONObject:
        """Answer `sampling/createMessage` with what the person types in the model's place."""
        return await asyncio.to_thread(self._sample, params)

    async def roots(self) -> list[JSONObject]:
        """Answer `roots/list` with the current directory."""
        here = Path.cwd()
        return [{"uri": here.as_uri(), "name": here.name}]

    def _elicit(self, params: Mapping[str, object]) -> JSONObject:
        self.console.print(f"\n[bold]The server asks:[/bold] {escape(str(params.get('message', '')))}")
        if params.get("mode") == "url":
            # A URL from another party is shown, never opened (client/elicitation, URL mode: Safe URL Handling).
            self.console.print(f"It wants you to visit: {escape(str(params.get('url', '')))}")
            return {"action": "accept" if Confirm.ask("Have you done that?", console=self.console) else "decline"}
        schema = params.get("requestedSchema")
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        required = schema.get("required", []) if isinstance(schema, Mapping) else []
        content: JSONObject = {}
        for name, field in properties.items() if isinstance(properties, Mapping) else ():
            answer = self._field(str(name), field if isinstance(field, Mapping) else {}, name in required)
            if answer is not None:
                content[str(name)] = answer
        if not Confirm.ask("Send this?", default=True, console=self.console):
            return {"action": "decline"}
        return {"action": "accept", "content": content}

    def _field(self, name: str, schema: Mapping[str, object], required: bool) -> object:
        label = escape(str(schema.get("title") or name))
        if schema.get("description"):
            self.console.print(f"[dim]{escape(str(schema['description']))}[/dim]")
        default = schema.get("default")
        if schema.get("type") == "boolean":
            return Confirm.ask(label, default=default is True, console=self.console)
        choices = _choices(schema)
        while True:
            shown = f"{label} [dim]({escape(', '.join(choices))})[/dim]" if choices else label
            text = Prompt.ask(shown, default=None if default is None else _text(default), console=self.console)
            if not text and not required:
                return None
            try:
                return _typed(text or "", schema, choices)
            except ValueError as error:
                self.console.print(f"[red]{escape(str(error))}[/red]")

    def _sample(self, params: Mapping[str, object]) -> JSONObject:
        self.console.print("\n[bold]The server asks your model:[/bold]")
        self.console.print_json(json.dumps(params.get("messages", [])))
        text = Prompt.ask("Answer in its place", console=self.console)
        return {
            "role": "assistant",
            "content": {"type": "text", "text": text},
            "model": "human",
            "stopReason": "endTurn",
        }


def check_terminal() -> None:
    """Questions need someone to answer them. Raises `ConfigError` when stdin is not a terminal."""
    if not sys.stdin.isatty():
        raise ConfigError("The server asks a question and there is no terminal to answer it on")


def _choices(schema: Mapping[str, object]) -> list[str]:
    """The values a field may have: `enum`, or `const`s of titled options, for single and multiple choice."""
    source = schema.get("items") if schema.get("type") == "array" else schema
    if not isinstance(source, Mapping):
        return []
    values = source.get("enum")
    if isinstance(values, list):
        return [str(value) for value in values]
    options = source.get("oneOf") or source.get("anyOf")
    if not isinstance(options, list):
        return []
    return [str(option["const"]) for option in options if isinstance(option, Mapping) and "const" in option]


def _typed(text: str, schema: Mapping[str, object], choices: list[str]) -> object:
    kind = schema.get("type")
    if kind == "array":
        picked = [part.strip() for part in text.split(",") if part.strip()]
        wrong = [part for part in picked if choices and part not in choices]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: choose among {', '.join(choices)}, separated by commas")
        return picked
    if choices and text not in choices:
        raise ValueError(f"Choose one of {', '.join(choices)}")
    if kind == "integer":
        return int(text)
    return float(text) if kind == "number" else text


def _text(default: object) -> str:
    return ", ".join(str(part) for part in default) if isinstance(default, list) else str(default)
