"""Tool lists of callers."""

import pytest

from trunkline.engine.patterns import matches
from trunkline.engine.principal import Principal
from trunkline.portable.model import Entry


@pytest.mark.parametrize(
    ("pattern", "tool", "admitted"),
    [
        ("read", "read", True),
        ("read", "read_all", False),
        ("read*", "read", True),
        ("*", "", True),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("ab*bc", "abc", False),
        ("*b*b*", "ab", False),
        ("**", "a\nb", True),
        ("r?ad", "read", False),
        ("r[e]ad", "read", False),
        ("r[e]ad?*", "r[e]ad?!", True),
        ("*a" * 30 + "b", "a" * 20_000, False),
    ],
)
def test_only_a_star_is_special_in_the_lists_of_callers_and_of_servers(pattern: str, tool: str, admitted: bool) -> None:
    assert matches(pattern, tool) == admitted
    assert Principal("test", "ann", tools=(pattern,)).may_call(tool) == admitted
    assert Entry("one", "stdio", command="x", allow=(pattern,)).admits(tool) == admitted
    assert Entry("one", "stdio", command="x", deny=(pattern,)).admits(tool) != admitted
