"""Every named hostile case gets the class of answer the standard asks for."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fuzz import corpus, oracle
from tests.fuzz.calling import Outcome, call
from tests.fuzz.exchange import Connection
from tests.fuzz.requests import Case
from tests.fuzz.running import Target, http_target
from tests.fuzz.upstream import http_upstream
from trunkline import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[Target]:
    async with http_target() as running:
        yield running


def among(value: object, expected: object) -> bool:
    return value in expected if isinstance(expected, list) else value == expected


@pytest.mark.parametrize("case", corpus.load("http"), ids=lambda case: case["name"])
async def test_a_bad_message_is_refused_in_the_words_of_the_standard(target: Target, case: dict):
    expect = case["expect"]
    async with Connection(target.port) as connection:
        answer = await connection.ask(corpus.request_of(case))
    assert list(oracle.response(answer)) == []
    assert target.trouble() == []
    assert among(answer.status, expect["status"]), answer
    messages = list(oracle.decoded(answer))
    if "code" in expect:
        assert among(messages[0]["error"]["code"], expect["code"]), answer
        assert messages[0].get("id") == expect.get("id")
    elif "id" in expect:
        assert "result" in messages[0]
        assert messages[0]["id"] == expect["id"]


@pytest.mark.parametrize("case", corpus.load("framing"), ids=lambda case: case["name"])
async def test_bad_framing_is_refused_and_the_connection_closed(target: Target, case: dict):
    expect = case["expect"]
    async with Connection(target.port) as connection:
        answers = await connection.play(Case(case["name"], [corpus.part(piece) for piece in case["raw"]]))
    for answer in answers:
        assert list(oracle.response(answer)) == []
    assert target.trouble() == []
    statuses = [answer.status for answer in answers]
    if "first" in expect:
        assert statuses[0] in expect["first"]
    else:
        assert all(status in expect["statuses"] for status in statuses), answers
        assert bool(statuses) == bool(expect["statuses"])


async def test_the_server_lives_on(target: Target):
    assert target.alive


@pytest.mark.parametrize("case", corpus.load("answers"), ids=lambda case: case["name"])
async def test_a_bad_answer_of_an_upstream_ends_in_an_error_that_says_so(case: dict):
    def bad(message: dict) -> bytes:
        return corpus.answer_of(case, message["id"])

    outcome = Outcome()
    async with http_upstream(0, bad) as url, Client(url, era="modern", timeout=5) as client:
        await call(client, "bad", 1, outcome)
        assert await call(client, "good", 1, Outcome()) == "2"
    assert outcome.faults == []
    assert among(next(iter(outcome.ends)), case["expect"]), outcome
