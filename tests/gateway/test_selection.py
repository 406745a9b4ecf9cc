"""What a selection shows, for any selection and any lists."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.selection import Chosen, Edit, pattern_of, without

NAMES = st.sampled_from(["a__x", "a__y", "b__x", "b__y", "b__z", "c__x"])
SHOWN = st.sampled_from(["x", "y", "now", "a__x", "b__y", "find_tools"])
ARGUMENTS = st.sampled_from(["p", "q", "r"])
EDITS = st.builds(
    Edit,
    name=st.none() | SHOWN,
    description=st.none() | st.just("told otherwise"),
    pin=st.dictionaries(ARGUMENTS, st.integers(), max_size=2),
)
PATTERNS = st.lists(NAMES | st.sampled_from(["*", "a__*", "b__*", "*__x", "nobody__*"]), max_size=3)


def tool(name, properties=("p", "q")):
    schema = {"type": "object", "properties": {one: {"type": "integer"} for one in properties}, "required": ["p"]}
    return {"name": name, "description": "told", "inputSchema": schema}


@given(PATTERNS, st.dictionaries(NAMES, EDITS, max_size=4), st.lists(NAMES, unique=True))
def test_every_shown_name_is_unique_and_leads_back_to_its_own_tool(patterns, edits, listed):
    chosen = Chosen("tools", patterns, edits)
    shown = chosen.shown([tool(name) for name in listed])
    names = [one["name"] for one in shown]
    reals = [chosen.real(name) for name in names]

    assert len(set(names)) == len(names)
    assert [name for name in listed if name in reals] == reals, "in the order of the gateway"
    assert all(real is not None and chosen.takes(real) for real in reals)
    for name, real in zip(names, reals, strict=True):
        edit = edits.get(real)
        assert name == (edit.name if edit is not None and edit.name else real)


@given(PATTERNS, st.dictionaries(NAMES, EDITS, max_size=4), NAMES | SHOWN)
def test_a_name_leads_to_the_same_tool_whatever_is_listed_and_never_outside_the_selection(patterns, edits, name):
    real = Chosen("tools", patterns, edits).real(name)

    if real is None:
        return
    assert pattern_of(patterns)(real)
    if real != name:
        assert edits[real].name == name


@given(PATTERNS, st.dictionaries(NAMES, EDITS, max_size=4), st.lists(NAMES, unique=True))
def test_pinned_arguments_are_in_no_schema(patterns, edits, listed):
    chosen = Chosen("tools", patterns, edits)
    for one in chosen.shown([tool(name) for name in listed]):
        pins = chosen.pins(chosen.real(one["name"]))
        assert not set(pins) & set(one["inputSchema"]["properties"])
        assert not set(pins) & set(one["inputSchema"].get("required", ()))


@given(PATTERNS, st.lists(NAMES, unique=True))
def test_what_is_not_edited_is_shown_as_it_came(patterns, listed):
    items = [tool(name) for name in listed]

    assert all(any(one is item for item in items) for one in Chosen("tools", patterns).shown(items))


@given(st.lists(st.text("ab*", max_size=4), max_size=3), st.text("ab", max_size=6))
def test_an_asterisk_is_any_text_and_nothing_else_is_special(patterns, text):
    def matches(pattern, rest):
        if not pattern:
            return not rest
        if pattern[0] == "*":
            return any(matches(pattern[1:], rest[cut:]) for cut in range(len(rest) + 1))
        return rest[:1] == pattern[0] and matches(pattern[1:], rest[1:])

    assert pattern_of(patterns)(text) == any(matches(pattern, text) for pattern in patterns)


def test_uri_templates_are_named_as_they_stand():
    assert pattern_of(["demo://items{?page}"])("demo://items{?page}")
    assert not pattern_of(["demo://item[s]"])("demo://items")


def test_pins_leave_alternatives_as_well():
    schema = {
        "type": "object",
        "properties": {"id": {}, "name": {}, "kept": {}},
        "oneOf": [{"required": ["id"]}, {"required": ["name"]}],
    }

    assert without(schema, frozenset({"id"})) == {
        "type": "object",
        "properties": {"name": {}, "kept": {}},
        "oneOf": [{}, {"required": ["name"]}],
    }


def test_a_prompt_loses_its_pinned_arguments():
    prompt = {"name": "a__x", "arguments": [{"name": "language"}, {"name": "style"}]}
    chosen = Chosen("prompts", ["a__x"], {"a__x": Edit(name="review", title="Review", pin={"style": "brief"})})

    assert chosen.shown([prompt]) == [{"name": "review", "title": "Review", "arguments": [{"name": "language"}]}]


def test_what_is_not_there_is_told():
    edits = {"a__x": Edit(pin={"zone": 1}), "b__x": Edit(name="a__y")}
    chosen = Chosen("tools", ["a__*", "b__x", "b__gone", "c__*"], edits)

    assert chosen.unknown([tool("a__x"), tool("a__y"), tool("b__x")]) == [
        "there is no tool 'b__gone'",
        "no tool matches 'c__*'",
        "tool 'a__x' has no argument 'zone' to fill in",
        "tool 'a__y' of the gateway is hidden by 'b__x', which has its name here",
    ]
