"""The `Provider` over Python functions.

What it is for: answer requests from the shelves of registered things, tell listeners what changed.
What may live here: the methods of the `Provider` door.
What may not: decorators and options (those are `Server`'s), HTTP.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, Result
from trunkline.errors import InvalidParams, MethodNotFound
from trunkline.protocol.headers import HeaderParam
from trunkline.runtime.pool import WorkerPool
from trunkline.server.shelf import E, Shelf
from trunkline.server.tools import Tool

Hook = Callable[[], Awaitable[None]]


class FunctionProvider:
    """Tools, resources and prompts that are Python functions.

    Parameters:
        implementation: the `Implementation` record.
        guidance: instructions for the model.
        page_size: entries in one page of a list; None for all.
        hints: `ttlMs` and `cacheScope` of the lists.
    """

    def __init__(
        self,
        implementation: Mapping[str, object],
        guidance: str | None = None,
        page_size: int | None = None,
        hints: Mapping[str, object] | None = None,
    ) -> None:
        self._implementation = implementation
        self._guidance = guidance
        self._hints = dict(hints or {})
        self.tools: Shelf[Tool] = Shelf("tool", "tools", page_size)
        self.pool = WorkerPool()
        self.on_start: list[Hook] = []
        self.on_stop: list[Hook] = []
        self._listeners: dict[int, Callable[[Change], None]] = {}
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None

    def info(self) -> Mapping[str, object]:
        """Who we are."""
        return self._implementation

    def instructions(self) -> str | None:
        """Guidance for the model."""
        return self._guidance

    def capabilities(self) -> Mapping[str, object]:
        """What was ever registered is declared."""
        declared: dict[str, object] = {"logging": {}}
        if self.tools.used:
            declared["tools"] = {"listChanged": True}
        return declared

    async def list_tools(self, context: Context) -> Result:
        """Answer `tools/list`."""
        return self._list(self.tools, context)

    async def call_tool(self, context: Context) -> Result:
        """Answer `tools/call`."""
        tool = self.tools.entries.get(context.params.name)  # type: ignore[arg-type]
        if tool is None:
            raise self._unknown(self.tools, context)
        return await tool.call(context)

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        """The parameters a tool mirrors into headers."""
        found = self.tools.entries.get(tool)
        return () if found is None else found.headers

    async def list_resources(self, context: Context) -> Result:
        """Answer `resources/list`."""
        raise MethodNotFound("Method not found: this server has no resources")

    async def list_templates(self, context: Context) -> Result:
        """Answer `resources/templates/list`."""
        raise MethodNotFound("Method not found: this server has no resources")

    async def read_resource(self, context: Context) -> Result:
        """Answer `resources/read`."""
        raise MethodNotFound("Method not found: this server has no resources")

    async def list_prompts(self, context: Context) -> Result:
        """Answer `prompts/list`."""
        raise MethodNotFound("Method not found: this server has no prompts")

    async def get_prompt(self, context: Context) -> Result:
        """Answer `prompts/get`."""
        raise MethodNotFound("Method not found: this server has no prompts")

    async def complete(self, context: Context) -> Result:
        """Answer `completion/complete`."""
        raise MethodNotFound("Method not found: this server completes nothing")

    async def follow(self, context: Context, uris: Sequence[str]) -> None:
        """Only resources that exist can be followed."""

    async def unfollow(self, context: Context, uris: Sequence[str]) -> None:
        """Nothing is kept for a listener."""

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Tell `listener` of changes until the returned function is called."""
        number = next(self._numbers)
        self._listeners[number] = listener

        def unwatch() -> None:
            self._listeners.pop(number, None)

        return unwatch

    def changed(self, change: Change) -> None:
        """Tell everyone who watches; safe to call from any thread."""
        loop = self._loop
        if loop is None or not self._listeners:
            return
        if _running_loop() is loop:
            self._tell(change)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, change)

    async def start(self) -> None:
        """Run the author's start hooks, in the order they were registered."""
        self._loop = asyncio.get_running_loop()
        for hook in self.on_start:
            await hook()

    async def stop(self) -> None:
        """Run the author's stop hooks, last registered first, and let the threads end."""
        try:
            for hook in reversed(self.on_stop):
                await hook()
        finally:
            self._loop = None
            self.pool.stop()

    def _tell(self, change: Change) -> None:
        for listener in list(self._listeners.values()):
            listener(change)

    def _list(self, shelf: Shelf[E], context: Context) -> Result:
        if not shelf.used:
            raise MethodNotFound(f"Method not found: this server has no {shelf.kind}s")
        result = shelf.page(context.params.cursor)
        result.update(self._hints)
        return result

    def _unknown(self, shelf: Shelf[E], context: Context) -> InvalidParams | MethodNotFound:
        if not shelf.used:
            return MethodNotFound(f"Method not found: this server has no {shelf.kind}s")
        return InvalidParams(f"Unknown {shelf.kind}: {str(context.params.name)[:128]}")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
