"""What replicas tell each other of legacy sessions.

What it is for: any replica serves any session, while its calls, questions and GET stream live in single processes.
What may live here: the notices and their delivery. What may not: what a session does about them.
"""

import logging
from collections.abc import Callable
from typing import Literal

import msgspec

from trunkline.errors import ProtocolError
from trunkline.protocol import messages
from trunkline.protocol.messages import Message
from trunkline.runtime.application import Application
from trunkline.runtime.errands import Errands
from trunkline.transports.http_session import HTTPSession

logger = logging.getLogger("trunkline.transports")

_FOLLOWING = 5.0
"""Seconds another replica may take to follow what a session subscribed to."""


class Notice(msgspec.Struct, array_like=True):
    """Something that happened to a session at another replica.

    Parameters:
        kind: `answered` and `cancelled` carry the client's message; `taken` means that its GET stream is elsewhere now.
        session: its key.
        message: the client's, if any.
    """

    kind: Literal["answered", "cancelled", "ended", "taken"]
    session: str
    message: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


class News:
    """Tells other replicas of sessions, and sessions of what others tell.

    Parameters:
        application: whose sessions.
        find: the part of a session that lives here, by key.
        ended: takes the part of a session that was ended elsewhere.
    """

    def __init__(
        self,
        application: Application,
        find: Callable[[str], HTTPSession | None],
        ended: Callable[[HTTPSession], None],
    ) -> None:
        self._replicas = application.shared.replicas
        self._topic = f"sessions {application.name}"
        self._find = find
        self._ended = ended
        self._errands = Errands(self._replicas, f"subscriptions {application.name}", self._altered)
        application.join(self._begin)

    async def answered(self, replica: str, session: str, message: Message) -> None:
        """The client answered a question that another replica waits for."""
        await self._replicas.send(
            replica, self._topic, _encode(Notice("answered", session, msgspec.json.encode(message)))
        )

    def cancelled(self, session: str, message: Message) -> None:
        """The client cancelled a request that is not known here."""
        self._replicas.broadcast(self._topic, _encode(Notice("cancelled", session, msgspec.json.encode(message))))

    def ended(self, session: str) -> None:
        """The client ended the session."""
        self._replicas.broadcast(self._topic, _encode(Notice("ended", session)))

    async def taken(self, replica: str, session: str) -> None:
        """The session's GET stream, which another replica had, is here now."""
        await self._replicas.send(replica, self._topic, _encode(Notice("taken", session)))

    async def altered(self, replica: str, session: str) -> bool:
        """What the session follows has changed; False where that replica does not collect its changes."""
        return await self._errands.ask(replica, session.encode(), _FOLLOWING) == b"followed"

    def _begin(self) -> Callable[[], None]:
        leave = self._replicas.receive(self._topic, self._heard)
        self._errands.start()

        def end() -> None:
            leave()
            self._errands.stop()

        return end

    def _heard(self, sender: str, raw: bytes) -> None:
        try:
            notice = _decode(raw)
        except msgspec.MsgspecError:
            logger.warning("replica %s tells of a session what this one does not understand", sender)
            return
        session = self._find(notice.session)
        if session is None:
            return
        if notice.kind == "ended":
            self._ended(session)
        elif notice.kind == "taken":
            session.give_up()
        else:
            try:
                session.take(messages.decode(notice.message))
            except ProtocolError as error:
                logger.warning("replica %s passed on a message that is none: %s", sender, error)

    async def _altered(self, sender: str, message: bytes) -> bytes:
        session = self._find(message.decode())
        return b"followed" if session is not None and await session.refollow() else b""
