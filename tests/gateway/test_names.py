"""The naming rules of DESIGN, "Names", as properties."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.names import LIMIT, SEPARATOR, federated, labels

ACCEPTED = re.compile(r"[A-Za-z0-9_-]{1,64}")

hard = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ab_-", max_size=80),
    st.text(alphabet=st.characters(categories=("Cs", "L")), max_size=5),
)
servers = st.lists(hard, unique=True, max_size=6)
tools = st.lists(hard, unique=True, max_size=12)


def exposed(lists: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    chosen = labels(lists)
    return {
        (server, name): seen
        for server, names in lists.items()
        for name, seen in zip(names, federated(chosen[server], names), strict=True)
    }


@given(st.dictionaries(hard, tools, max_size=6))
def test_names_are_unique_and_acceptable_whatever_the_upstreams_say(lists):
    seen = list(exposed(lists).values())
    assert len(set(seen)) == len(seen)
    assert all(ACCEPTED.fullmatch(name) for name in seen)


@given(servers, tools, tools, tools)
def test_no_upstream_changes_the_names_of_another(names, mine, theirs, later):
    if len(names) < 2:
        return
    before = exposed({names[0]: mine, names[1]: theirs})
    after = exposed({names[0]: mine, names[1]: later})
    for name in mine:
        assert before[names[0], name] == after[names[0], name]


@given(servers, st.randoms(use_true_random=False))
def test_labels_end_at_the_first_separator(names, random):
    chosen = labels(names)
    assert len(set(chosen.values())) == len(names)
    for label in chosen.values():
        assert (label + SEPARATOR + "_x").partition(SEPARATOR)[0] == label
    assert labels(names) == chosen


@given(st.text(alphabet="abcXYZ019-", min_size=1, max_size=20), st.text(alphabet="abc_-9", min_size=1, max_size=40))
def test_plain_names_stay_readable(server, name):
    assert federated(labels([server])[server], [name]) == [f"{server}__{name}"]


def test_a_shortened_name_yields_to_a_natural_one():
    long = "x" * 80
    (shortened,) = federated("a", [long])
    assert len(shortened) == LIMIT
    natural = shortened.removeprefix("a__")
    with_natural = federated("a", [long, natural])
    assert with_natural[1] == shortened
    assert with_natural[0] != shortened
    assert len(with_natural[0]) == LIMIT


def test_hash_suffixes_stay_the_same_between_releases():
    assert labels(["time", "my files", "a__b", "end_"]) == {
        "time": "time",
        "my files": "my_files-3c02e611",
        "a__b": "a_b-63e5c1c4",
        "end_": "end-78de5e98",
    }
    assert federated("time", ["now", "was ist"]) == ["time__now", "time__was_ist_8c1360b8"]


@pytest.mark.parametrize("name", ["", "☃", "\ud800", " ", "__", "a" * 500])
def test_a_bad_name_is_replaced_and_leaves_its_neighbours_alone(name):
    good, bad, other = federated("s", ["good", name, "other"])
    assert (good, other) == ("s__good", "s__other")
    assert ACCEPTED.fullmatch(bad)
