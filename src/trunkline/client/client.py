"""The caller's API.

What it is for: use any MCP server in a few lines, whatever its era and transport.
What may live here: the methods of `Client`. What may not: wire details; each has a file of its own.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import aiohttp

from trunkline.auth.doors import Credentials, Grant
from trunkline.client import results, rounds
from trunkline.client.cache import Cache
from trunkline.client.changes import Change, follow
from trunkline.client.connection import Connection
from trunkline.client.credentials import credentials
from trunkline.client.eras import Approach, EraMemory
from trunkline.client.inputs import Elicit, Handlers, Roots, Sample
from trunkline.client.outputs import Outputs
from trunkline.client.peer import MAXIMUM, TIMEOUT, Greeting, Peer
from trunkline.client.reports import OnLog, OnProgress, notifications, tell
from trunkline.client.results import CallResult, Completion, Prompt, PromptResult, ReadResult, Resource, Template, Tool
from trunkline.client.targets import TargetLike, resolve
from trunkline.client.tasks import TaskHandle, Tasks
from trunkline.errors import InvalidAnswer, RemoteError, ToolError, TransportError
from trunkline.extensions.tasks.names import KEY
from trunkline.extensions.tasks.polling import honours_keys
from trunkline.protocol.messages import LOG_LEVEL_KEY
from trunkline.protocol.revisions import LOG_LEVELS, Era

JsonObject = dict[str, object]
T = TypeVar("T")
_log = logging.getLogger("trunkline.client")
_MAX_PAGES = 1000


class Client:
    """A client of one MCP server.

    Parameters:
        target: a URL, a command line, a command as a list, a Python file, or a `Server` of this process.
        elicit, sample, roots, open_url: what the server may ask for, see `Handlers`; declared only when given.
        log: takes the server's log messages; log_level: from which level on.
        timeout: seconds a request may go without a sign of life; maximum: seconds it may take in all.
        headers: HTTP headers sent with every request.
        auth: how to sign in where an HTTP server wants that: a grant such as `SignIn()`, credentials such as
            `OAuth(SignIn(), dpop="required")`, or a token as text.
        env, cwd, on_stderr: for commands, see `StdioLink`.
        name, version: how this client introduces itself.
        era: "modern" or "legacy" to skip finding out. memory: eras known already, to share between clients.
        session: an aiohttp session to share, from `new_session`.
        rounds: how often a server may ask for input during one request.

    Errors: `ToolError` from a tool, `RemoteError` from the server, `TransportError` and `RequestTimeout` from the way
    there, `InvalidAnswer` when the server breaks the protocol. All are `TrunklineError`.

        async with Client("http://127.0.0.1:8808/mcp") as client:
            print((await client.call("add", a=1, b=2)).data)
    """

    def __init__(
        self,
        target: TargetLike,
        *,
        elicit: Elicit | None = None,
        sample: Sample | None = None,
        roots: Roots | None = None,
        open_url: Elicit | None = None,
        log: OnLog | None = None,
        log_level: str = "info",
        timeout: float = TIMEOUT,
        maximum: float = MAXIMUM,
        headers: Mapping[str, str] | None = None,
        auth: Credentials | Grant | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        on_stderr: Callable[[str], None] | None = None,
        name: str = "trunkline",
        version: str = "",
        era: Era | None = None,
        memory: EraMemory | None = None,
        session: aiohttp.ClientSession | None = None,
        rounds: int = 10,
    ) -> None:
        if log_level not in LOG_LEVELS:
            raise ValueError(f"{log_level!r} is not a log level; use one of {', '.join(LOG_LEVELS)}")
        self._handlers = Handlers(elicit, sample, roots, open_url)
        self._log = log
        self._log_level = log_level
        self._timeout = timeout
        self._maximum = maximum
        self._rounds = rounds
        self._cache = Cache()
        self._outputs = Outputs()
        resolved = resolve(target, headers=headers, env=env, cwd=cwd, on_stderr=on_stderr, session=session)
        approach = Approach(
            Greeting({"name": name, "version": version or own_version()}, self._handlers.capabilities(), tasks=True),
            memory or EraMemory(),
            on_request=self._handlers.answer,
            on_event=self._event,
            timeout=timeout,
            era=era,
            credentials=credentials(auth, resolved, headers),
        )
        self.connection = Connection(resolved, approach, self._ready)
        self._tasks = Tasks(self.connection, self._handlers.answer, timeout, maximum, rounds)

    def __repr__(self) -> str:
        return f"<Client {self.connection.target.name}>"

    async def __aenter__(self) -> Self:
        try:
            await self.connection.peer()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection, and the process of a command."""
        await self.connection.close()

    async def server(self) -> results.ServerInfo:
        """What the server says of itself: name, era, revision, capabilities, instructions."""
        peer = await self.connection.peer()
        info = peer.server_info
        return results.ServerInfo(
            str(info.get("name", "")),
            str(info.get("version", "")),
            peer.era,
            peer.revision,
            peer.capabilities,
            peer.instructions,
            info,
        )

    async def discover(self) -> JsonObject:
        """The `server/discover` result; for a legacy server, what `initialize` told, in the same form."""
        peer = await self.connection.peer()
        if peer.era == "modern":
            return await self.request("server/discover", {})
        facts: JsonObject = {"supportedVersions": [peer.revision], "capabilities": peer.capabilities}
        return facts if peer.instructions is None else {**facts, "instructions": peer.instructions}

    async def ping(self) -> None:
        """Ask for a sign of life. Raises when none comes."""
        peer = await self.connection.peer()
        method = "ping" if peer.era == "legacy" else "server/discover"
        await self.connection.request(method, {}, timeout=self._timeout, maximum=self._maximum, repeatable=True)

    async def tools(self) -> list[Tool]:
        """All tools. Over HTTP those with `x-mcp-header` annotations that are not allowed are left out."""
        tools = await self._list("tools/list", "tools", Tool)
        self._outputs.learn(tools)
        return tools

    async def resources(self) -> list[Resource]:
        """All resources."""
        return await self._list("resources/list", "resources", Resource)

    async def templates(self) -> list[Template]:
        """All resource templates."""
        return await self._list("resources/templates/list", "resourceTemplates", Template)

    async def prompts(self) -> list[Prompt]:
        """All prompts."""
        return await self._list("prompts/list", "prompts", Prompt)

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        timeout: float | None = None,
        progress: OnProgress | None = None,
        log: OnLog | None = None,
        meta: Mapping[str, object] | None = None,
        check: bool = True,
        idempotency_key: str | None = None,
        **more: object,
    ) -> CallResult:
        """Call a tool. A task that the server makes of it is waited for, and cancelled when the caller is.

        Parameters:
            arguments: as a mapping, as keywords, or both; one named like a parameter below goes into the mapping.
            timeout: seconds without a sign of life, instead of the client's.
            progress: takes progress reports; of a task, what the server says of it. log: takes log messages.
            meta: keys for `_meta`.
            check: raise `ToolError` when the tool failed; False returns the result with `is_error`.
            idempotency_key: a call with the same key and arguments finds the task of the first, where the server has
                such keys; a call that is lost is then sent again.

            result = await client.call("search", query="trunk", limit=3)
            print(result.text)
        """
        params: JsonObject = {"name": tool, "arguments": {**(arguments or {}), **more}}
        raw = await self._tool(params, idempotency_key, meta, timeout=timeout, progress=progress, log=log)
        return self._called(tool, raw, check)

    async def start(
        self,
        tool: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        timeout: float | None = None,
        progress: OnProgress | None = None,
        log: OnLog | None = None,
        meta: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        **more: object,
    ) -> TaskHandle:
        """Call a tool and do not wait for a task that the server makes of it.

        Parameters as in `call`. A server that answers at once gives a handle that is done.

            handle = await client.start("report", year=2026)
            result = await handle.result()
        """
        params: JsonObject = {"name": tool, "arguments": {**(arguments or {}), **more}}
        raw = await self._tool(params, idempotency_key, meta, timeout=timeout, progress=progress, log=log, follow=False)
        return await self._tasks.handle(raw, partial(self._called, tool))

    async def resume(self, task_id: str, *, tool: str = "") -> TaskHandle:
        """Come back to a task, by the id of its handle, from any process.

        Parameters:
            tool: whose result it is, to hold it to the tool's output schema.

        Raises `TaskExpired` when it is gone, `RemoteError` when the server knows no such task.

            handle = await client.resume(id)
            print((await handle.result()).text)
        """
        return await self._tasks.resume(task_id, partial(self._called, tool))

    async def _tool(
        self,
        params: JsonObject,
        key: str | None,
        meta: Mapping[str, object] | None,
        *,
        timeout: float | None,
        progress: OnProgress | None,
        log: OnLog | None,
        follow: bool = True,
    ) -> JsonObject:
        # A server that does not say so would remember nothing, and the call would only seem safe to send again.
        keyed = key is not None and await self._has_keys()
        repeatable = keyed or self._outputs.repeatable(str(params["name"]))
        return await self.request(
            "tools/call",
            params,
            timeout=timeout,
            progress=progress,
            log=log,
            meta={**(meta or {}), KEY: key} if keyed else meta,
            repeatable=repeatable,
            follow=follow,
        )

    def _called(self, tool: str, raw: JsonObject, check: bool) -> CallResult:
        result = results.call_result(raw, f"The tool {tool}" if tool else "The tool")
        if result.is_error and check:
            raise ToolError(result.text or f"The tool {tool} failed without saying why")
        self._outputs.check(tool, result)
        return result

    async def _has_keys(self) -> bool:
        return honours_keys((await self.connection.peer()).capabilities)

    async def read(
        self, uri: str, *, timeout: float | None = None, meta: Mapping[str, object] | None = None
    ) -> ReadResult:
        """Read a resource."""
        raw = await self.request("resources/read", {"uri": uri}, timeout=timeout, meta=meta)
        return results.read_result(raw, f"The resource {uri}")

    async def prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        /,
        *,
        timeout: float | None = None,
        meta: Mapping[str, object] | None = None,
        **more: str,
    ) -> PromptResult:
        """Fill in a prompt; arguments as a mapping, as keywords, or both."""
        params: JsonObject = {"name": name, "arguments": {**(arguments or {}), **more}}
        raw = await self.request("prompts/get", params, timeout=timeout, meta=meta)
        return results.prompt_result(raw, f"The prompt {name}")

    async def complete(
        self,
        argument: str,
        value: str,
        *,
        prompt: str | None = None,
        template: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> Completion:
        """Suggestions for an argument of a prompt, or of a resource template.

        Parameters:
            argument, value: the argument's name and what has been typed so far.
            prompt, template: whose argument it is, the prompt's name or the URI template.
            context: arguments decided already.
        """
        if (prompt is None) == (template is None):
            raise ValueError("complete() needs either prompt or template")
        ref: JsonObject = (
            {"type": "ref/prompt", "name": prompt} if template is None else {"type": "ref/resource", "uri": template}
        )
        params: JsonObject = {"ref": ref, "argument": {"name": argument, "value": value}}
        if context:
            params["context"] = {"arguments": dict(context)}
        raw = await self.request("completion/complete", params)
        return results.convert(raw.get("completion"), Completion, "The completion")

    def changes(self) -> AsyncGenerator[Change, None]:
        """Changes of the lists of tools, prompts and resources; see `listen`."""
        return self.listen(tools=True, prompts=True, resources=True)

    def listen(
        self,
        *uris: str,
        tools: bool = False,
        prompts: bool = False,
        resources: bool = False,
        on_ready: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Change, None]:
        """Changes, for as long as one iterates; a lost connection is made again and listened on again.

        Parameters:
            uris: resources whose updates are wanted. tools, prompts, resources: whether changes of these lists are.
            on_ready: called once, when the server has confirmed: every change from then on is told.

            async for change in client.listen("file:///notes.txt", tools=True):
                print(change.kind, change.uri)
        """
        wanted: JsonObject = {}
        for key, asked in (("tools", tools), ("prompts", prompts), ("resources", resources)):
            if asked:
                wanted[f"{key}ListChanged"] = True
        if uris:
            wanted["resourceSubscriptions"] = list(uris)
        return follow(self.connection, wanted, self._cache.notice, on_ready)

    async def request(
        self,
        method: str,
        params: Mapping[str, object],
        *,
        timeout: float | None = None,
        progress: OnProgress | None = None,
        log: OnLog | None = None,
        meta: Mapping[str, object] | None = None,
        repeatable: bool = True,
        follow: bool = True,
    ) -> JsonObject:
        """Send any request, with caching, input rounds and tasks; returns the untyped result.

        Parameters:
            repeatable: whether it may be sent again when the connection broke and it may have run.
            follow: wait for the result of a call that the server makes a task of; False returns the task as created.
            others: as in `call`.
        """
        kept = self._cache.get(method, params)
        if kept is not None:
            return kept
        stamped = {**params, **self._meta(method, params, meta, progress, log)}

        async def send(attempt: JsonObject) -> JsonObject:
            return await self.connection.request(
                method,
                attempt,
                timeout=timeout or self._timeout,
                maximum=self._maximum,
                repeatable=repeatable,
                on_notification=notifications(progress, log or self._log, self._log_level),
            )

        result = await rounds.complete(method, stamped, send, self._handlers.answer, self._rounds)
        plain = {key: results.plain(value) for key, value in result.items()}
        if plain.get("resultType") == "task" and follow:
            return await self._tasks.complete(plain, progress)
        self._cache.put(method, params, plain)
        return plain

    def _meta(
        self,
        method: str,
        params: Mapping[str, object],
        meta: Mapping[str, object] | None,
        progress: OnProgress | None,
        log: OnLog | None,
    ) -> JsonObject:
        given = params.get("_meta")
        merged: JsonObject = {**(given if isinstance(given, Mapping) else {}), **(meta or {})}
        if progress is not None or method == "tools/call":
            # Progress counts as a sign of life, so a call asks for it even if nobody is told.
            merged.setdefault("progressToken", 1)
        if log is not None or self._log is not None:
            merged.setdefault(LOG_LEVEL_KEY, self._log_level)
        return {"_meta": merged} if merged else {}

    async def _list(self, method: str, key: str, kind: type[T]) -> list[T]:
        found: list[T] = []
        params: JsonObject = {}
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            result = await self.request(method, params)
            page, cursor = result.get(key), result.get("nextCursor")
            if not isinstance(page, list):
                raise InvalidAnswer(f"The server answered {method} without a list of {key}")
            found += [results.item(kind, entry, method) for entry in page]
            if cursor is None:
                return found
            if not isinstance(cursor, str) or cursor in seen:
                raise InvalidAnswer(f"The server answered {method} with a cursor that leads nowhere")
            seen.add(cursor)
            params = {"cursor": cursor}
        raise InvalidAnswer(f"The server answered {method} with more than {_MAX_PAGES} pages")

    async def _ready(self, peer: Peer) -> None:
        """A legacy server is told the log level once; a modern one with every request."""
        self._cache.clear()
        if self._log is None or peer.era == "modern" or "logging" not in peer.capabilities:
            return
        try:
            await peer.request("logging/setLevel", {"level": self._log_level}, timeout=self._timeout)
        except (RemoteError, TransportError) as error:
            _log.info("%s does not take a log level: %s", self.connection.target.name, error)

    async def _event(self, method: str, params: JsonObject) -> None:
        """A notification that belongs to no request."""
        self._cache.notice(method, params)
        if method == "notifications/message" and self._log is not None:
            await tell(self._log, params, self._log_level)


def own_version() -> str:
    """The installed version of trunkline."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trunkline")
    except PackageNotFoundError:
        return "0"
