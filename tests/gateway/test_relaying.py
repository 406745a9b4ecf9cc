"""What of a request goes up, and what of the upstream's side comes down, whatever it says."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.callers import Caller
from tests.gateway.upstreams import federated, workshop
from trunkline import Server
from trunkline.client.patience import Patience
from trunkline.engine.context import Context
from trunkline.engine.principal import ANONYMOUS
from trunkline.engine.rounds import InputRequired
from trunkline.errors import InvalidAnswer, InvalidParams
from trunkline.gateway.relaying import Relay
from trunkline.protocol.messages import Params
from trunkline.protocol.revisions import R_2026_07_28

KEYS = ["inputRequests", "requestState", "method", "params", "progress", "level", "data", "logger", "mode", "a"]
anything = st.recursive(
    st.sampled_from(["elicitation/create", "roots/list", "info", "url", None, 3, 0.5, True]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(st.sampled_from(KEYS), anything, max_size=5)


def relay() -> Relay:
    capabilities = {"elicitation": {}, "roots": {}}
    context = Context(1, "tools/call", Params(), R_2026_07_28, ANONYMOUS, Caller(None), capabilities, log_level="debug")
    return Relay(context, Patience(60, 60))


@given(objects)
async def test_questions_of_any_shape_are_carried_or_refused(result):
    with contextlib.suppress(InvalidAnswer, InputRequired):
        await relay().answers(result, {})


@given(st.sampled_from(["notifications/progress", "notifications/message", "notifications/odd"]), objects)
async def test_notifications_of_any_shape_are_carried_or_dropped(method, params):
    one = relay()
    await one.on_notification(method, params)
    for heard in one.context.exchange.heard:
        assert heard["method"] == method
        assert "progress" in heard["params"] or heard["params"]["level"]


async def test_a_question_for_a_page_reaches_a_client_that_only_opens_pages():
    server = Server("s")

    @server.tool
    async def pay(context: Context) -> str:
        return (await context.elicit("Pay here", url="https://pay.example")).action

    async with federated({"s": server}) as (_, engine, _local):
        answers = {"elicitation/create": {"action": "accept"}}
        caller = Caller(engine, capabilities={"elicitation": {"url": {}}}, answers=answers)
        assert (await caller.call("s__pay"))["content"][0]["text"] == "accept"
        assert caller.asked[0].params["url"] == "https://pay.example"


async def test_a_legacy_person_who_does_not_answer_is_no_fault_of_the_gateway():
    async with federated({"s": workshop()}) as (_, engine, _local):
        caller = Caller(engine, "2025-11-25", capabilities={"elicitation": {}}, answers={})
        with pytest.raises(InvalidParams, match="was not given"):
            await caller.call("s__order", item="hats")
        assert (await caller.call("s__add", a=1, b=2))["content"][0]["text"] == "3"
