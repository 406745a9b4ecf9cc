"""The official clients complete tools that are tasks, of which they know nothing, in both eras."""

from collections.abc import Iterator

import pytest

from tests.interop import running
from tests.interop.expectations import expected
from tests.interop.pairs import MODERN, Pair, client_command

PAIRS = [
    Pair("python-sdk", "trunkline", "modern", MODERN, "http"),
    Pair("python-sdk", "trunkline", "2025-11-25", "2025-11-25", "http"),
    Pair("python-sdk", "trunkline", "2025-06-18", "2025-06-18", "http"),
    Pair("typescript", "trunkline", "modern", MODERN, "http"),
    Pair("typescript", "trunkline", "2025-11-25", "2025-11-25", "http"),
    Pair("typescript-v1", "trunkline", "legacy", "2025-11-25", "http"),
]
DURABLE = ("add", "fail", "where", "greet", "confirm", "order", "think", "shelves")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running.serving(running.ours("workshop", "--http", "--tasks")) as url:
        yield url


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_client_sees_of_a_task_what_it_sees_of_a_call(pair: Pair, url: str) -> None:
    seen = running.observe([*client_command(pair.client, pair.mode), url])

    assert {step: seen[step] for step in DURABLE} == {step: expected(pair, step) for step in DURABLE}
    assert seen["listen"] == expected(pair, "listen") and seen["after"] == expected(pair, "after")
