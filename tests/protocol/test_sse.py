"""Server-Sent Events, as the HTML standard reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ParseError
from trunkline.protocol import sse


def events(data: bytes, *cuts: int) -> list[sse.Event]:
    parser, found, start = sse.Parser(), [], 0
    for cut in [*sorted(cuts), len(data)]:
        found += parser.feed(data[start:cut])
        start = cut
    return found


LINES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(LINES, st.none() | LINES, st.none() | st.integers(0, 10**9), st.lists(st.integers(0, 200), max_size=5))
def test_an_encoded_event_is_parsed_again_wherever_the_stream_is_cut(
    data: str, id: str | None, retry: int | None, cuts: list[int]
) -> None:
    raw = sse.encode(data.encode(), id=id, retry=retry)

    (event,) = events(raw, *(cut for cut in cuts if cut <= len(raw)))

    assert (event.data, event.id, event.retry) == (data, id, retry)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_give_the_same_events_however_they_arrive(raw: bytes, cuts: list[int]) -> None:
    assert events(raw, *(cut for cut in cuts if cut <= len(raw))) == events(raw)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_all_three_line_ends(end: str) -> None:
    raw = f"event: note{end}data: a{end}data: b{end}{end}data: c{end}{end}".encode()

    for cut in range(len(raw)):
        found = [(event.event, event.data) for event in events(raw, cut)]

        assert found == [("note", "a\nb"), ("message", "c")]


def test_comments_and_unknown_fields_are_ignored() -> None:
    assert events(sse.KEEP_ALIVE + b"colour: red\n\n" + sse.encode(b"x")) == [sse.Event("x")]


def test_an_unfinished_event_is_not_delivered() -> None:
    assert events(b"data: half") == []


def test_a_retry_alone_is_told() -> None:
    assert events(b"retry: 500\n\n") == [sse.Event("", retry=500)]


def test_an_endless_event_is_refused() -> None:
    parser = sse.Parser(limit=1000)

    with pytest.raises(ParseError):
        for _ in range(1000):
            list(parser.feed(b"data: 0123456789\n"))


def test_an_event_of_empty_lines_without_end_is_refused() -> None:
    parser = sse.Parser(limit=1000)

    with pytest.raises(ParseError):
        for _ in range(2000):
            list(parser.feed(b"data:\n"))


def test_a_line_that_comes_in_small_pieces_costs_no_more_than_its_length() -> None:
    parser, found = sse.Parser(), []

    for piece in (b"data: ", *[b"x" * 1000] * 20_000, b"\n\n"):
        found += parser.feed(piece)

    assert [len(event.data) for event in found] == [20_000_000]


def test_an_endless_line_is_refused() -> None:
    parser = sse.Parser(limit=1000)

    with pytest.raises(ParseError):
        for _ in range(1000):
            list(parser.feed(b"0123456789"))
