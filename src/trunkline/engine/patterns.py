"""Patterns of names.

What it is for: `*` in a list of tools means the same wherever such a list stands.
What may live here: the one matcher. What may not: what is matched, and what follows from it.
"""


def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern: `*` is any run of characters, everything else itself. Linear in the name's length.

    matches("time__*", "time__now")  # True
    """
    # The same as in `portable/model.py`, for the tool lists of servers: that room imports nothing of ours.
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    place, end = len(first), len(name) - len(last)
    if place > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for part in middle:
        found = name.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
