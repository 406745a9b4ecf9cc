"""A production runtime for the Model Context Protocol."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.engine.context import Context
    from trunkline.engine.principal import Principal
    from trunkline.errors import ToolError
    from trunkline.server.server import Server

_HOMES = {
    "Context": "trunkline.engine.context",
    "Principal": "trunkline.engine.principal",
    "Server": "trunkline.server.server",
    "ToolError": "trunkline.errors",
}

__all__ = ["Context", "Principal", "Server", "ToolError"]


def __getattr__(name: str) -> object:
    """Public names are imported when first used (PEP 562), so that a command starts fast."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'trunkline' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
