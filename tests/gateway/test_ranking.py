"""Which tools fit a few words."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.ranking import rank, words

TOOLS = [
    {"name": "time__get_current_time", "description": "Get the current time in a time zone.", "inputSchema": {}},
    {"name": "git__status", "description": "Show the working tree status.", "inputSchema": {}},
    {"name": "git__commit", "description": "Record changes to the repository.", "inputSchema": {}},
    {
        "name": "mail__send",
        "description": "Deliver a letter.",
        "inputSchema": {"properties": {"recipient": {}, "subject": {}}},
    },
]


def names(query, limit=5):
    return [tool["name"] for tool in rank(query, TOOLS, limit)]


def test_the_best_fit_comes_first():
    assert names("what time is it")[0] == "time__get_current_time"
    assert names("committing changes to git")[0] == "git__commit"
    assert names("recipients") == ["mail__send"], "by the name of an argument, in another form"
    assert names("fly to the moon", 1) == names("fly to the moon")[:1]
    assert names("zzz") == []


def test_names_are_read_as_words():
    assert words("getUserNames") == words("get_user_names") == words("Get USER-names")


@given(st.text(), st.lists(st.builds(lambda name, text: {"name": name, "description": text}, st.text(), st.text())))
def test_any_text_is_ranked_the_same_way_twice(query, tools):
    found = rank(query, tools, 3)

    assert found == rank(query, tools, 3)
    assert len(found) <= 3
    assert all(set(words(query)) & set(words(f"{one['name']} {one['description']}")) for one in found)
