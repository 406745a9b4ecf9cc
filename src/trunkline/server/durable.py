"""Functions whose calls become tasks.

What it is for: what the tasks extension has to know of a server's tools, and where their tasks are stored.
What may live here: the way from options of a tool to its rule. What may not: tasks themselves.
"""

from typing import TYPE_CHECKING, Literal

from trunkline.errors import ConfigError
from trunkline.extensions.tasks.extension import Tasks
from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.versions import TASKS
from trunkline.extensions.tasks.worker import Rule
from trunkline.protocol.annotations import may_run_twice
from trunkline.server.tools import Tool
from trunkline.transports.stored import Stored

if TYPE_CHECKING:
    from trunkline.runtime.shared import Shared
    from trunkline.server.server import Server
    from trunkline.storage.storage import Storage


class TaskTools:
    """The tools of one server that may be tasks; extends its engine when it is made."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.rules: dict[str, Rule] = {}
        self._tasks = Tasks(self.rules.get, lambda: list(self.rules), server.name, self._storage)
        if "application" in server.__dict__:
            if server.application.started:
                raise ConfigError("The first tool with task= has to be registered before the server starts")
            self.prepare(server.application.shared)
        server.engine.extend(*self._tasks.extensions())
        # Clients without the extension are linked to a resource: resources are served from now on.
        server.provider.resources.used = True

    def prepare(self, shared: "Shared | None") -> None:
        """Have the tables of tasks where the server stores, and run as many as its options say."""
        self._tasks.pace = self._server.task_pace
        if isinstance(shared, Stored):
            shared.include(TASKS)

    def add(self, tool: Tool, policy: "TaskPolicy | Literal[True]") -> None:
        """A tool whose calls become tasks."""
        self.rules[tool.name] = Rule(
            TaskPolicy() if policy is True else policy,
            idempotent=may_run_twice(tool.listed),
            structured="outputSchema" in tool.listed,
        )

    def _storage(self) -> "Storage | None":
        # Asked once the application has started what it shares.
        shared = self._server.application.shared
        return shared.storage if isinstance(shared, Stored) else None
