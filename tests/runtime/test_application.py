"""An application's life: started, stopped, started again."""

import asyncio

import pytest

from trunkline import Server
from trunkline.engine.doors import Change, Extension
from trunkline.engine.engine import Engine
from trunkline.engine.principal import ANONYMOUS
from trunkline.errors import Overloaded
from trunkline.runtime.application import Application
from trunkline.runtime.listen import Filter

TOOLS = Filter(kinds=frozenset({"tools"}))


async def heard(application: Application, server: Server) -> list[Change]:
    subscription = application.hub.open(TOOLS, ANONYMOUS.owner)
    server.provider.changed(Change("tools"))
    try:
        return await subscription.next()
    finally:
        subscription.close()


async def test_an_application_that_was_stopped_hears_again_once_it_is_started() -> None:
    server = Server("twice")
    application = server.application
    for _ in range(2):
        await application.start()
        await application.start()

        assert await heard(application, server) == [Change("tools")]
        assert not application.inflight.draining
        await application.stop()
        await application.stop()


async def test_stopping_ends_open_subscriptions() -> None:
    application = Server("once").application
    await application.start()
    subscription = application.hub.open(TOOLS, ANONYMOUS.owner)

    await application.stop()

    assert await subscription.next() == []


async def test_what_began_is_undone_when_an_extension_cannot_start() -> None:
    server = Server("half")
    happened: list[str] = []

    async def note(what: str) -> None:
        happened.append(what)

    async def fail() -> None:
        raise RuntimeError("no disk")

    server.on_start(lambda: note("start"))
    server.on_stop(lambda: note("stop"))
    good = Extension("x/good", start=lambda: note("good start"), stop=lambda: note("good stop"))
    application = Application(Engine(server.provider, extensions=[good, Extension("x/bad", start=fail)]))

    with pytest.raises(RuntimeError, match="no disk"):
        await application.start()

    assert happened == ["start", "good start", "good stop", "stop"]
    assert not application.started
    await application.stop()
    assert len(happened) == 4


async def test_a_late_request_does_not_start_what_is_stopping() -> None:
    server = Server("late")
    stopping, go_on = asyncio.Event(), asyncio.Event()
    starts: list[int] = []

    @server.on_start
    async def begin() -> None:
        starts.append(1)

    @server.on_stop
    async def end() -> None:
        stopping.set()
        await go_on.wait()

    application = server.application
    await application.start()
    stop = asyncio.create_task(application.stop())
    await stopping.wait()

    with pytest.raises(Overloaded, match="stopping"):
        await application.start()
    again = asyncio.create_task(application.stop())
    await asyncio.sleep(0)
    assert not again.done()
    go_on.set()
    await asyncio.gather(stop, again)

    assert starts == [1]
    await application.start()
    assert starts == [1, 1]
    await application.stop()
