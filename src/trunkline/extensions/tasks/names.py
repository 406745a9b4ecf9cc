"""What the tasks extension and ours beside it are called on the wire.

What it is for: names that both ends, the server's and the client's, have to spell alike.
What may live here: names. What may not: what is done with them.
"""

IDENTIFIER = "io.modelcontextprotocol/tasks"
LIFECYCLE = "dev.trunkline/tasks"
"""Our own extension beside it: idempotency keys, narrowed policies, and what is shown of attempts and expiry."""

KEY = "dev.trunkline/idempotencyKey"
"""In the `_meta` of a call: the key under which a repeated call finds its task."""

NARROWED = "dev.trunkline/task"
"""In the `_meta` of a call: the policy its client wants, where that is narrower."""

METHOD_NAMES = {"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}
"""What `Mcp-Name` mirrors (tasks, HTTP)."""

LINK = "trunkline-task:///"
"""Under it a client that knows nothing of tasks reads what became of one."""
