"""Fetching what another party named: real sockets, and every bound."""

import gzip
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.auth.web import endless, serving
from trunkline.auth.addresses import AddressRules
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.fetching import Fetcher
from trunkline.errors import AddressRefused, InvalidAnswer, TransportError

LOCAL = AddressRules.around("http://127.0.0.1/mcp")


class Names(AbstractResolver):
    """A name server that answers each question with the next of its answers."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer."""
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.answers.pop(0)
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_document_is_fetched_and_read() -> None:
    async with serving() as site:
        site.says("/meta", {"issuer": "https://idp.example.com", "unknown": 1, "token_endpoint": None})
        metadata = (await Fetcher(LOCAL).get(f"{site.url}/meta")).read(ServerMetadata)
    assert metadata == ServerMetadata(issuer="https://idp.example.com")


async def test_a_name_is_connected_to_at_the_address_that_was_checked() -> None:
    rules = AddressRules.around(None, allow=["127.0.0.2/32", "http://unlisted.example:1"])
    async with serving("127.0.0.2") as good, serving("127.0.0.1", good.port) as inner:
        good.says("/x", {"issuer": "good"})
        inner.says("/x", {"issuer": "inner"})
        # Allowed at first, then on loopback: a second look-up would be the attack.
        names = Names(["127.0.0.2"], ["127.0.0.1"])
        url = f"http://rebind.example:{good.port}/x"
        fetcher = Fetcher(_plain(rules, url), resolver=names)
        fetched = await fetcher.get(url)
        with pytest.raises(AddressRefused):
            await fetcher.get(url)
        assert (fetched.read(ServerMetadata).issuer, inner.asked) == ("good", [])
        assert good.hosts == [f"rebind.example:{good.port}"]


def _plain(rules: AddressRules, url: str) -> AddressRules:
    """The rules with plain HTTP allowed by name alone, so that the address decides."""

    class Plain(AddressRules, frozen=True):
        def _plain(self, target: object, host: str) -> bool:
            return True

    return Plain(networks=rules.networks)


async def test_of_several_addresses_only_those_that_are_allowed_are_tried() -> None:
    async with serving("127.0.0.2") as good, serving("127.0.0.1", good.port) as inner:
        good.says("/x", {"issuer": "good"})
        url = f"http://both.example:{good.port}/x"
        rules = _plain(AddressRules.around(None, allow=["127.0.0.2/32"]), url)
        await Fetcher(rules, resolver=Names(["127.0.0.1", "127.0.0.2"])).get(url)
        assert (len(good.asked), inner.asked) == (1, [])


async def test_a_redirect_is_followed_inside_the_origin_only() -> None:
    async with serving() as site, serving() as other:

        async def inside(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound("/there")

        async def outside(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(f"{other.url}/there?token=s3cret")

        async def circle(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound("/circle")

        site.answers |= {"/inside": inside, "/outside": outside, "/circle": circle}
        site.says("/there", {"issuer": "x"})
        fetcher = Fetcher(LOCAL)
        assert (await fetcher.get(f"{site.url}/inside")).status == 200
        with pytest.raises(AddressRefused, match="another origin") as refusal:
            await fetcher.get(f"{site.url}/outside")
        with pytest.raises(InvalidAnswer, match="circle"):
            await fetcher.get(f"{site.url}/circle")
        assert other.asked == []
        assert "s3cret" not in str(refusal.value)
        # What is posted is a secret: it goes nowhere else, not even inside the origin.
        assert (await fetcher.post(f"{site.url}/inside", {"code": "x"})).status == 302


async def test_an_answer_is_bounded_in_size_and_time() -> None:
    async with serving() as site:
        site.answers["/endless"] = endless

        async def bomb(request: web.Request) -> web.StreamResponse:
            return web.Response(body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"})

        async def slow(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"{")
            await request.content.read()
            import asyncio

            await asyncio.sleep(30)
            return response

        site.answers |= {"/bomb": bomb, "/slow": slow}
        with pytest.raises(InvalidAnswer, match="more than 100000 bytes"):
            await Fetcher(LOCAL, limit=100_000).get(f"{site.url}/endless")
        with pytest.raises(InvalidAnswer, match="compressed"):
            await Fetcher(LOCAL).get(f"{site.url}/bomb")
        with pytest.raises(TransportError, match="did not answer"):
            await Fetcher(LOCAL, seconds=0.3).get(f"{site.url}/slow")


async def test_nothing_is_connected_to_what_is_refused() -> None:
    async with serving() as site:
        fetcher = Fetcher(AddressRules.around("https://mcp.example.com/mcp"))
        for url in (site.url, f"http://localhost:{site.port}/", f"https://localhost:{site.port}/"):
            with pytest.raises(AddressRefused):
                await fetcher.get(url)
        assert site.asked == []


async def test_who_is_not_there_is_said_without_what_the_address_holds() -> None:
    with pytest.raises(TransportError, match="Cannot connect") as failure:
        await Fetcher(LOCAL).post("http://127.0.0.1:1/token?code=s3cret", {"secret": "s3cret"})
    assert "s3cret" not in str(failure.value)
    assert not failure.value.delivered
