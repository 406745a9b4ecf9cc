"""What a server offers and answers, as objects.

What it is for: results as the user of `Client` meets them: typed, with Python names, the wire form under `raw`.
What may live here: these objects and how they are made. What may not: requests, connections.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from trunkline.errors import InvalidAnswer
from trunkline.protocol import json

JsonObject = dict[str, object]
T = TypeVar("T")
_RAW = "dev.trunkline/raw"


class ServerInfo(Struct, frozen=True):
    """A server's own account of itself; shown to people, never trusted."""

    name: str
    version: str
    era: str
    revision: str
    capabilities: JsonObject
    instructions: str | None
    raw: JsonObject


class ToolAnnotations(Struct, rename="camel"):
    """Hints about a tool; the server's claims."""

    title: str | None = None
    read_only_hint: bool = False
    destructive_hint: bool = True
    idempotent_hint: bool = False
    open_world_hint: bool = True


class Tool(Struct, rename="camel"):
    """A tool: what `call` takes."""

    name: str
    input_schema: JsonObject
    title: str | None = None
    description: str | None = None
    output_schema: JsonObject | None = None
    annotations: ToolAnnotations | None = None
    raw: JsonObject = msgspec.field(default_factory=dict, name=_RAW)


class Resource(Struct, rename="camel"):
    """A resource: what `read` takes."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    raw: JsonObject = msgspec.field(default_factory=dict, name=_RAW)


class Template(Struct, rename="camel"):
    """A family of resources, by URI template (RFC 6570)."""

    uri_template: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    raw: JsonObject = msgspec.field(default_factory=dict, name=_RAW)


class PromptArgument(Struct):
    """One argument of a prompt."""

    name: str
    title: str | None = None
    description: str | None = None
    required: bool = False


class Prompt(Struct):
    """A prompt: what `prompt` takes."""

    name: str
    title: str | None = None
    description: str | None = None
    arguments: list[PromptArgument] = []
    raw: JsonObject = msgspec.field(default_factory=dict, name=_RAW)


class Contents(Struct, rename="camel"):
    """One content of a resource: `text`, or `blob` (the decoded bytes)."""

    uri: str
    mime_type: str | None = None
    text: str | None = None
    blob: bytes | None = None


class Content(Struct, rename="camel"):
    """One block of a result. `type` says which of the others are set; a block of an unknown type is in `raw` only.

    `text`: text. `image`, `audio`: data, mime_type. `resource_link`: uri, name. `resource`: resource.
    """

    type: str
    text: str | None = None
    data: bytes | None = None
    mime_type: str | None = None
    uri: str | None = None
    name: str | None = None
    resource: Contents | None = None
    raw: JsonObject = msgspec.field(default_factory=dict, name=_RAW)


class CallResult(Struct, frozen=True):
    """What a tool returned.

    result = await client.call("add", a=1, b=2)
    print(result.data)
    """

    content: list[Content]
    structured: object
    is_error: bool
    raw: JsonObject

    @property
    def text(self) -> str:
        """All text blocks, one below the other."""
        return "\n".join(block.text for block in self.content if block.text is not None)

    @property
    def data(self) -> object:
        """The value: the structured result (its `result` where that is all there is), or else the text."""
        if self.structured is None:
            return self.text
        if isinstance(self.structured, dict) and set(self.structured) == {"result"}:
            return self.structured["result"]
        return self.structured


class ReadResult(Struct, frozen=True):
    """What a resource holds."""

    contents: list[Contents]
    raw: JsonObject

    @property
    def text(self) -> str:
        """All texts, one below the other."""
        return "\n".join(item.text for item in self.contents if item.text is not None)

    @property
    def blob(self) -> bytes | None:
        """The first binary content."""
        return next((item.blob for item in self.contents if item.blob is not None), None)


class PromptMessage(Struct, frozen=True):
    """One message of a prompt."""

    role: str
    content: Content


class PromptResult(Struct, frozen=True):
    """A prompt, filled in."""

    messages: list[PromptMessage]
    description: str | None
    raw: JsonObject


class Completion(Struct, rename="camel"):
    """Suggestions for an argument."""

    values: list[str]
    total: int | None = None
    has_more: bool = False


def item(kind: type[T], value: object, what: str) -> T:
    """One listed thing as an object, with its wire form. Raises `InvalidAnswer` that names what is wrong."""
    made = convert(value, kind, what)
    if hasattr(made, "raw"):
        made.raw = value
    return made


def call_result(result: JsonObject, what: str) -> CallResult:
    """A `CallToolResult` as an object."""
    blocks = result.get("content", [])
    if not isinstance(blocks, list):
        raise InvalidAnswer(f"{what} answered with content that is not a list")
    error = result.get("isError", False)
    if not isinstance(error, bool):
        raise InvalidAnswer(f"{what} answered with isError that is not true or false")
    return CallResult([content(block, what) for block in blocks], result.get("structuredContent"), error, result)


def read_result(result: JsonObject, what: str) -> ReadResult:
    """A `ReadResourceResult` as an object."""
    return ReadResult(convert(result.get("contents"), list[Contents], what), result)


def prompt_result(result: JsonObject, what: str) -> PromptResult:
    """A `GetPromptResult` as an object."""
    described = result.get("description")
    messages = convert(result.get("messages"), list[JsonObject], what)
    return PromptResult(
        [PromptMessage(str(message.get("role")), content(message.get("content"), what)) for message in messages],
        described if isinstance(described, str) else None,
        result,
    )


def content(block: object, what: str) -> Content:
    """A content block as an object; an unknown type is kept as it is."""
    if isinstance(block, dict) and block.get("type") in ("text", "image", "audio", "resource_link", "resource"):
        return item(Content, block, what)
    if isinstance(block, dict) and isinstance(block.get("type"), str):
        return Content(str(block["type"]), raw=block)
    raise InvalidAnswer(f"{what} answered with a content block that has no type")


def convert(value: object, kind: type[T], what: str) -> T:
    """A JSON value as a type. Raises `InvalidAnswer` that names what is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"{what} answered with something else than the protocol says: {error}") from None


def plain(value: object) -> object:
    """A parsed value with ordinary numbers: what was kept digit by digit for forwarding becomes a float."""
    if isinstance(value, msgspec.Raw):
        return json.number(value)
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [plain(child) for child in value]
    return value
