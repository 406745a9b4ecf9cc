"""A process that kills itself at a point of a task.

python -m tests.extensions.tasks.dying POINT ARGUMENTS...

The `trunkline` command, with such an end. POINT is `before` or `after`, a method of the store, and which call of it:
`after:create:1`.
"""

import os
import signal
import sys

from trunkline.extensions.tasks.store import TaskStore


def die_at(point: str) -> None:
    """Let the process die before or after a call of the store."""
    when, method, count = point.split(":")
    original = getattr(TaskStore, method)
    left = int(count)

    async def dying(self: TaskStore, *arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(self, *arguments, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(TaskStore, method, dying)


if __name__ == "__main__":
    from trunkline.cli import main

    die_at(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
