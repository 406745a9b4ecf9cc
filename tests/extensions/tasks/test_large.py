"""Results as large as they may be, by the memory of the process that runs them, keeps them and tells them."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.extensions.tasks.calling import Caller
from tests.extensions.tasks.test_durability import Stage

LARGE = 16 * 1024 * 1024
# Text stands in a result twice: as content, and structured.
SIZE = LARGE // 2 - 1000
COUNT = 20

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def stage(url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(url, tmp_path / "ledger")
    yield stage
    stage.end()


def memory(stage: Stage, what: str) -> int:
    """Bytes: `VmRSS` is now, `VmHWM` the most there was."""
    [line] = [row for row in Path(f"/proc/{stage.process.pid}/status").read_text().splitlines() if what in row]
    return int(line.split()[1]) * 1024


async def test_large_results_are_not_kept_in_memory(stage: Stage) -> None:
    seen = []
    async with aiohttp.ClientSession() as http:
        caller = Caller(stage.url, http)
        await caller.ended(await caller.start("large", size=10))
        base = memory(stage, "VmRSS")
        for _ in range(COUNT):
            task = await caller.ended(await caller.start("large", size=SIZE), seconds=60)
            assert len(task["result"]["content"][0]["text"]) == SIZE
            seen.append(memory(stage, "VmRSS") - base)
    most = memory(stage, "VmHWM") - base
    print(
        f"a result of 16 MiB: {[round(one / LARGE, 1) for one in seen]} times that is kept, at most {most / LARGE:.1f}"
    )

    # A result or two on their way, and on PostgreSQL what each connection of the pool keeps of the largest it carried;
    # if each result left one copy behind, it would be more.
    assert most < 12 * LARGE
