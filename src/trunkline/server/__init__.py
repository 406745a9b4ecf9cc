"""Python functions become tools, resources and prompts: the author's API, a `Provider` over functions."""

from trunkline.server.server import Server

__all__ = ["Server"]
