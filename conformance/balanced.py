"""Three replicas of the fixture server behind a round robin without stickiness.

What it is for: the official suite reaches another replica with each request, and must not notice.
"""

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conformance import subjects
from tests.storage.postgres import Server
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage import keyfile
from trunkline.storage.schema import BRANCHES, upgrade

REPLICAS = 3


@contextmanager
def balanced(folder: Path) -> Iterator[str]:
    """The fixture server three times, over one PostgreSQL and one key file; gives the URL of the balancer."""
    with ExitStack() as stack:
        keys = folder / "keys.json"
        keyfile.new(keys)
        database = stack.enter_context(_database())
        known = {"CONFORMANCE_STORAGE": database, "CONFORMANCE_KEYS": str(keys)}
        urls = [
            stack.enter_context(subjects.serving("conformance.server:app", folder / f"replica-{number}.log", known))
            for number in range(REPLICAS)
        ]
        yield stack.enter_context(_caddy(folder, [url.removesuffix("/mcp").removeprefix("http://") for url in urls]))


@contextmanager
def _database() -> Iterator[str]:
    server = Server()
    try:
        server.start()
        upgrade(server.url(), [*BRANCHES, TASKS])
        yield server.url()
    finally:
        server.destroy()


@contextmanager
def _caddy(folder: Path, replicas: list[str]) -> Iterator[str]:
    """Caddy before these addresses."""
    port = subjects.free_port()
    file = folder / "Caddyfile"
    file.write_text(
        "{\n\tadmin off\n\tauto_https off\n}\n"
        f":{port} {{\n\tbind 127.0.0.1\n"
        f"\treverse_proxy {' '.join(replicas)} {{\n"
        "\t\tlb_policy round_robin\n\t\tflush_interval -1\n"
        # The suite tries what a rebinding page would do: the replicas have to see the Host it sends.
        "\t}\n}\n"
    )
    caddy = shutil.which("caddy", path=sysconfig.get_path("scripts")) or "caddy"
    command = [caddy, "run", "--config", str(file), "--adapter", "caddyfile"]
    with subjects.running(command, port, folder / "caddy.log"):
        yield f"http://127.0.0.1:{port}/mcp"
