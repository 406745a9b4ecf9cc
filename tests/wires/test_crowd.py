"""Fifty callers over twenty servers, one of them sick: the others' answers are the same. `make soak` times them too."""

import pytest

from tests.wires.crowd import ILLNESSES, SICK, crowd, pairs


@pytest.mark.timeout(180)
async def test_one_sick_server_of_twenty_changes_no_answer_of_the_others(tmp_path):
    async with crowd(tmp_path / "never") as them:
        for wire in SICK:
            for fault in ILLNESSES.values():
                async for well, ill in pairs(them, wire, fault, 1, 8, 0.02):
                    assert well.wrong == []
                    assert well.refused == 0
                    assert ill.wrong == []
                    assert ill.refused > 0
