"""Dispatch: one request in, one result out.

What it is for: the method tables of both eras, the interceptor chain, the finish that stamps a result for its revision.
What may live here: decisions about a request that is already decoded and authenticated.
What may not: sockets, tasks, timers; what a tool or an upstream does.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial

from msgspec import UNSET

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Extension, Interceptor, KeyRing, Observer, Provider, Result
from trunkline.engine.principal import Access, Principal
from trunkline.engine.sealed import Keys
from trunkline.errors import Forbidden, InternalError, InvalidParams, MethodNotFound, ProtocolError, ResourceNotFound
from trunkline.protocol.messages import SERVER_INFO_KEY, Params
from trunkline.protocol.revisions import CACHEABLE, INPUT_METHODS, SERVED, Revision, downgrade

logger = logging.getLogger("trunkline.engine")

Handler = Callable[[Context], Awaitable[Result]]


class Engine:
    """One engine over one provider.

    Parameters:
        provider: what answers.
        extensions: protocol extensions, in the order their interceptors run.
        interceptors: `async (context, call_next)` around every request, outermost first.
        keys: seals input rounds and sessions; by default a random ring for this process.
        observer: told of every finished call.
        round_life: seconds a person may take to answer an input round.

    Attributes:
        names: methods of extensions -> the parameter that `Mcp-Name` mirrors.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        extensions: Sequence[Extension] = (),
        interceptors: Sequence[Interceptor] = (),
        keys: KeyRing | None = None,
        observer: Observer | None = None,
        round_life: float = 3600,
    ) -> None:
        self.provider = provider
        self.extensions = tuple(extensions)
        self.keys: KeyRing = keys or Keys()
        self.round_life = round_life
        self.observer = observer
        self._interceptors = tuple(interceptors)
        self._arrange()
        self._stamp = {SERVER_INFO_KEY: provider.info()}

    def handle(self, context: Context) -> Coroutine[object, object, Result]:
        """Answer one request. Raises `ProtocolError`; everything else a provider raises becomes an `InternalError`."""
        if self.observer is not None:
            return self._observed(context, self.observer)
        return self._answer(context)

    def extend(self, *extensions: Extension) -> None:
        """Add extensions; before the application starts, which starts them as well."""
        self.extensions += extensions
        self._arrange()

    def serves(self, method: str) -> bool:
        """Whether any handler answers this method."""
        return method in self._handlers

    def capabilities(self, revision: Revision) -> dict[str, object]:
        """What a peer of this revision is told we can do."""
        capabilities = dict(self.provider.capabilities())
        if revision.era == "legacy":
            capabilities.pop("extensions", None)
        elif self.extensions:
            declared = capabilities.get("extensions")
            ours = {one.identifier: one.settings for one in self.extensions if one.offered is None or one.offered()}
            if ours or declared is not None:
                capabilities["extensions"] = {**(declared if isinstance(declared, Mapping) else {}), **ours}
        return capabilities

    def initialize_result(self, revision: Revision) -> Result:
        """The answer to a legacy `initialize` (2025-11-25, lifecycle, Initialization)."""
        result: Result = {
            "protocolVersion": revision.name,
            "capabilities": self.capabilities(revision),
            "serverInfo": self.provider.info(),
        }
        instructions = self.provider.instructions()
        if instructions:
            result["instructions"] = instructions
        return result

    def permit(self, principal: Principal, method: str, params: Params) -> None:
        """Raise `Forbidden` or `Unauthenticated` where a principal's credentials do not allow a request.

        Every request is asked about when it is answered; transports that begin an answer before that ask themselves.
        """
        if principal.access is not None:
            principal.access.demand(principal, method, params)

    async def _answer(self, context: Context) -> Result:
        method = context.method
        if context.principal.access is not None:
            context.principal.access.demand(context.principal, method, context.params)
        if context.revision.era == "modern" and method in INPUT_METHODS:
            params = context.params
            if params.request_state is not UNSET or params.input_responses is not UNSET:
                context.replay = rounds.resume(self.keys, context.principal, method, params, time.time())
        try:
            result = await self._chain(context)
        except rounds.InputRequired as signal:
            if method not in INPUT_METHODS:
                logger.error("asked for input where the protocol has no rounds for it", extra={"method": method})
                raise InternalError from None
            result = self._input_required(context, signal)
        except ProtocolError:
            raise
        except Exception:
            logger.exception("request failed", extra={"method": method, "request": context.trace})
            raise InternalError from None
        return self._finish(context, result)

    async def _observed(self, context: Context, observer: Observer) -> Result:
        started = time.monotonic()
        outcome = "cancelled"
        try:
            result = await self._answer(context)
            outcome = "ok"
            if result.get("isError"):
                outcome = "tool_error"
            elif result.get("resultType", "complete") != "complete":
                outcome = str(result["resultType"])
            return result
        except ProtocolError as error:
            outcome = error.name
            raise
        finally:
            observer.finished(context, outcome, time.monotonic() - started)

    def _finish(self, context: Context, result: Result) -> Result:
        """Stamp a result for the revision it is for."""
        if context.revision.era == "legacy":
            return downgrade(context.revision, result)
        result.setdefault("resultType", "complete")
        meta = result.get("_meta")
        result["_meta"] = {**meta, **self._stamp} if isinstance(meta, dict) else self._stamp
        if context.method in CACHEABLE and result["resultType"] == "complete":
            result.setdefault("ttlMs", 0)
            result.setdefault("cacheScope", "private")
        return result

    def _input_required(self, context: Context, signal: rounds.InputRequired) -> Result:
        replay = context.replay or rounds.begin()
        replay.expires = time.time() + self.round_life
        return rounds.required(self.keys, context.principal, context.method, context.params, replay, signal.requests)

    def _arrange(self) -> None:
        self._handlers = self._method_table()
        self.names = {method: param for extension in self.extensions for method, param in extension.names.items()}
        self._chain = self._compose()

    def _compose(self) -> CallNext:
        chain: CallNext = self._dispatch
        for extension in reversed(self.extensions):
            if extension.attach is not None:
                extension.attach(chain)
            if extension.interceptor is not None:
                chain = partial(extension.interceptor, call_next=chain)
        for interceptor in reversed(self._interceptors):
            chain = partial(interceptor, call_next=chain)
        return chain

    # From here to the provider nothing is awaited: a coroutine for each of these steps would cost more than the step.

    def _dispatch(self, context: Context) -> Awaitable[Result]:
        handler = self._handlers.get(context.method)
        if handler is None:
            raise MethodNotFound(f"Method not found: {context.method[:100]}")
        return handler(context)

    def _method_table(self) -> dict[str, Handler]:
        provider = self.provider
        handlers: dict[str, Handler] = {
            "server/discover": self._discover,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
            "resources/list": partial(_seen, provider.list_resources, "resources", "resources", "uri"),
            "resources/templates/list": partial(
                _seen, provider.list_templates, "resourceTemplates", "resources", "uriTemplate"
            ),
            "resources/read": self._read_resource,
            "prompts/list": partial(_seen, provider.list_prompts, "prompts", "prompts", "name"),
            "prompts/get": self._get_prompt,
            "completion/complete": provider.complete,
        }
        for extension in self.extensions:
            handlers.update(extension.methods)
        return handlers

    async def _discover(self, context: Context) -> Result:
        if context.revision.era == "legacy":
            raise MethodNotFound("Method not found: server/discover (it came with revision 2026-07-28)")
        result: Result = {
            "supportedVersions": list(SERVED),
            "capabilities": self.capabilities(context.revision),
            **self.provider.freshness(),
        }
        instructions = self.provider.instructions()
        if instructions:
            result["instructions"] = instructions
        return result

    async def _list_tools(self, context: Context) -> Result:
        result = await _seen(self.provider.list_tools, "tools", "tools", "name", context)
        tools = result.get("tools")
        if context.principal.tools is not None and isinstance(tools, list):
            result["tools"] = [tool for tool in tools if context.principal.may_call(tool["name"])]
            result["cacheScope"] = "private"
        return result

    def _call_tool(self, context: Context) -> Awaitable[Result]:
        name = context.params.name
        if name is UNSET:
            raise InvalidParams("Invalid params: tools/call needs 'name'")
        if context.principal.tools is not None and not context.principal.may_call(name):
            raise Forbidden(f"The tool {name[:100]!r} is not on this caller's list")
        return self.provider.call_tool(context)

    def _read_resource(self, context: Context) -> Awaitable[Result]:
        if context.params.uri is UNSET:
            raise InvalidParams("Invalid params: resources/read needs 'uri'")
        return self.provider.read_resource(context)

    def _get_prompt(self, context: Context) -> Awaitable[Result]:
        if context.params.name is UNSET:
            raise InvalidParams("Invalid params: prompts/get needs 'name'")
        return self.provider.get_prompt(context)


def _seen(handler: Handler, member: str, kind: str, key: str, context: Context) -> Awaitable[Result]:
    """A list without what no credentials would unlock; what others would is listed, so that clients can ask for it."""
    access = context.principal.access
    if access is None or not access.hiding:
        return handler(context)
    return _shown(handler, access, member, kind, key, context)


async def _shown(handler: Handler, access: Access, member: str, kind: str, key: str, context: Context) -> Result:
    result = await handler(context)
    listed = result.get(member)
    if isinstance(listed, list):
        result = {**result, member: [one for one in listed if not access.hides(kind, str(one[key]))]}
    return result


LEGACY_RESOURCE_NOT_FOUND = -32002


def error_for(revision: Revision | None, error: ProtocolError) -> dict[str, object]:
    """The `error` member for a peer of this revision: legacy peers know a missing resource as -32002."""
    wire = error.wire()
    if revision is not None and revision.era == "legacy" and isinstance(error, ResourceNotFound):
        wire["code"] = LEGACY_RESOURCE_NOT_FOUND
    return wire
