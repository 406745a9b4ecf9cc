"""What a function gives back, when it is more than plain data.

What it is for: text, images, audio, links and embedded resources as content blocks; results and prompt messages.
What may live here: records the author makes, and their wire form.
What may not: deciding what a plain return value becomes (that is `results`).
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from trunkline.errors import ConfigError

Block = dict[str, object]
"""A `ContentBlock` of the schema."""

Role = Literal["user", "assistant"]


class Annotations(msgspec.Struct, frozen=True, kw_only=True):
    """Hints for the client (server/resources, Annotations).

    Parameters:
        audience: whom the content is for.
        priority: 0 (optional) to 1 (required).
        last_modified: ISO 8601 time of the last change.
    """

    audience: Sequence[Role] | None = None
    priority: float | None = None
    last_modified: str | None = None

    def wire(self) -> Block:
        """As the schema has it."""
        return without_none(audience=self.audience, priority=self.priority, lastModified=self.last_modified)


class Content(Protocol):
    """Anything that has a content block as its wire form."""

    def wire(self) -> Block:
        """The content block."""


class Text(msgspec.Struct, frozen=True):
    """A text block.

    Text("42 degrees", annotations=Annotations(audience=["user"]))
    """

    text: str
    annotations: Annotations | None = None
    meta: Mapping[str, object] | None = None

    def wire(self) -> Block:
        """The content block."""
        return _finish({"type": "text", "text": self.text}, self.annotations, self.meta)


class _Media(msgspec.Struct, frozen=True):
    data: bytes | None = None
    mime_type: str | None = None
    path: str | Path | None = None
    annotations: Annotations | None = None
    meta: Mapping[str, object] | None = None

    def _wire(self, kind: str) -> Block:
        data, mime_type = self.data, self.mime_type
        if data is None:
            if self.path is None:
                raise ConfigError(f"{type(self).__name__} needs data or a path")
            data = Path(self.path).read_bytes()
        if mime_type is None and self.path is not None:
            # Imported here: few servers guess.
            import mimetypes

            mime_type = mimetypes.guess_type(str(self.path))[0]
        if mime_type is None:
            raise ConfigError(f"{type(self).__name__} needs a mime_type, for example {kind}/...")
        block: Block = {"type": kind, "data": base64.b64encode(data).decode(), "mimeType": mime_type}
        return _finish(block, self.annotations, self.meta)


class Image(_Media, frozen=True):
    """An image from bytes or a file.

    Image(png, "image/png"); Image(path="chart.png")
    """

    def wire(self) -> Block:
        """The content block; reads the file when there is one."""
        return self._wire("image")


class Audio(_Media, frozen=True):
    """A sound from bytes or a file.

    Audio(wav, "audio/wav"); Audio(path="bell.wav")
    """

    def wire(self) -> Block:
        """The content block; reads the file when there is one."""
        return self._wire("audio")


class ResourceLink(msgspec.Struct, frozen=True):
    """A link to a resource the client may read.

    ResourceLink("file:///report.pdf", name="report", mime_type="application/pdf")
    """

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    annotations: Annotations | None = None
    meta: Mapping[str, object] | None = None

    def wire(self) -> Block:
        """The content block."""
        block = without_none(
            type="resource_link",
            uri=self.uri,
            name=self.name,
            title=self.title,
            description=self.description,
            mimeType=self.mime_type,
            size=self.size,
        )
        return _finish(block, self.annotations, self.meta)


class Contents(msgspec.Struct, frozen=True):
    """The contents of a resource: text, or bytes which travel as base64.

    Parameters:
        data: text or bytes.
        mime_type: by default that of the resource.
        uri: by default the one that was read.
    """

    data: str | bytes
    mime_type: str | None = None
    uri: str | None = None
    meta: Mapping[str, object] | None = None

    def wire(self, uri: str = "", mime_type: str | None = None) -> Block:
        """A `TextResourceContents` or `BlobResourceContents`."""
        contents = without_none(uri=self.uri or uri, mimeType=self.mime_type or mime_type)
        if isinstance(self.data, str):
            contents["text"] = self.data
        else:
            contents["blob"] = base64.b64encode(self.data).decode()
        return _finish(contents, None, self.meta)


class EmbeddedResource(msgspec.Struct, frozen=True):
    """A resource put whole into a result.

    EmbeddedResource("notes://1", "Buy milk", "text/plain")
    """

    uri: str
    data: str | bytes
    mime_type: str | None = None
    annotations: Annotations | None = None
    meta: Mapping[str, object] | None = None

    def wire(self) -> Block:
        """The content block."""
        block: Block = {"type": "resource", "resource": Contents(self.data).wire(self.uri, self.mime_type)}
        return _finish(block, self.annotations, self.meta)


class ToolResult(msgspec.Struct, frozen=True):
    """A tool's result under full control.

    Parameters:
        content: what the model reads: text, a block, or a list of both.
        structured: `structuredContent`; JSON-encodable.
        is_error: the tool failed in a way the model should see.
        meta: the result's `_meta`.

        ToolResult("2 rows", structured={"rows": rows})
    """

    content: object = ()
    structured: object = None
    is_error: bool = False
    meta: Mapping[str, object] | None = None


class Message(msgspec.Struct, frozen=True):
    """One message of a prompt.

    Message("user", "Review this code"); Message("assistant", Image(png, "image/png"))
    """

    role: Role
    content: object


CONTENT_TYPES: tuple[type, ...] = (Text, Image, Audio, ResourceLink, EmbeddedResource)
"""What stands for a content block in a return value."""


def without_none(**members: object) -> Block:
    """The members that were given."""
    return {key: value for key, value in members.items() if value is not None}


def _finish(block: Block, annotations: Annotations | None, meta: Mapping[str, object] | None) -> Block:
    if annotations is not None:
        block["annotations"] = annotations.wire()
    if meta is not None:
        block["_meta"] = dict(meta)
    return block
