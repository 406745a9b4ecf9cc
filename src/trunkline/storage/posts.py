"""The two ways a message goes from replica to replica, as SQL: broadcasts to all others, mail to one.

What it is for: every message is a row; who listens is only woken.
What may live here: statements. What may not: queues, tasks, handlers.
"""

from functools import cache
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection, bindparam, func, select, text

from trunkline.storage.database import one_at_a_time, wake
from trunkline.storage.tables import broadcasts, clock, insert, mail, replicas

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

CHANNEL = "trunkline"
"""Where broadcasts are announced; mail is announced on the recipient's own channel."""

GAP = "trunkline.gap"
"""The topic that tells the others that broadcasts of this replica were lost."""

_MOST = 1000


class Letter(msgspec.Struct, frozen=True):
    """A message to one replica. Numbers of a sender only grow.

    One that is `patient` is kept for a recipient that is late, too, and has not left.
    """

    recipient: str
    number: int
    topic: str
    message: bytes
    patient: bool = False

    def reaches(self, known: dict[str, bool]) -> bool:
        """Whether its recipient is there, by what `post` told."""
        return self.recipient in known if self.patient else known.get(self.recipient, False)


class Delivery(msgspec.Struct, frozen=True):
    """What was read: broadcasts after the last one read, and mail."""

    broadcasts: list[tuple[int, str, str, bytes]]
    mail: list[tuple[int, str, int, str, bytes]]

    @property
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.broadcasts) == _MOST or len(self.mail) == _MOST


# Read again and again: made once.
_NOW = select(clock())
_KNOWN = select(replicas.c.name, replicas.c.beat > clock() - bindparam("lease")).where(
    replicas.c.name.in_(bindparam("wanted", expanding=True)), replicas.c.beat > 0
)
_BROADCAST = broadcasts.insert().values(sent=clock())
_NEWS = (
    select(broadcasts.c.id, broadcasts.c.sender, broadcasts.c.topic, broadcasts.c.message)
    .where(broadcasts.c.id > bindparam("last"))
    .order_by(broadcasts.c.id)
    .limit(_MOST)
)
_LETTERS = (
    select(mail.c.id, mail.c.sender, mail.c.number, mail.c.topic, mail.c.message)
    .where(mail.c.recipient == bindparam("me"))
    .order_by(mail.c.id)
    .limit(_MOST)
)


@cache
def _posting(dialect: str) -> "sqlite.Insert | postgresql.Insert":
    return insert(dialect, mail).on_conflict_do_nothing()


def channel_of(replica: str) -> str:
    """Where mail to a replica is announced."""
    return f"{CHANNEL}_{replica}"


def broadcast(connection: Connection, sender: str, messages: list[tuple[str, bytes]]) -> None:
    """Write broadcasts and wake everyone."""
    # Numbers are given out before a commit makes them visible. Without the lock, one with a smaller number could appear
    # after a reader has read past it, and be missed. The lock is released only after the commit is visible, and taken
    # before the next number is given out, so that rows appear in the order of their numbers.
    one_at_a_time(connection, "broadcasts")
    rows = [{"sender": sender, "topic": topic, "message": message} for topic, message in messages]
    connection.execute(_BROADCAST, rows)
    wake(connection, CHANNEL)


def post(connection: Connection, sender: str, letters: list[Letter], lease: float) -> dict[str, bool]:
    """Write mail to those who are there, wake them, and tell who is known, and whether alive."""
    wanted = sorted({letter.recipient for letter in letters})
    found = connection.execute(_KNOWN, {"wanted": wanted, "lease": lease})
    known = {name: bool(alive) for name, alive in found}
    rows = [
        {
            "recipient": one.recipient,
            "sender": sender,
            "number": one.number,
            "topic": one.topic,
            "message": one.message,
        }
        for one in letters
        if one.reaches(known)
    ]
    if rows:
        # They may be there already, from a transaction whose end nobody saw.
        connection.execute(_posting(connection.dialect.name), rows)
        wake(connection, *map(channel_of, sorted(known)))
    return known


def read(connection: Connection, replica: str, last: int) -> Delivery:
    """What is there for a replica."""
    return Delivery(
        [(row[0], row[1], row[2], row[3]) for row in connection.execute(_NEWS, {"last": last})],
        [(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(_LETTERS, {"me": replica})],
    )


def newest(connection: Connection) -> int:
    """The number of the newest broadcast that can be read; 0 when none is kept."""
    found: int = connection.execute(select(func.coalesce(func.max(broadcasts.c.id), 0))).scalar_one()
    return found


def now(connection: Connection) -> float:
    """The time by the database's clock."""
    found: float = connection.execute(_NOW).scalar_one()
    return found


def is_behind(connection: Connection, last: int) -> bool:
    """Whether a broadcast was read that the database does not know any more: its server lost what it had committed."""
    if connection.dialect.name != "postgresql":
        return False
    given: int = connection.execute(text("SELECT last_value FROM trunkline_broadcasts_id_seq")).scalar_one()
    return given < last
