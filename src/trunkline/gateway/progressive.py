"""Progressive discovery: two tools that find and call all others.

What it is for: an engine whose `tools/list` holds `find_tools` and `call_tool`, the same for every caller.
What may live here: those two tools. What may not: ranking (`ranking.py`), what tools there are (the provider).
"""

from collections.abc import Awaitable, Coroutine

from msgspec import Raw
from msgspec.structs import replace

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.gateway import relaying
from trunkline.gateway.catalog import UNAVAILABLE_KEY
from trunkline.gateway.listing import Item
from trunkline.gateway.ranking import rank
from trunkline.protocol import json
from trunkline.protocol.messages import Params

FIND, CALL = "find_tools", "call_tool"
LIMIT, MOST = 5, 50
"""Tools in one answer, unless the caller says otherwise; and at most."""

_TTL_MS = 3_600_000

TOOLS: tuple[Item, ...] = (
    {
        "name": FIND,
        "title": "Find tools",
        "description": (
            "Search the tools that are available here. Returns the best matches with what they do and the arguments "
            f"they take; call one with {CALL}. Search again with other words when nothing fits."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What the tool should do, in a few words."},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
            },
            "required": ["query"],
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "tools": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "description": {"type": "string"},
                            "inputSchema": {"type": "object"},
                        },
                        "required": ["name", "inputSchema"],
                    },
                }
            },
            "required": ["tools"],
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    },
    {
        "name": CALL,
        "title": "Call a tool",
        "description": f"Call a tool that {FIND} returned, with arguments that fit its inputSchema.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": f"The tool's name, as {FIND} returned it."},
                "arguments": {"type": "object", "description": "The tool's arguments, by its inputSchema."},
            },
            "required": ["name"],
        },
    },
)


class _Search(Context):
    """The `tools/list` behind a `find_tools`."""

    __slots__ = ()


class ProgressiveEngine(Engine):
    """An engine over one provider whose tools are found and called through two; see `Engine` for the parameters.

    A call through `call_tool` is the call it stands for: interceptors, the caller's list of tools, the observer and
    input rounds see that tool and its arguments, and nothing else.
    """

    def handle(self, context: Context) -> Coroutine[object, object, Result]:
        """Answer one request; see `Engine.handle`."""
        if context.method == "tools/call" and context.params.name == CALL:
            meant = _meant(context.params, relaying.parameters(context))
            if meant is not None:
                context = context.instead(meant)
        return super().handle(context)

    def permit(self, principal: Principal, method: str, params: Params) -> None:
        """See `Engine.permit`; what counts is the tool that is meant."""
        if method == "tools/call" and params.name == CALL:
            given = json.plain(params.raw)
            params = (_meant(params, given) if isinstance(given, dict) else None) or params
        super().permit(principal, method, params)

    async def _list_tools(self, context: Context) -> Result:
        if isinstance(context, _Search):
            return await super()._list_tools(context)
        return {"tools": list(TOOLS), "ttlMs": _TTL_MS, "cacheScope": "public"}

    def _call_tool(self, context: Context) -> Awaitable[Result]:
        if context.params.name == FIND:
            return self._find(context)
        if context.params.name == CALL:
            return self._misused()
        return super()._call_tool(context)

    async def _misused(self) -> Result:
        return _failure(f"{CALL} takes the name of a tool that {FIND} returned, and its arguments as an object.")

    async def _find(self, context: Context) -> Result:
        given = relaying.parameters(context).get("arguments")
        given = given if isinstance(given, dict) else {}
        query, limit = given.get("query"), given.get("limit", LIMIT)
        if not isinstance(query, str):
            return _failure(f"{FIND} needs a query: what the tool should do, in a few words.")
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
            return _failure(f"The limit of {FIND} is a whole number from 1 to {MOST}.")
        tools, lacking = await self._visible(context)
        found = {"tools": [_told(tool) for tool in rank(query, tools, limit)]}
        result: Result = {
            "content": [{"type": "text", "text": json.encode(found).decode()}],
            "structuredContent": found,
        }
        if lacking is not None:
            result["_meta"] = {UNAVAILABLE_KEY: lacking}
        return result

    async def _visible(self, context: Context) -> tuple[list[Item], object]:
        """Every tool this caller would be listed, through the same chain, and the upstreams that are missing."""
        tools: list[Item] = []
        params = Params()
        while True:
            page = await self._chain(_search(context, params))
            listed = page["tools"]
            tools += listed if isinstance(listed, list) else []
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                meta = page.get("_meta")
                return tools, meta.get(UNAVAILABLE_KEY) if isinstance(meta, dict) else None
            params = Params(cursor=cursor, raw=Raw(json.encode({"cursor": cursor})))


def _search(context: Context, params: Params) -> _Search:
    return _Search(
        context.request_id,
        "tools/list",
        params,
        context.revision,
        context.principal,
        context.exchange,
        context.capabilities,
        context.client_info,
        context.log_level,
    )


def _meant(params: Params, given: dict[str, object]) -> Params | None:
    """The parameters of the call that a `call_tool` stands for; None where it does not say which."""
    outer = given.get("arguments")
    name = outer.get("name") if isinstance(outer, dict) else None
    arguments = outer.get("arguments", {}) if isinstance(outer, dict) else None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    inner = {**given, "name": name, "arguments": arguments}
    return replace(params, name=name, arguments=Raw(json.encode(arguments)), raw=Raw(json.encode(inner)))


def _told(tool: Item) -> Item:
    return {field: tool[field] for field in ("name", "description", "inputSchema") if field in tool}


def _failure(text: str) -> Result:
    """For the model to read and try again (server/tools, Error Handling)."""
    return {"content": [{"type": "text", "text": text}], "isError": True}
