"""How a function waits for a person: re-run with recorded answers, sealed to who asked what."""

from collections.abc import Callable

import pytest

from tests.engine.conftest import Recorder
from trunkline.engine.context import ROOTS, Context, elicitation, sampling
from trunkline.engine.doors import Extension, Result
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.errors import InternalError, InvalidParams, MissingCapability

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ALICE = {"action": "accept", "content": {"name": "Alice"}}
ANN = Principal("https://issuer.example", "ann")
BOB = Principal("https://issuer.example", "bob")

EngineOf = Callable[..., Engine]
RequestOf = Callable[..., Context]


async def greet(context: Context) -> Result:
    answer = await context.elicit("Your name?", NAME, key="user_name")
    return {"content": [{"type": "text", "text": f"Hello, {answer.content['name']}!"}]}


def retry(first: Result, answers: dict[str, object], **params: object) -> dict[str, object]:
    return {"name": "add", **params, "requestState": first["requestState"], "inputResponses": answers}


async def test_a_question_is_asked_once_and_the_function_runs_again_with_the_answer(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    engine = engine_of(greet)

    first = await engine.handle(request_of())
    second = await engine.handle(request_of(params=retry(first, {"user_name": ALICE})))

    assert first["resultType"] == "input_required"
    assert first["inputRequests"] == {
        "user_name": {
            "method": "elicitation/create",
            "params": {"mode": "form", "message": "Your name?", "requestedSchema": NAME},
        }
    }
    assert second["resultType"] == "complete"
    assert second["content"] == [{"type": "text", "text": "Hello, Alice!"}]


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"other": ALICE},
        {"user_name": 12345},
        {"user_name": {"action": "accept", "content": {"name": 5}}},
        {"user_name": {"action": "accept"}},
        {"user_name": {"action": "shrug"}},
        None,
    ],
)
async def test_what_is_no_answer_is_asked_again(engine_of: EngineOf, request_of: RequestOf, answers: object) -> None:
    engine = engine_of(greet)
    first = await engine.handle(request_of())

    second = await engine.handle(request_of(params={**retry(first, {}), "inputResponses": answers}))

    assert second["resultType"] == "input_required"
    assert list(second["inputRequests"]) == ["user_name"]


async def test_a_legacy_client_is_asked_while_its_call_is_open(engine_of: EngineOf, request_of: RequestOf) -> None:
    exchange = Recorder(interactive=True, answers={"user_name": ALICE})

    result = await engine_of(greet).handle(request_of(revision="2025-11-25", exchange=exchange))

    assert result == {"content": [{"type": "text", "text": "Hello, Alice!"}]}


async def test_several_things_are_asked_in_one_round(engine_of: EngineOf, request_of: RequestOf) -> None:
    async def ask(context: Context) -> Result:
        answers = await context.ask({"a": elicitation("?", NAME), "b": sampling("Say hi"), "c": ROOTS})
        return {"content": [], "structuredContent": {key: sorted(value) for key, value in answers.items()}}

    engine = engine_of(ask)
    first = await engine.handle(request_of())
    partly = await engine.handle(request_of(params=retry(first, {"a": ALICE})))
    rest = {"b": {"role": "assistant", "content": {"type": "text", "text": "hi"}}, "c": {"roots": []}}
    last = await engine.handle(request_of(params=retry(partly, rest)))

    assert sorted(first["inputRequests"]) == ["a", "b", "c"]
    assert sorted(partly["inputRequests"]) == ["b", "c"]
    assert last["structuredContent"] == {"a": ["action", "content"], "b": ["content", "role"], "c": ["roots"]}


async def test_a_step_is_computed_once_over_all_rounds(engine_of: EngineOf, request_of: RequestOf) -> None:
    ran: list[str] = []

    async def order(context: Context) -> Result:
        number = await context.step("order", lambda key: ran.append(key) or len(ran))
        await context.elicit("Sure?", {"type": "object", "properties": {}}, key="sure")
        again = await context.step("ship", lambda key: ran.append(key) or len(ran))
        return {"content": [], "structuredContent": {"order": number, "ship": again}}

    engine = engine_of(order)
    first = await engine.handle(request_of())
    second = await engine.handle(request_of(params=retry(first, {"sure": {"action": "accept", "content": {}}})))

    assert second["structuredContent"] == {"order": 1, "ship": 2}
    assert len(set(ran)) == 2


