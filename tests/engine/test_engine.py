"""Dispatch: what the engine adds, hides and refuses around a provider."""

import logging
from collections.abc import Callable

import pytest

from tests.engine.conftest import Recorder
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Extension, Result
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.errors import Forbidden, InternalError, InvalidParams, MethodNotFound, ToolError

EngineOf = Callable[..., Engine]
RequestOf = Callable[..., Context]

LIMITED = Principal("tokens", "ci", tools=("a*",))


async def done(context: Context) -> Result:
    return {"content": [{"type": "resource_link", "uri": "x://y", "name": "y"}], "structuredContent": {"n": 1}}


async def test_a_modern_result_says_what_it_is_and_who_answered(engine_of: EngineOf, request_of: RequestOf) -> None:
    result = await engine_of(done).handle(request_of())

    assert result["resultType"] == "complete"
    assert result["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "one", "version": "1"}}


async def test_the_provider_s_meta_is_kept(engine_of: EngineOf, request_of: RequestOf) -> None:
    async def tool(context: Context) -> Result:
        return {"content": [], "_meta": {"com.example/x": 1}}

    assert (await engine_of(tool).handle(request_of()))["_meta"]["com.example/x"] == 1


async def test_a_legacy_result_has_nothing_its_revision_does_not_know(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    newest = await engine_of(done).handle(request_of(revision="2025-11-25"))
    oldest = await engine_of(done).handle(request_of(revision="2025-03-26"))

    assert sorted(newest) == ["content", "structuredContent"]
    assert oldest == {"content": [{"type": "text", "text": "y: x://y"}]}


async def test_lists_carry_caching_hints_in_the_modern_era_only(engine_of: EngineOf, request_of: RequestOf) -> None:
    modern = await engine_of(done).handle(request_of("tools/list"))
    legacy = await engine_of(done).handle(request_of("tools/list", revision="2025-11-25"))

    assert (modern["ttlMs"], modern["cacheScope"]) == (0, "private")
    assert sorted(legacy) == ["tools"]


async def test_discover_tells_versions_capabilities_and_instructions(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    result = await engine_of(done).handle(request_of("server/discover"))

    assert result["supportedVersions"] == ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
    assert result["capabilities"] == {"tools": {"listChanged": True}}
    assert result["instructions"] == "Call it."


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such", ""])
async def test_methods_the_modern_era_does_not_have(engine_of: EngineOf, request_of: RequestOf, method: str) -> None:
    with pytest.raises(MethodNotFound):
        await engine_of(done).handle(request_of(method))


async def test_a_crash_tells_no_details_but_the_log_does(
    engine_of: EngineOf, request_of: RequestOf, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(context: Context) -> Result:
        raise RuntimeError("password=hunter2")

    with caplog.at_level(logging.ERROR), pytest.raises(InternalError) as raised:
        await engine_of(crash).handle(request_of())

    assert "hunter2" not in str(raised.value.wire())
    assert "hunter2" in caplog.text


async def test_interceptors_run_outermost_first_around_every_request(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    order: list[str] = []

    def named(name: str) -> Callable[..., object]:
        async def interceptor(context: Context, call_next: CallNext) -> Result:
            order.append(name)
            return await call_next(context)

        return interceptor

    await engine_of(done, interceptors=[named("a"), named("b")]).handle(request_of())

    assert order == ["a", "b"]


async def test_an_extension_adds_methods_and_its_settings(engine_of: EngineOf, request_of: RequestOf) -> None:
    async def answer(context: Context) -> Result:
        return {"seen": True}

    engine = engine_of(done, extensions=[Extension("com.example/x", {"a": 1}, {"x/see": answer})])

    assert (await engine.handle(request_of("x/see")))["seen"] is True
    discovered = await engine.handle(request_of("server/discover"))
    assert discovered["capabilities"]["extensions"] == {"com.example/x": {"a": 1}}


async def test_a_caller_with_a_tool_list_sees_and_calls_only_those(engine_of: EngineOf, request_of: RequestOf) -> None:
    engine = engine_of(done)

    listed = await engine.handle(request_of("tools/list", principal=LIMITED))

    assert [tool["name"] for tool in listed["tools"]] == ["add"]
    assert listed["cacheScope"] == "private"
    await engine.handle(request_of(params={"name": "add"}, principal=LIMITED))
    with pytest.raises(Forbidden):
        await engine.handle(request_of(params={"name": "sub"}, principal=LIMITED))


@pytest.mark.parametrize("method", ["tools/call", "resources/read", "prompts/get"])
async def test_a_request_without_its_subject_is_invalid(
    engine_of: EngineOf, request_of: RequestOf, method: str
) -> None:
    with pytest.raises(InvalidParams):
        await engine_of(done).handle(request_of(method, {"x": 1}))


async def test_an_observer_is_told_every_outcome(engine_of: EngineOf, request_of: RequestOf) -> None:
    seen: list[str] = []

    class Observer:
        def finished(self, context: Context, outcome: str, seconds: float) -> None:
            seen.append(outcome)

    async def tool(context: Context) -> Result:
        if context.params.name == "ask":
            await context.elicit("?")
        return {"content": [], "isError": context.params.name == "bad"}

    engine = engine_of(tool, observer=Observer())
    for name in ("good", "bad", "ask"):
        await engine.handle(request_of(params={"name": name}))
    with pytest.raises(MethodNotFound):
        await engine.handle(request_of("no/such"))

    assert seen == ["ok", "tool_error", "input_required", "method_not_found"]


async def test_progress_is_sent_only_when_asked_for(request_of: RequestOf) -> None:
    quiet, asked = Recorder(), Recorder()

    await request_of(exchange=quiet).progress(1)
    await request_of(params={"_meta": {"progressToken": "t"}}, exchange=asked).progress(1, total=2, message="half")

    assert quiet.sent == []
    params = {"progressToken": "t", "progress": 1, "total": 2, "message": "half"}
    assert asked.sent == [{"jsonrpc": "2.0", "method": "notifications/progress", "params": params}]


@pytest.mark.parametrize(("level", "sent"), [(None, 0), ("error", 1), ("warning", 2), ("debug", 3)])
async def test_log_messages_respect_the_level_of_the_request(
    request_of: RequestOf, level: str | None, sent: int
) -> None:
    exchange = Recorder()
    context = request_of(exchange=exchange, log_level=level)

    for of in ("debug", "warning", "error"):
        await context.log(of, "text")

    assert len(exchange.sent) == sent


async def test_a_client_that_answers_with_an_error_fails_the_tool(request_of: RequestOf) -> None:
    exchange = Recorder(interactive=True, answers={"q": RuntimeError("rejected")})

    with pytest.raises(ToolError, match="rejected"):
        await request_of(revision="2025-11-25", exchange=exchange).elicit("?", key="q")


def test_the_trace_follows_the_caller_s(request_of: RequestOf) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"

    assert request_of(params={"_meta": {"traceparent": parent}}).trace == "0af7651916cd43dd8448eb211c80319c"
    assert len(request_of().trace) == 32
    assert request_of(params={"_meta": {"traceparent": "x\n"}}).trace != "x\n"


FORM = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("content", [{"n": "three"}, [], "n"])
async def test_a_legacy_answer_that_does_not_fit_the_form_fails_the_tool(
    request_of: RequestOf, content: object
) -> None:
    exchange = Recorder(interactive=True, answers={"q": {"action": "accept", "content": content}})

    with pytest.raises(ToolError, match="does not fit"):
        await request_of(revision="2025-11-25", exchange=exchange).elicit("?", FORM, key="q")


async def test_accepting_without_content_is_an_empty_form(request_of: RequestOf) -> None:
    exchange = Recorder(interactive=True, answers={"q": {"action": "accept", "content": None}})

    answer = await request_of(revision="2025-11-25", exchange=exchange).elicit("?", FORM, key="q")

    assert answer.accepted
    assert answer.content == {}
