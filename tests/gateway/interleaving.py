"""Two callers of one gateway, told apart by their tokens, whose requests are mixed at random: nothing crosses over."""

import asyncio
import contextlib
import random
from collections import Counter

import aiohttp

from tests.gateway.callers import until
from tests.gateway.upstreams import Local
from tests.transports.web import served
from trunkline import Client, Context, Server
from trunkline.auth.static import StaticTokens
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.errors import RemoteError
from trunkline.gateway import Federation
from trunkline.gateway.dialling import Dialler
from trunkline.policy.limits import CallLimits, Limiter
from trunkline.portable.model import Entry
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

RIGHTS = {"alice": "alices", "bob": "bobs"}
"""Each caller may call the tools all have, and the one that is called like this."""


def shop(name):
    """An upstream whose answers tell what it was asked."""
    server = Server(name)
    asked = Counter()

    @server.tool
    async def echo(text: str, context: Context) -> str:
        await asyncio.sleep(0)
        await context.progress(1, message=text)
        await context.log("info", text)
        return text

    @server.tool
    async def ask(text: str, context: Context) -> str:
        answer = await context.elicit(text, {"type": "object", "properties": {"who": {"type": "string"}}})
        return f"{text} {answer.content['who']}"

    @server.tool
    async def alices(text: str) -> str:
        return text

    @server.tool
    async def bobs(text: str) -> str:
        return text

    @server.resource("note://{id}", ttl_ms=50, cache_scope="private")
    def note(id: str) -> str:
        asked[id] += 1
        return f"{name} {id} {asked[id]}"

    return server


class Person:
    """One caller with a client of its own, and what it must and must not see."""

    def __init__(self, name, url, era, http):
        self.name = name
        self.others = next(right for who, right in RIGHTS.items() if who != name)
        self.notes: set[str] = set()
        self.logged: list[str] = []
        self.calls = 0
        token = {"Authorization": f"Bearer token-of-{name}"}
        self.client = Client(url, headers=token, era=era, elicit=self.answer, log=self.log, session=http)

    async def answer(self, question, *_):
        assert question.message.startswith(f"{self.name}-")
        return {"who": self.name}

    def log(self, entry):
        self.logged.append(str(entry))

    async def act(self, chance):
        """One request, chosen by chance."""
        self.calls += 1
        upstream = chance.choice(("one", "two", "kept"))
        text = f"{self.name}-{self.calls}"
        await chance.choice((self.echo, self.own, self.foreign, self.read, self.list, self.asked))(upstream, text)

    async def echo(self, upstream, text):
        heard = []

        def progress(done, total, message):
            heard.append(message)

        result = await self.client.call(f"{upstream}__echo", {"text": text}, progress=progress)
        assert result.text == text
        assert heard == [text]

    async def own(self, upstream, text):
        result = await self.client.call(f"{upstream}__{RIGHTS[self.name]}", {"text": text})
        assert result.text == text

    async def foreign(self, upstream, text):
        try:
            await self.client.call(f"{upstream}__{self.others}", {"text": text})
        except RemoteError as error:
            assert error.remote_code == -31002
        else:
            raise AssertionError(f"{self.name} called {self.others}")

    async def read(self, upstream, text):
        content = await self.client.request("resources/read", {"uri": f"note://{upstream}"})
        self.notes.add(content["contents"][0]["text"])

    async def list(self, upstream, text):
        listed = await self.client.request("tools/list", {})
        names = {tool["name"].partition("__")[2] for tool in listed["tools"]}
        assert names == {"echo", "ask", RIGHTS[self.name]}

    async def asked(self, upstream, text):
        result = await self.client.call(f"{upstream}__ask", {"text": text})
        assert result.text == f"{text} {self.name}"


@contextlib.asynccontextmanager
async def held(dialler):
    """A dialler's pool for as long as it is used."""
    dialler.hold()
    try:
        yield
    finally:
        await dialler.release()


@contextlib.asynccontextmanager
async def endpoint():
    """A gateway over two modern upstreams and a legacy one that keeps a session for each caller; yields its URL."""
    servers = {name: shop(name) for name in ("one", "two", "kept")}
    local, dialler = Local(servers), Dialler({"name": "gateway", "version": "0"}, era="legacy")

    async def dial(call):
        # Over HTTP a question comes on the stream of its request; calls of one caller are not mixed up either.
        return await (dialler if call.entry.name == "kept" else local)(call)

    tokens = {
        f"token-of-{name}": Principal("test", name, tools=("*__echo", "*__ask", f"*__{right}"))
        for name, right in RIGHTS.items()
    }
    async with served(HTTPTransport(servers["kept"].application)) as kept, held(dialler):
        entries = [Entry(name, "http", url=f"http://127.0.0.1:{kept}/mcp") for name in servers]
        federation = Federation(entries, dial=dial)
        limiter = Limiter(CallLimits(concurrent_per_caller=6, concurrent_per_server=6), federation.server_of)
        application = Application(Engine(federation, interceptors=[limiter]), authenticator=StaticTokens(tokens))
        async with served(HTTPTransport(application)) as port:
            await until(lambda: all(status.tools for status in federation.statuses()))
            yield f"http://127.0.0.1:{port}/mcp"
    for server in servers.values():
        await server.application.stop()


async def interleave(seed, calls, workers=8):
    """So many requests of both callers, in both eras, at once and in a random order; asserts that nothing crossed."""
    chance = random.Random(seed)
    left = iter(range(calls))
    async with endpoint() as url, aiohttp.ClientSession() as http:
        people = [Person(name, url, era, http) for name in RIGHTS for era in ("modern", "legacy")]

        async def work():
            for _ in left:
                await chance.choice(people).act(chance)

        async with contextlib.AsyncExitStack() as stack:
            for person in people:
                await stack.enter_async_context(person.client)
            await asyncio.gather(*(work() for _ in range(workers)))
        check(people)


def check(people):
    """Log messages and private results that came to anyone were theirs."""
    seen = {name: set().union(*(one.notes for one in people if one.name == name)) for name in RIGHTS}
    assert seen["alice"]
    assert seen["bob"]
    assert not seen["alice"] & seen["bob"]
    for person in people:
        other = next(name for name in RIGHTS if name != person.name)
        assert person.logged
        assert not any(f"{other}-" in entry for entry in person.logged)
