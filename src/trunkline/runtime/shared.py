"""What the replicas of one endpoint share.

What it is for: the doors to shared state in one hand, with their life.
What may live here: the record of them, in memory for one process. What may not: databases.
"""

from typing import Protocol

from trunkline.engine.doors import EventLog, Notes, Replicas, SessionStore
from trunkline.engine.memory import LoneReplica, MemoryEvents, MemoryNotes, MemorySessions


class Shared(Protocol):
    """The doors to what replicas share."""

    @property
    def sessions(self) -> SessionStore:
        """The changing part of legacy sessions."""

    @property
    def events(self) -> EventLog:
        """Messages of resumable streams."""

    @property
    def notes(self) -> Notes:
        """Small facts that replicas leave for each other."""

    @property
    def replicas(self) -> Replicas:
        """The other processes that serve the same endpoint."""

    def report(self) -> str | None:
        """How it is, in a word for operators; None where there is nothing that could fail."""

    async def start(self) -> None:
        """Connect; called before anything of it is used."""

    async def stop(self) -> None:
        """Write what waits, and leave."""


class Alone:
    """One process that shares with nobody; nothing survives it."""

    def __init__(self) -> None:
        self.sessions: SessionStore = MemorySessions()
        self.events: EventLog = MemoryEvents()
        self.notes: Notes = MemoryNotes()
        self.replicas: Replicas = LoneReplica()

    def report(self) -> str | None:
        """Memory does not fail."""
        return None

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to leave."""
