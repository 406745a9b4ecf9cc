"""Which tools fit a few words.

What it is for: rank tools for a query by BM25 over name, title, description and argument names.
What may live here: pure functions; the same answer on every replica.
What may not: who may see a tool, how the answer travels.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from trunkline.gateway.listing import Item
from trunkline.gateway.selection import arguments

_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ENDINGS = ("ings", "ing", "ies", "es", "ed", "s")
_STEM = 3
"""Letters that stay of a word whose ending is cut."""

_WEIGHTS: Mapping[str, int] = {"name": 4, "title": 3, "description": 1, "arguments": 1}
_SATURATION, _LENGTH = 1.2, 0.75
"""BM25's k1 and b, at their usual values."""


def rank(query: str, tools: Sequence[Item], limit: int) -> list[Item]:
    """The tools that share a word with the query, best first; equal ones in the order of the list.

    rank("what time is it", tools, 5)
    """
    wanted = dict.fromkeys(words(query))
    bags = [_bag(tool) for tool in tools]
    average = sum(bag.total() for bag in bags) / len(bags) if bags else 1.0
    known = Counter(word for bag in bags for word in bag)
    scores: list[tuple[float, int]] = []
    for place, bag in enumerate(bags):
        score = 0.0
        for word in wanted:
            often = bag[word]
            if often:
                rarity = math.log(1 + (len(bags) - known[word] + 0.5) / (known[word] + 0.5))
                damped = often + _SATURATION * (1 - _LENGTH + _LENGTH * bag.total() / average)
                score += rarity * often * (_SATURATION + 1) / damped
        if score > 0:
            scores.append((-score, place))
    return [tools[place] for _, place in sorted(scores)[:limit]]


def words(text: str) -> list[str]:
    """The words of a text in a comparable form: `getUserNames`, `get_user_names` and "get user names" are the same."""
    return [_stem(word.lower()) for word in _WORD.findall(_HUMP.sub(" ", text))]


def _bag(tool: Item) -> Counter[str]:
    bag: Counter[str] = Counter()
    for field, weight in _WEIGHTS.items():
        text = " ".join(sorted(arguments("tools", tool))) if field == "arguments" else tool.get(field)
        if isinstance(text, str):
            for word in words(text):
                bag[word] += weight
    return bag


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            return word[: -len(ending)]
    return word
