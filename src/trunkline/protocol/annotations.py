"""What a tool says of itself.

What it is for: rules that rest on a tool's `annotations`.
What may live here: reading them. What may not: whether a tool is believed.
"""

from collections.abc import Mapping


def may_run_twice(tool: Mapping[str, object]) -> bool:
    """Whether a second run does no more than one, by the tool's own word (server/tools, Tool annotations).

    Parameters:
        tool: as `tools/list` has it.

        may_run_twice({"name": "add", "annotations": {"readOnlyHint": True}})  # True
    """
    annotations = tool.get("annotations")
    if not isinstance(annotations, Mapping):
        return False
    return annotations.get("readOnlyHint") is True or annotations.get("idempotentHint") is True
