"""Every client walks through every workshop; each test looks at one thing a user relies on.

A connection is one process of the peer's own making, walked through once; `expectations` says what must be seen.
"""

import pytest

from tests.interop.expectations import expected, steps
from tests.interop.pairs import PAIRS, Pair, Serving, observe

LOOKS = [(pair, step) for pair in PAIRS for step in steps(pair)]


@pytest.mark.parametrize(("pair", "step"), LOOKS, ids=[f"{pair}: {step}" for pair, step in LOOKS])
def test_client_sees(pair: Pair, step: str, serving: Serving) -> None:
    seen = observe(pair, serving)
    assert seen[step] == expected(pair, step)
