"""Resources that changed, told from replica to replica.

What it is for: what one replica is told of, no other one goes on giving out of what it keeps.
What may live here: that. What may not: what is kept, who listens, what a change of a list means.
"""

from collections.abc import Callable

from trunkline.engine.doors import Replicas
from trunkline.gateway.reads import Reads


class Updates:
    """Changes of the resources of one upstream.

    A replica is told of the resources its own clients listen to, and keeps those its callers read: they may be others.

    Parameters:
        upstream: its name.
        reads: what is kept of it here.
        replicas: those that have the same upstream.
        tell: takes the URI of a resource that changed, and whether clients of other replicas are to hear of it too.
    """

    def __init__(self, upstream: str, reads: Reads, replicas: Replicas, tell: Callable[[str, bool], None]) -> None:
        self._topic = f"updates {upstream}"
        self._reads = reads
        self._replicas = replicas
        self._tell = tell
        self._leave: tuple[Callable[[], None], ...] = ()

    def start(self) -> None:
        """Hear of others from now on."""
        if not self._leave:
            receive = self._replicas.receive(self._topic, self._heard)
            self._leave = receive, self._replicas.on_gap(self._missed)

    def stop(self) -> None:
        """Hear of nobody any more."""
        for leave in self._leave:
            leave()
        self._leave = ()

    def note(self, uri: str) -> None:
        """The upstream says that a resource changed."""
        self._replicas.broadcast(self._topic, uri.encode())
        self._tell(uri, self._reads.drop(uri))

    def _missed(self) -> None:
        self._reads.drop()

    def _heard(self, sender: str, message: bytes) -> None:
        uri = message.decode()
        if self._reads.drop(uri):
            self._tell(uri, True)
