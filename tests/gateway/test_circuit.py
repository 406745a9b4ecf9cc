"""The circuit of one upstream: when calls fail at once, and what lets them through again."""

import asyncio

import pytest

from trunkline.errors import (
    HttpFailure,
    InvalidAnswer,
    RemoteError,
    RequestTimeout,
    TransportError,
    UpstreamUnavailable,
)
from trunkline.gateway.circuit import Circuit


class Bench:
    def __init__(self):
        self.now = 100.0
        self.circuit = Circuit("up", 3, 5.0, lambda: self.now)

    def call(self, error=None):
        with self.circuit:
            if error is not None:
                raise error

    def fail(self, error=None):
        with pytest.raises(TransportError):
            self.call(error or RequestTimeout("nothing"))

    def refused(self):
        with pytest.raises(UpstreamUnavailable, match="upstream up does not answer") as failure:
            self.call()
        return failure.value.data["dev.trunkline/retryAfterMs"]

    def open(self):
        for _ in range(3):
            self.fail()
        assert self.circuit.state == "open"


def test_it_opens_after_failures_in_a_row():
    bench = Bench()
    bench.fail()
    bench.fail()
    bench.call()
    bench.open()
    assert bench.refused() == 5000


@pytest.mark.parametrize("limit", ["total", "deadline"])
def test_a_server_that_sent_something_all_the_time_is_there(limit):
    bench = Bench()
    for _ in range(5):
        bench.fail(RequestTimeout("long", limit, silent=False))
    assert bench.circuit.state == "closed"
    for _ in range(3):
        bench.fail(RequestTimeout("long", limit))
    assert bench.circuit.state == "open"


def test_the_probe_that_is_answered_closes_it():
    bench = Bench()
    bench.open()
    bench.now += 5
    with bench.circuit:
        assert bench.circuit.state == "half_open"
        bench.refused()  # one at a time
    assert bench.circuit.state == "closed"
    bench.call()


def test_a_probe_that_fails_opens_it_for_longer():
    bench = Bench()
    bench.open()
    for wait in (10_000, 20_000, 40_000, 40_000):
        bench.now += 100
        bench.fail()
        assert bench.refused() == wait


def test_a_probe_that_takes_its_time_does_not_keep_others_out():
    bench = Bench()
    bench.open()
    bench.now += 5
    with bench.circuit:
        bench.now += 5
        bench.call()
        assert bench.circuit.state == "closed"


def test_a_probe_that_is_cancelled_leaves_its_turn_to_the_next():
    bench = Bench()
    bench.open()
    bench.now += 5
    with pytest.raises(asyncio.CancelledError):
        bench.call(asyncio.CancelledError())
    bench.call()
    assert bench.circuit.state == "closed"


@pytest.mark.parametrize(
    "error", [RemoteError(-1, "no"), InvalidAnswer("what"), HttpFailure("busy", 429, {}), ValueError("ours")]
)
def test_an_upstream_that_says_something_is_there(error):
    bench = Bench()
    for _ in range(10):
        with pytest.raises(type(error)):
            bench.call(error)
    assert bench.circuit.state == "closed"


def test_a_gateway_in_front_of_it_that_finds_nobody_is_silence():
    bench = Bench()
    for _ in range(3):
        bench.fail(HttpFailure("bad gateway", 502, {}))
    bench.refused()
