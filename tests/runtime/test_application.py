"""An application's life: started, stopped, started again."""

from trunkline import Server
from trunkline.engine.doors import Change
from trunkline.engine.principal import ANONYMOUS
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
