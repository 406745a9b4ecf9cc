"""Questions of a server, asked on the terminal.

What it is for: elicitation, sampling and roots while `trunkline call` runs; inputs of a configuration.
What may live here: prompts and reading answers. What may not: how they travel.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.prompt import Confirm, Prompt

from trunkline.client.inputs import ElicitAnswer, ElicitRequest, SampleRequest
from trunkline.client.results import plain
from trunkline.errors import ConfigError
from trunkline.portable.model import Input

JSONObject = dict[str, object]
T = TypeVar("T")


class Terminal:
    """Asks the person at the terminal; questions go to stderr so that the result on stdout stays clean.

    `console` may be one that shows progress: `pause` and `resume` are called around every question.
    """

    def __init__(self, console: Console, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.console = console
        self._pause = pause
        self._resume = resume

    async def elicit(self, request: ElicitRequest) -> ElicitAnswer:
        """Answer a form, field by field."""
        return await self._ask(lambda: self._form(request))

    async def open_url(self, request: ElicitRequest) -> ElicitAnswer:
        """Show the address a server wants visited; it is never opened by itself (client/elicitation, URL mode)."""
        return await self._ask(lambda: self._visit(request))

    async def sample(self, request: SampleRequest) -> str:
        """Let the person answer in the model's place."""
        return await self._ask(lambda: self._answer(request))

    async def roots(self) -> list[Path]:
        """The current directory is what the server may work on."""
        return [Path.cwd()]

    async def _ask(self, question: Callable[[], T]) -> T:
        if not sys.stdin.isatty():
            raise ConfigError("The server asks a question and there is no terminal to answer it on")
        self._pause()
        try:
            return await asyncio.to_thread(question)
        finally:
            self._resume()

    def _form(self, request: ElicitRequest) -> ElicitAnswer:
        self.console.print(f"\n[bold]The server asks:[/bold] {escape(request.message)}")
        properties, required = request.schema.get("properties"), request.schema.get("required")
        content: JSONObject = {}
        for name, field in properties.items() if isinstance(properties, dict) else ():
            needed = isinstance(required, list) and name in required
            answer = self._field(name, field if isinstance(field, dict) else {}, needed)
            if answer is not None:
                content[name] = answer
        if not Confirm.ask("Send this?", default=True, console=self.console):
            return ElicitAnswer("decline")
        return ElicitAnswer("accept", content)

    def _visit(self, request: ElicitRequest) -> ElicitAnswer:
        self.console.print(f"\n[bold]The server asks:[/bold] {escape(request.message)}")
        self.console.print(f"It wants you to visit: {escape(request.url or '')}")
        return ElicitAnswer("accept" if Confirm.ask("Have you done that?", console=self.console) else "decline")

    def _answer(self, request: SampleRequest) -> str:
        self.console.print("\n[bold]The server asks your model:[/bold]")
        self.console.print_json(data=plain(request.messages))
        return Prompt.ask("Answer in its place", console=self.console)

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
    if kind not in ("integer", "number"):
        return text
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a {'whole ' if kind == 'integer' else ''}number") from None


def _text(default: object) -> str:
    return ", ".join(str(part) for part in default) if isinstance(default, list) else str(default)


def ask_input(wanted: Input, console: Console) -> str:
    """Ask for one `${input:…}` of the configuration."""
    if not sys.stdin.isatty():
        raise ConfigError(
            f"The configuration asks for {wanted.id!r} ({wanted.description or 'no description'}) and there is no "
            f"terminal to ask on; give it a default, or use ${{env:NAME}} instead"
        )
    choices = list(wanted.options) or None
    answer = Prompt.ask(
        wanted.description or wanted.id,
        console=console,
        password=wanted.password,
        choices=choices,
        default=wanted.default,
        show_default=not wanted.password,
    )
    return answer or ""
