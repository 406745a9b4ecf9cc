"""What changed in the definitions of an upstream's tools.

What it is for: a tool that was approved for what it said may say something else later; somebody has to hear of it.
What may live here: comparing definitions, in words for an operator; pure.
What may not: deciding what follows, digests (`pins.py`).
"""

from collections.abc import Iterator, Sequence

from trunkline.gateway.listing import Item, Listed
from trunkline.gateway.pins import reason, words


def changes(before: Sequence[Item], after: Sequence[Item]) -> Iterator[str]:
    """A line for each tool that is new, gone, or defined otherwise; what it says itself is not repeated.

    list(changes([{"name": "a", "title": "A"}], [{"name": "a", "title": "B"}]))  # ["tool 'a': title changed"]
    """
    known = {str(item["name"]): item for item in before}
    for item in after:
        name = str(item["name"])
        old = known.pop(name, None)
        if old is None:
            yield f"tool {_shown(name)}: new"
        elif old != item:
            members = sorted(key for key in old.keys() | item.keys() if old.get(key) != item.get(key))
            yield f"tool {_shown(name)}: {words(members)[:200]} changed"
    for name in known:
        yield f"tool {_shown(name)}: gone"


def refusals(before: Listed, after: Listed) -> Iterator[str]:
    """A line for each tool that is refused from now on or for another reason, or not any more."""
    for name, parts in after.refused.items():
        if before.refused.get(name) != parts:
            yield f"tool {_shown(name)} is refused: {reason(parts)}"
    for item in after.items:
        name = str(item["name"])
        if name in before.refused and name not in after.refused:
            yield f"tool {_shown(name)} is as it was pinned, and shown again"


def withheld(share: Listed) -> tuple[str, ...]:
    """A line for each tool that is refused."""
    return tuple(f"tool {_shown(name)}: {reason(parts)}" for name, parts in share.refused.items())


def _shown(name: str) -> str:
    return repr(name[:80])
