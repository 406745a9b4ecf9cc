"""Who may be told of tasks.

What it is for: what a client declares with each request.
What may live here: looking at capabilities. What may not: tasks themselves.
"""

from collections.abc import Mapping

from trunkline.engine.context import Context
from trunkline.errors import MethodNotFound, MissingCapability
from trunkline.extensions.tasks.names import IDENTIFIER


def declares(context: Context) -> bool:
    """Whether this very request may be answered with a task: the declaration is looked at each time (tasks, section 2).

    Under older revisions the capability means nothing.
    """
    if context.revision.era != "modern":
        return False
    extensions = context.capabilities.get("extensions")
    return isinstance(extensions, Mapping) and isinstance(extensions.get(IDENTIFIER), Mapping)


def missing(what: str) -> MissingCapability:
    """The error -32021 of a request that needs the extension and does not declare it."""
    return MissingCapability(
        {"extensions": {IDENTIFIER: {}}},
        f"{what}: the client has to declare the extension {IDENTIFIER} with the request",
    )


def require(context: Context) -> None:
    """Raises `MissingCapability` for a client without the extension, `MethodNotFound` for one of an older revision."""
    if context.revision.era != "modern":
        raise MethodNotFound(f"Method not found: {context.method} (tasks came with revision 2026-07-28)")
    if not declares(context):
        raise missing(f"{context.method} is about tasks")
