"""Messages between replicas: what waits to be sent, and who is told what arrives.

What it is for: `Replicas` sends and receives through this; nothing is missed without being said.
What may live here: queues, their writers, the reader. What may not: SQL, who is alive.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable

from sqlalchemy import Connection, delete

from trunkline.errors import StorageUnavailable
from trunkline.storage import posts
from trunkline.storage.database import PATIENCE, Database
from trunkline.storage.posts import Delivery, Letter
from trunkline.storage.tables import mail

logger = logging.getLogger("trunkline.storage")

Handler = Callable[[str, bytes], None]

_BATCH = 500
_MOST_WAITING = 10_000
_ANSWERING = 0.05
"""Seconds in which those who get the last messages may answer them."""

_MOST_BYTES = 16 * 1024 * 1024
"""Broadcasts, and their bytes, that wait for the database."""


class Exchange:
    """One replica's outgoing and incoming messages.

    Parameters:
        replica: its name.
        lease: tells the seconds without a heartbeat after which a recipient is dead.
        kept: seconds for which broadcasts are kept.
    """

    def __init__(self, database: Database, replica: str, *, lease: Callable[[], float], kept: float) -> None:
        self._database = database
        self._replica = replica
        self._lease = lease
        self._kept = kept
        self._broadcasts: dict[tuple[str, bytes], None] = {}
        self._size = 0
        self._lost = False
        self._letters: list[tuple[Letter, float, asyncio.Future[bool]]] = []
        self._number = itertools.count()
        self._send = asyncio.Event()
        self._handlers: dict[str, dict[int, Handler]] = {}
        self._gap_handlers: dict[int, Callable[[], None]] = {}
        self._tokens = itertools.count()
        self._arrived = asyncio.Event()
        self._last = 0
        self._looked = 0.0
        self._thorough = False
        self._missed = False
        self._seen: dict[str, int] = {}
        self._limbo: list[tuple[int, str, int, str, bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, last: int, started: float, alone: Callable[[], bool]) -> None:
        """Begin to send and receive.

        Parameters:
            last: the newest broadcast when this replica registered.
            started: when that was, by the database's clock.
            alone: whether no other replica lives.
        """
        self._last = last
        self._looked = started
        # Larger than any number an earlier process of this name used.
        self._number = itertools.count((int(started * 1000) << 20) + 1)
        channels = (posts.CHANNEL, posts.channel_of(self._replica))
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._send_all(), name="trunkline-send"),
            loop.create_task(self._receive_all(), name="trunkline-receive"),
            loop.create_task(self._database.watch(channels, self._arrived.set, alone), name="trunkline-watch"),
        ]

    async def send(self, name: str, topic: str, message: bytes, *, patient: bool = False) -> bool:
        """Mail to one replica; see `Replicas.send`."""
        self._database.health.check()
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[bool] = loop.create_future()
        letter = Letter(name, next(self._number), topic, message, patient)
        self._letters.append((letter, loop.time() + PATIENCE, sent))
        self._send.set()
        return await sent

    async def recall(self, name: str, topic: str, message: bytes) -> bool:
        """Take back mail; see `Replicas.recall`."""
        mine = (mail.c.recipient == name) & (mail.c.sender == self._replica)
        gone = delete(mail).where(mine, mail.c.topic == topic, mail.c.message == message).returning(mail.c.id)
        return await self._database.write(lambda connection: connection.execute(gone).first() is not None, single=True)

    def broadcast(self, topic: str, message: bytes) -> None:
        """Tell all other replicas; see `Replicas.broadcast`."""
        key = (topic, message)
        if key in self._broadcasts:
            return
        if len(self._broadcasts) >= _MOST_WAITING or self._size + len(message) > _MOST_BYTES:
            self._lost = True
        else:
            self._broadcasts[key] = None
            self._size += len(message)
        self._send.set()

    def receive(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Be told of a topic's messages; returns what ends it."""
        token = next(self._tokens)
        self._handlers.setdefault(topic, {})[token] = handler

        def end() -> None:
            self._handlers.get(topic, {}).pop(token, None)

        return end

    def on_gap(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Be told that broadcasts may have been missed; returns what ends it."""
        token = next(self._tokens)
        self._gap_handlers[token] = handler

        def end() -> None:
            self._gap_handlers.pop(token, None)

        return end

    def look(self) -> None:
        """See whether anything has arrived although nobody said so, or can have been missed."""
        self._thorough = True
        self._arrived.set()

    def gap(self) -> None:
        """Tell whoever listens that broadcasts may have been missed."""
        for handler in list(self._gap_handlers.values()):
            try:
                handler()
            except Exception:
                logger.exception("a listener could not be told that messages may have been missed")

    async def close(self) -> None:
        """Read what has come, send what waits, if the database can be reached, and stop."""
        await self._read_the_rest()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (self._broadcasts or self._letters) and self._database.health.trouble is None:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, _, sent in self._letters:
            if not sent.done():
                sent.set_exception(StorageUnavailable("The replica stops before the message could be written"))

    async def _read_the_rest(self) -> None:
        """Mail that was accepted for this replica is read: who sent it may be told that it came too late."""
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks[1:], return_exceptions=True)
        try:
            while (await self._receive_some()).full:
                pass
        except StorageUnavailable:
            return
        # Those who were told answer from tasks of their own.
        await asyncio.sleep(_ANSWERING)

    async def _send_all(self) -> None:
        while True:
            await self._send.wait()
            self._send.clear()
            while self._broadcasts or self._letters or self._lost:
                try:
                    await self._send_some()
                except StorageUnavailable:
                    self._give_up_letters()
                    await self._database.health.turn(0.5)
                except Exception:
                    logger.exception("messages to other replicas could not be written and are lost")
                    self._drop()

    async def _send_some(self) -> None:
        # Out of the queue before they are written: an equal message that comes now may be about something newer.
        news = list(itertools.islice(self._broadcasts, _BATCH))
        for key in news:
            del self._broadcasts[key]
        letters = self._letters[:_BATCH]
        written = [(posts.GAP, b""), *news] if self._lost else news

        def work(connection: Connection) -> dict[str, bool]:
            known = posts.post(connection, self._replica, [one for one, _, _ in letters], self._lease())
            if written:
                posts.broadcast(connection, self._replica, written)
            return known

        try:
            known = await self._database.write(work, durable=bool(letters))
        except BaseException:
            self._broadcasts = dict.fromkeys(news) | self._broadcasts
            raise
        self._size -= sum(len(message) for _, message in news)
        self._lost = self._lost and len(written) == len(news)
        self._letters = self._letters[len(letters) :]
        for letter, _, sent in letters:
            if not sent.done():
                sent.set_result(letter.reaches(known))

    def _give_up_letters(self) -> None:
        now = asyncio.get_running_loop().time()
        late = [sent for _, deadline, sent in self._letters if deadline <= now]
        self._letters = [one for one in self._letters if one[1] > now]
        for sent in late:
            if not sent.done():
                sent.set_exception(StorageUnavailable(self._database.health.trouble or ""))

    def _drop(self) -> None:
        letters, self._letters = self._letters, []
        self._broadcasts.clear()
        self._size = 0
        self._lost = True
        for _, _, sent in letters:
            if not sent.done():
                sent.set_exception(StorageUnavailable("The message could not be written; the log has the details"))

    async def _receive_all(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                while (await self._receive_some()).full:
                    pass
            except StorageUnavailable:
                await self._database.health.turn(0.5)
                self._arrived.set()
            except Exception:
                logger.exception("messages of other replicas could not be read; trying again")
                await asyncio.sleep(1)
                self._arrived.set()

    async def _receive_some(self) -> Delivery:
        delivery = await self._database.read(self._look if self._thorough else self._read)
        if self._missed:
            self._missed = False
            self.gap()
        for number, sender, topic, message in delivery.broadcasts:
            self._last = number
            if sender == self._replica:
                continue
            if topic == posts.GAP:
                self.gap()
            else:
                self._hand(sender, topic, message)
        if delivery.mail or self._limbo:
            await self._take(delivery)
        return delivery

    def _read(self, connection: Connection) -> Delivery:
        return posts.read(connection, self._replica, self._last)

    def _look(self, connection: Connection) -> Delivery:
        """Read, and see whether anything can have been missed since the last look."""
        now = posts.now(connection)
        behind = posts.is_behind(connection, self._last)
        if behind:
            self._last = 0
        delivery = self._read(connection)
        # Only now: what fails is done again.
        self._missed = self._missed or behind or now - self._looked > self._kept * 0.9
        self._looked = now
        self._thorough = False
        return delivery

    async def _take(self, delivery: Delivery) -> None:
        """Delete mail, then hand it over: of what is still there when its recipient dies, nothing has been done."""
        here = {row[0] for row in delivery.mail}
        # Nobody saw the end of an earlier deletion: what is gone was deleted, and its turn is now.
        self._limbo = [*(row for row in self._limbo if row[0] not in here), *delivery.mail]
        taken = [row[0] for row in self._limbo]

        def work(connection: Connection) -> None:
            connection.execute(delete(mail).where(mail.c.id.in_(taken)))

        await self._database.write(work, single=True, durable=False)
        letters, self._limbo = self._limbo, []
        for _, sender, number, topic, message in letters:
            # It is written again where its sender could not know.
            if number > self._seen.get(sender, 0):
                self._seen[sender] = number
                self._hand(sender, topic, message)

    def _hand(self, sender: str, topic: str, message: bytes) -> None:
        for handler in list(self._handlers.get(topic, {}).values()):
            try:
                handler(sender, message)
            except Exception:
                logger.exception("a message about %r could not be handled", topic)

    def forget_senders(self, living: set[str]) -> None:
        """Forget what was last read from senders that are no more, once there are many."""
        if len(self._seen) < 1000:
            return
        for name in self._seen.keys() - living:
            del self._seen[name]
