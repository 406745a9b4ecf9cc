"""The `Provider` over Python functions.

What it is for: answer requests from the shelves of registered things, tell listeners what changed.
What may live here: the methods of the `Provider` door.
What may not: decorators and options (those are `Server`'s), HTTP.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, Result
from trunkline.errors import InvalidParams, MethodNotFound, ProtocolError, ResourceNotFound
from trunkline.protocol.headers import HeaderParam
from trunkline.runtime.pool import WorkerPool
from trunkline.server import completion
from trunkline.server.prompts import Prompt
from trunkline.server.resources import Resource
from trunkline.server.shelf import E, Shelf
from trunkline.server.tools import Tool

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Hook = Callable[[], Awaitable[None]]
_FRESHNESS: Mapping[str, object] = {"cacheScope": "public", "ttlMs": 3_600_000}


class FunctionProvider:
    """Tools, resources and prompts that are Python functions.

    Parameters:
        implementation: the `Implementation` record.
        guidance: instructions for the model.
        page_size: entries in one page of a list; None for all.
        hints: `ttlMs` and `cacheScope` of the lists.
        lifespan: makes a context that is open from start to stop.
    """

    def __init__(
        self,
        implementation: Mapping[str, object],
        guidance: str | None = None,
        page_size: int | None = None,
        hints: Mapping[str, object] | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None,
    ) -> None:
        self._implementation = implementation
        self._guidance = guidance
        self._hints = dict(hints or {})
        self.tools: Shelf[Tool] = Shelf("tool", "tools", page_size)
        self.resources: Shelf[Resource] = Shelf("resource", "resources", page_size)
        self.templates: Shelf[Resource] = Shelf("resource", "resourceTemplates", page_size)
        self.prompts: Shelf[Prompt] = Shelf("prompt", "prompts", page_size)
        self.completions = False
        self.pool = WorkerPool()
        self.on_start: list[Hook] = []
        self.on_stop: list[Hook] = []
        self._listeners: dict[int, Callable[[Change], None]] = {}
        self._numbers = itertools.count()
        self._loop: AbstractEventLoop | None = None
        self._lifespan = lifespan
        self._life = AsyncExitStack()

    def info(self) -> Mapping[str, object]:
        """Who we are."""
        return self._implementation

    def instructions(self) -> str | None:
        """Guidance for the model."""
        return self._guidance

    def freshness(self) -> Mapping[str, object]:
        """What is told of ourselves is the same for everybody and rarely changes."""
        return _FRESHNESS

    def capabilities(self) -> Mapping[str, object]:
        """What was ever registered is declared."""
        declared: dict[str, object] = {"logging": {}}
        if self.tools.used:
            declared["tools"] = {"listChanged": True}
        if self._has_resources():
            declared["resources"] = {"listChanged": True, "subscribe": True}
        if self.prompts.used:
            declared["prompts"] = {"listChanged": True}
        if self.completions:
            declared["completions"] = {}
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
        return self._list(self.resources, context)

    async def list_templates(self, context: Context) -> Result:
        """Answer `resources/templates/list`."""
        return self._list(self.templates, context)

    async def read_resource(self, context: Context) -> Result:
        """Answer `resources/read`."""
        uri = str(context.params.uri)
        found = self._find(uri)
        if found is not None:
            return await found[0].read(context, uri, found[1])
        if not self._has_resources():
            raise _absent(self.resources)
        raise ResourceNotFound(uri)

    async def list_prompts(self, context: Context) -> Result:
        """Answer `prompts/list`."""
        return self._list(self.prompts, context)

    async def get_prompt(self, context: Context) -> Result:
        """Answer `prompts/get`."""
        prompt = self.prompts.entries.get(context.params.name)  # type: ignore[arg-type]
        if prompt is None:
            raise self._unknown(self.prompts, context)
        return await prompt.get(context)

    async def complete(self, context: Context) -> Result:
        """Answer `completion/complete`."""
        if not self.completions:
            raise MethodNotFound("Method not found: this server completes nothing")
        params = completion.read_params(context)
        thing = self._referenced(params.ref)
        if params.argument.name not in [parameter.name for parameter in thing.parameters]:
            raise InvalidParams(f"Invalid params: there is no argument {params.argument.name[:100]!r} to complete")
        completer = thing.completers.get(params.argument.name)
        return completion.nothing() if completer is None else await completer.complete(context, params)

    async def follow(self, context: Context, uris: Sequence[str]) -> None:
        """Only resources that exist can be followed."""
        for uri in uris:
            if self._find(uri) is None:
                raise ResourceNotFound(uri)

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
        """Enter the author's context and run the start hooks, in the order they were registered."""
        async with AsyncExitStack() as life:
            if self._lifespan is not None:
                await life.enter_async_context(self._lifespan())
            for hook in self.on_start:
                await hook()
            for hook in self.on_stop:
                life.push_async_callback(hook)
            self._life = life.pop_all()
        self._loop = _running_loop()

    async def stop(self) -> None:
        """Run the author's stop hooks, last registered first, leave the context, and let the threads end."""
        self._loop = None
        try:
            await self._life.aclose()
        finally:
            self.pool.stop()

    def _tell(self, change: Change) -> None:
        for listener in list(self._listeners.values()):
            listener(change)

    def _find(self, uri: str) -> tuple[Resource, Mapping[str, str]] | None:
        resource = self.resources.entries.get(uri)
        if resource is not None:
            return resource, {}
        for candidate in self.templates.entries.values():
            variables = candidate.template.match(uri) if candidate.template is not None else None
            if variables is not None:
                return candidate, variables
        return None

    def _referenced(self, reference: completion.PromptReference | completion.ResourceReference) -> Prompt | Resource:
        if isinstance(reference, completion.PromptReference):
            prompt = self.prompts.entries.get(reference.name)
            if prompt is None:
                raise InvalidParams(f"Unknown prompt: {reference.name[:128]}")
            return prompt
        resource = self.templates.entries.get(reference.uri) or self.resources.entries.get(reference.uri)
        if resource is None:
            raise ResourceNotFound(reference.uri)
        return resource

    def _has_resources(self) -> bool:
        return self.resources.used or self.templates.used

    def _list(self, shelf: Shelf[E], context: Context) -> Result:
        served = self._has_resources() if shelf.kind == "resource" else shelf.used
        if not served:
            raise _absent(shelf)
        result = shelf.page(context.params.cursor)
        result.update(self._hints)
        return result

    def _unknown(self, shelf: Shelf[E], context: Context) -> ProtocolError:
        if not shelf.used:
            return _absent(shelf)
        return InvalidParams(f"Unknown {shelf.kind}: {str(context.params.name)[:128]}")


def _absent(shelf: Shelf[E]) -> MethodNotFound:
    return MethodNotFound(f"Method not found: this server has no {shelf.kind}s")


def _running_loop() -> "AbstractEventLoop | None":
    from asyncio import get_running_loop

    try:
        return get_running_loop()
    except RuntimeError:
        return None
