"""A server that is asked to stop: streams end with a word, and soon."""

import asyncio
import logging

import aiohttp
import pytest

from tests.transports.fixture import meta, request
from tests.transports.web import Events, Web
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport
from trunkline.transports.serving import Binding, Drain, bind, serving

MODERN = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "subscriptions/listen"}


async def test_open_streams_of_both_eras_do_not_keep_it_from_stopping(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    listener = bind(Binding(port=0))
    async with aiohttp.ClientSession() as http:
        async with serving(HTTPTransport(application), listener, Drain(timeout=60)):
            modern, legacy = (Web(listener.getsockname()[1], http) for _ in range(2))
            wanted = {"notifications": {"toolsListChanged": True}, "_meta": meta()}
            listening = Events(await modern.post(request(7, "subscriptions/listen", wanted), **MODERN))
            assert (await listening.message() or {})["method"] == "notifications/subscriptions/acknowledged"
            await legacy.begin()
            ear = Events(await legacy.get(Accept="text/event-stream"))
            stopping = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - stopping
        assert [message["id"] for message in await listening.rest()] == [7]
        assert await ear.rest() == []
    assert took < 30, "it waited for streams that never end"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_server_whose_place_is_taken_ends_its_connections_with_an_answer_and_stays_ready(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.transports.draining.LINGER", 1.0)
    listener = bind(Binding(port=0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession() as http, serving(HTTPTransport(application), listener) as server:
        answers = await asyncio.gather(*(http.get(f"{base}/livez") for _ in range(2)))
        assert [answer.headers.get("Connection") for answer in answers] == [None, None]
        for answer in answers:
            await answer.read()

        server.retire()

        # Each on one of the two connections that were kept: there are no new ones.
        for _ in range(2):
            async with http.get(f"{base}/readyz") as answer:
                assert (answer.status, answer.headers["Connection"]) == (200, "close")
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{base}/livez")
        await asyncio.wait_for(server.ended, 20)
