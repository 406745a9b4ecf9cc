"""Tools, resources and prompts that ask the client nothing, as the suite's scenarios name them."""

import asyncio
import base64
import io
import os
import wave
from typing import Annotated

from trunkline import Context, Server, ToolError
from trunkline.server.content import Audio, Contents, EmbeddedResource, Image, Message
from trunkline.server.signature import Header

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA_2020_12: dict[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def silence() -> bytes:
    """A tenth of a second of silence as WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    return buffer.getvalue()


def add_to(server: Server) -> None:
    """Register them all."""
    _content(server)
    _behaviour(server)
    _changes(server)
    _resources(server)
    _prompts(server)


def _content(server: Server) -> None:
    @server.tool
    def test_simple_text() -> str:
        """Return a text."""
        return "This is a simple text response for testing."

    @server.tool
    def test_image_content() -> Image:
        """Return an image."""
        return Image(PNG, "image/png")

    @server.tool
    def test_audio_content() -> Audio:
        """Return a sound."""
        return Audio(silence(), "audio/wav")

    @server.tool
    def test_embedded_resource() -> EmbeddedResource:
        """Return an embedded resource."""
        return EmbeddedResource("test://embedded-resource", "This is an embedded resource content.", "text/plain")

    @server.tool
    def test_multiple_content_types() -> list[str | Image | EmbeddedResource]:
        """Return a text, an image and a resource."""
        embedded = EmbeddedResource("test://mixed-content-resource", '{"test":"data"}', "application/json")
        return ["Multiple content types test:", Image(PNG, "image/png"), embedded]


def _behaviour(server: Server) -> None:
    @server.tool
    def test_error_handling() -> str:
        """Fail in a way the model should see."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool
    async def test_tool_with_logging(context: Context) -> str:
        """Log three times."""
        for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await context.log("info", line)
            await asyncio.sleep(0.05)
        return "Tool with logging executed successfully"

    @server.tool
    async def test_logging_tool(context: Context) -> str:
        """Log once, if the client wants to hear it."""
        await context.log("info", "A log message of this request")
        return "Logged"

    @server.tool
    async def test_tool_with_progress(context: Context) -> str:
        """Report progress three times."""
        for progress in (0, 50, 100):
            await context.progress(progress, total=100)
            await asyncio.sleep(0.05)
        return "Tool with progress executed successfully"

    @server.tool
    async def test_reconnection(context: Context) -> str:
        """Hang up before the result, which the client comes back for."""
        await context.suspend(500)
        await asyncio.sleep(0.1)
        return "Reconnection test completed successfully"

    @server.tool
    def test_x_mcp_header(region: Annotated[str, Header("Region")]) -> str:
        """Take an argument which the client mirrors into a header."""
        return f"Region: {region}"

    @server.tool(input_schema=SCHEMA_2020_12)
    def json_schema_2020_12_tool(arguments: dict[str, object]) -> str:
        """Show that an input schema survives as it was written."""
        return f"Called with {', '.join(sorted(arguments)) or 'nothing'}"


def _changes(server: Server) -> None:
    present: set[str] = set()
    # Replicas have to list the same again when the suite asks the next one.
    momentary = "CONFORMANCE_STORAGE" in os.environ

    @server.tool
    async def test_trigger_tool_change() -> str:
        """Add a tool to the list, or take it away again; of replicas the list is the same afterwards."""

        def come_and_go() -> str:
            """Here for a while."""
            return "here"

        if "tool" not in present:
            present.add("tool")
            server.add_tool(come_and_go)
            if not momentary:
                return "The list of tools changed"
        present.remove("tool")
        server.remove_tool("come_and_go")
        return "The list of tools changed"

    @server.tool
    async def test_trigger_prompt_change() -> str:
        """Add a prompt to the list, or take it away again."""

        def come_and_go_prompt() -> str:
            """Here for a while."""
            return "here"

        if "prompt" not in present:
            present.add("prompt")
            server.prompt(come_and_go_prompt)
            if not momentary:
                return "The list of prompts changed"
        present.remove("prompt")
        server.remove_prompt("come_and_go_prompt")
        return "The list of prompts changed"


def _resources(server: Server) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        """A text that never changes."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """An image that never changes."""
        return PNG

    @server.resource("test://watched-resource", mime_type="text/plain")
    def watched_resource() -> str:
        """A text to subscribe to."""
        return "Watched resource content"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template_data(id: str) -> Contents:
        """The data of one id."""
        return Contents(f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}')


def _prompts(server: Server) -> None:
    @server.prompt
    def test_simple_prompt() -> str:
        """A prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt that repeats its arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
        """A prompt with a resource in it."""
        embedded = EmbeddedResource(resourceUri, "Embedded resource content for testing.", "text/plain")
        return [Message("user", embedded), Message("user", "Please process the embedded resource above.")]

    @server.prompt
    def test_prompt_with_image() -> list[Message]:
        """A prompt with an image in it."""
        return [Message("user", Image(PNG, "image/png")), Message("user", "Please analyze the image above.")]

    @server.completion("test_prompt_with_arguments", "arg1")
    def cities(value: str) -> list[str]:
        return [city for city in ("paris", "park", "party") if city.startswith(value)]
