"""What changed in the definitions of an upstream's tools.

What it is for: a tool that was approved for what it said may say something else later; somebody has to hear of it.
What may live here: comparing definitions, in words for an operator; pure. What may not: deciding what follows.
"""

from collections.abc import Iterator, Sequence

from trunkline.gateway.listing import Item

_WORDS = {"inputSchema": "input schema", "outputSchema": "output schema"}


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
            yield f"tool {_shown(name)}: {', '.join(_WORDS.get(key, key) for key in members)[:200]} changed"
    for name in known:
        yield f"tool {_shown(name)}: gone"


def _shown(name: str) -> str:
    return repr(name[:80])
