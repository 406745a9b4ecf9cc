"""Names of federated tools and prompts.

What it is for: `server__name`, unique and acceptable to every client, decided the same way on every replica.
What may live here: pure functions from configured and upstream names to the names clients see.
What may not: routing (a table does it, never the splitting of a name), anything that remembers.

Two properties carry the rest. A label holds no `__` and does not end in `_`, so the first `__` of a federated name ends
its label: no upstream can take, or change, a name of another. And a name depends only on the configured labels and the
lists of its own upstream, so replicas agree without talking.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

SEPARATOR = "__"
LIMIT = 64
"""Characters in a name; several clients refuse longer ones and drop the whole list with it."""

_LABEL_LIMIT = 40
_DIGEST = 8
_PLAIN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_FOREIGN = re.compile(r"[^A-Za-z0-9-]+", re.ASCII)


def labels(servers: Iterable[str]) -> dict[str, str]:
    """The label of each configured server: its name where that serves, else a cleaned one with a hash suffix.

    labels(["time", "my files"])  # {"time": "time", "my files": "my_files-3c02e611"}
    """
    distinct = list(dict.fromkeys(servers))
    chosen = {server: server for server in distinct if _is_label(server)}
    taken = set(chosen)
    for server in distinct:
        if server not in chosen:
            chosen[server] = _free(
                _clean(server, "server")[: _LABEL_LIMIT - _DIGEST - 1].rstrip("_"), "-", server, taken
            )
    return {server: chosen[server] for server in distinct}


def federated(label: str, names: Sequence[str]) -> list[str]:
    """The names clients see for one upstream's names, in the same order; `names` holds no name twice.

    A name that fits as it is keeps its form even when another one's shortened form would equal it.

    federated("time", ["now", "was ist"])  # ["time__now", "time__was_ist_8c1360b8"]
    """
    prefix = label + SEPARATOR
    chosen = {name: prefix + name for name in names if _PLAIN.fullmatch(name) and len(prefix) + len(name) <= LIMIT}
    taken = set(chosen.values())
    for name in names:
        if name not in chosen:
            stem = (prefix + _clean(name, "unnamed"))[: LIMIT - _DIGEST - 1]
            chosen[name] = _free(stem, "_", name, taken)
    return [chosen[name] for name in names]


def _is_label(server: str) -> bool:
    fits = len(server) <= _LABEL_LIMIT and _PLAIN.fullmatch(server) is not None
    return fits and SEPARATOR not in server and not server.endswith("_")


def _clean(name: str, empty: str) -> str:
    return _FOREIGN.sub("_", name).strip("_") or empty


def _free(stem: str, joint: str, whole: str, taken: set[str]) -> str:
    """`stem` and a digest of the whole name; of the name and a count where someone made a name that equals it."""
    count = 0
    while True:
        salted = whole if count == 0 else f"{whole}\0{count}"
        # surrogatepass: a name from JSON may hold lone surrogates, and is hashed all the same.
        digest = hashlib.sha256(salted.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        candidate = f"{stem}{joint}{digest}"
        if candidate not in taken:
            taken.add(candidate)
            return candidate
        count += 1