async def test_the_idempotency_key_is_the_same_when_a_round_is_repeated(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    keys: list[str] = []

    async def order(context: Context) -> Result:
        await context.elicit("Sure?", {"type": "object", "properties": {}}, key="sure")
        await context.step("order", lambda key: keys.append(key))
        return {"content": []}

    engine = engine_of(order)
    first = await engine.handle(request_of())
    again = retry(first, {"sure": {"action": "accept"}})
    await engine.handle(request_of(params=again))
    await engine.handle(request_of(params=again))
    other = await engine.handle(request_of())
    await engine.handle(request_of(params=retry(other, {"sure": {"action": "accept"}})))

    assert keys[0] == keys[1] != keys[2]


async def test_a_decline_reaches_the_author(engine_of: EngineOf, request_of: RequestOf) -> None:
    async def ask(context: Context) -> Result:
        return {"content": [], "structuredContent": {"accepted": (await context.elicit("?", NAME, key="q")).accepted}}

    engine = engine_of(ask)
    first = await engine.handle(request_of())
    second = await engine.handle(request_of(params=retry(first, {"q": {"action": "decline"}})))

    assert second["structuredContent"] == {"accepted": False}


@pytest.mark.parametrize(
    "change",
    [
        {"principal": BOB},
        {"params_name": "sub"},
        {"arguments": {"x": 2}},
        {"tampered": True},
    ],
)
async def test_state_is_useless_elsewhere(
    engine_of: EngineOf, request_of: RequestOf, change: dict[str, object]
) -> None:
    engine = engine_of(greet)
    first = await engine.handle(request_of(params={"name": "add", "arguments": {"x": 1}}, principal=ANN))
    params = retry(first, {"user_name": ALICE}, arguments=change.get("arguments", {"x": 1}))
    params["name"] = change.get("params_name", "add")
    if "tampered" in change:
        params["requestState"] = f"{params['requestState']}-TAMPERED"

    with pytest.raises(InvalidParams, match="requestState is not valid"):
        await engine.handle(request_of(params=params, principal=change.get("principal", ANN)))


async def test_state_expires(engine_of: EngineOf, request_of: RequestOf) -> None:
    engine = engine_of(greet, round_life=-1)
    first = await engine.handle(request_of())

    with pytest.raises(InvalidParams, match="has expired"):
        await engine.handle(request_of(params=retry(first, {"user_name": ALICE})))


async def test_arguments_written_in_another_order_are_the_same_request(
    engine_of: EngineOf, request_of: RequestOf
) -> None:
    engine = engine_of(greet)
    first = await engine.handle(request_of(params={"name": "add", "arguments": {"x": 1, "y": 2}}))

    second = await engine.handle(request_of(params=retry(first, {"user_name": ALICE}, arguments={"y": 2, "x": 1})))

    assert second["resultType"] == "complete"


@pytest.mark.parametrize("capabilities", [{}, {"sampling": {}}, {"elicitation": {"url": {}}}])
async def test_what_the_client_did_not_declare_is_not_asked(
    engine_of: EngineOf, request_of: RequestOf, capabilities: dict[str, object]
) -> None:
    with pytest.raises(MissingCapability) as raised:
        await engine_of(greet).handle(request_of(capabilities=capabilities))

    assert raised.value.data == {"requiredCapabilities": {"elicitation": {}}}


async def test_an_author_s_except_does_not_swallow_a_question(engine_of: EngineOf, request_of: RequestOf) -> None:
    async def careless(context: Context) -> Result:
        try:
            return await greet(context)
        except Exception:
            return {"content": []}

    assert (await engine_of(careless).handle(request_of()))["resultType"] == "input_required"


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_asking_nothing_answers_nothing(request_of: RequestOf, revision: str) -> None:
    assert await request_of(revision=revision, exchange=Recorder(interactive=True)).ask({}) == {}


async def test_where_the_protocol_has_no_rounds_none_is_begun(engine_of: EngineOf, request_of: RequestOf) -> None:
    engine = engine_of(greet, extensions=[Extension("example.com/greeting", methods={"greeting/ask": greet})])

    with pytest.raises(InternalError):
        await engine.handle(request_of("greeting/ask"))
