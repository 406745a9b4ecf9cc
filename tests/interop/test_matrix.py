"""Every client by every server by revision by transport, in one table, and the page that shows it."""

import pytest

from tests.interop import matrix
from tests.interop.expectations import expected, steps
from tests.interop.pairs import PAIRS, Pair, Serving, observe

ROWS = matrix.rows(PAIRS)


@pytest.fixture(scope="module")
def printed(request: pytest.FixtureRequest) -> list[str]:
    """Lines that end up in one table after the last row; `-s` or `-rP` shows them, and a failure does."""
    lines: list[str] = []
    request.addfinalizer(lambda: print("", *lines, sep="\n"))
    return lines


@pytest.mark.timeout(150)
@pytest.mark.parametrize("row", ROWS, ids=" to ".join)
def test_row(row: tuple[str, str], serving: Serving, printed: list[str]) -> None:
    faults = [f"{pair}: {step}" for pair in ROWS[row] for step in wrong(pair, serving)]
    looks = sum(len(steps(pair)) for pair in ROWS[row])
    spoken = [
        f"{revision} {cell}" for revision, cell in zip(matrix.REVISIONS, matrix.cells(ROWS[row]), strict=True) if cell
    ]
    printed.append(f"{row[0]:14} {row[1]:24} {looks - len(faults):4} of {looks:4} ok   {' · '.join(spoken)}")
    assert not faults


def wrong(pair: Pair, serving: Serving) -> list[str]:
    """The steps at which the client did not see what it must; `test_workshop` shows what it saw."""
    seen = observe(pair, serving)
    return [step for step in steps(pair) if seen.get(step) != expected(pair, step)]


def test_the_page_shows_what_is_run() -> None:
    """`python -m tests.interop.matrix` brings it up to date."""
    text = matrix.PAGE.read_text()
    assert text == matrix.page(text)
