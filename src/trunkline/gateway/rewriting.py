"""Resource URIs inside what upstreams say.

What it is for: wherever a colliding URI occurs, the one clients know stands there.
What may live here: the places URIs occur in items and results, as pure functions over them.
What may not: the rule itself (`uris.py`) and who owns what (`catalog.py`).

Nothing is changed in place: what needs no rewriting is returned as it came.
"""

from collections.abc import Callable

from trunkline.engine.doors import Result

Expose = Callable[[str], str]
"""An upstream's URI in, the one clients know out."""

_FLAT_UI = "ui/resourceUri"
"""The key MCP Apps used before its release; some SDKs write both."""


def tool(item: dict[str, object], expose: Expose) -> dict[str, object]:
    """A tool whose `_meta` may point at its user interface (MCP Apps, `_meta.ui.resourceUri`)."""
    meta = item.get("_meta")
    if not isinstance(meta, dict):
        return item
    shown = _at(meta, _FLAT_UI, expose)
    ui = meta.get("ui")
    if isinstance(ui, dict):
        pointed = _at(ui, "resourceUri", expose)
        shown = shown if pointed is ui else {**shown, "ui": pointed}
    return item if shown is meta else {**item, "_meta": shown}


def call_result(result: Result, expose: Expose) -> Result:
    """The result of `tools/call`: links and embedded resources in `content`, and what `_meta` points at."""
    shown = tool(result, expose)
    content = shown.get("content")
    if not isinstance(content, list):
        return shown
    blocks: list[object] = content
    for place, block in enumerate(content):
        seen = _block(block, expose)
        if seen is not block:
            blocks = list(content) if blocks is content else blocks
            blocks[place] = seen
    return shown if blocks is content else {**shown, "content": blocks}


def read_result(result: Result, expose: Expose) -> Result:
    """The result of `resources/read`."""
    contents = result.get("contents")
    if not isinstance(contents, list):
        return result
    return {**result, "contents": [_addressed(part, expose) for part in contents]}


def prompt_result(result: Result, expose: Expose) -> Result:
    """The result of `prompts/get`: each message holds one block."""
    messages = result.get("messages")
    if not isinstance(messages, list):
        return result
    return {**result, "messages": [_message(message, expose) for message in messages]}


def _message(message: object, expose: Expose) -> object:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return {**message, "content": _block(message["content"], expose)}


def _block(block: object, expose: Expose) -> object:
    if not isinstance(block, dict):
        return block
    if block.get("type") == "resource_link":
        return _addressed(block, expose)
    if block.get("type") == "resource":
        inside = block.get("resource")
        shown = _addressed(inside, expose)
        return block if shown is inside else {**block, "resource": shown}
    return block


def _addressed(part: object, expose: Expose) -> object:
    return _at(part, "uri", expose) if isinstance(part, dict) else part


def _at(holder: dict[str, object], key: str, expose: Expose) -> dict[str, object]:
    uri = holder.get(key)
    if not isinstance(uri, str):
        return holder
    seen = expose(uri)
    return holder if seen == uri else {**holder, key: seen}
