"""The states of a task, as a table.

What it is for: every change of a task's status is a row here; statements ask it from where they may change one.
What may live here: the table and questions to it. What may not: why something happens, SQL.
"""

from collections.abc import Mapping
from typing import Literal

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]

Event = Literal["create", "park", "answer", "retry", "complete", "fail", "cancel", "expire"]
"""What happens to a task: `park` is a run that asks, `answer` the last answer it waits for, `retry` another attempt."""

TRANSITIONS: Mapping[tuple[Status | None, Event], Status] = {
    (None, "create"): "working",
    ("working", "park"): "input_required",
    ("input_required", "answer"): "working",
    ("working", "retry"): "working",
    ("working", "complete"): "completed",
    ("working", "fail"): "failed",
    ("working", "cancel"): "cancelled",
    ("input_required", "cancel"): "cancelled",
    ("working", "expire"): "failed",
    ("input_required", "expire"): "failed",
}
"""(status, event) -> status, by the state machine of the extension (tasks, section 4); nothing leaves an end."""

ENDS: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})
"""Where a task stays for ever."""

ENDING: Mapping[Status, Event] = {"completed": "complete", "failed": "fail", "cancelled": "cancel"}
"""Which event ends a task in a status."""


def sources(event: Event) -> list[Status]:
    """The statuses in which an event may happen, for the condition of a statement.

    sources("park")  # ["working"]
    """
    return sorted(before for before, happened in TRANSITIONS if happened == event and before is not None)


def target(event: Event) -> Status:
    """The status an event leads to; each leads to one.

    target("park")  # "input_required"
    """
    [after] = {after for (_, happened), after in TRANSITIONS.items() if happened == event}
    return after
