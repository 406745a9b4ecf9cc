"""How a question goes to a legacy client."""

import pytest

from trunkline.engine.doors import InputRequest
from trunkline.protocol import json
from trunkline.protocol.revisions import REVISIONS
from trunkline.transports.asking import Questions

PAGE = {"mode": "url", "message": "Pay", "url": "https://pay.example"}


@pytest.mark.parametrize("given", [{}, {"elicitationId": "mine"}])
async def test_a_page_has_the_id_its_revision_demands(given: dict[str, object]) -> None:
    sent: list[dict[str, object]] = []

    async def tell(message: bytes) -> None:
        sent.append(json.plain(message))  # type: ignore[arg-type]

    questions = Questions(REVISIONS["2025-11-25"], "here", seconds=0.01)
    await questions.ask({"page": InputRequest("elicitation/create", {**PAGE, **given})}, tell)
    params = sent[0]["params"]
    assert isinstance(params, dict)
    named = params.pop("elicitationId")
    assert named == given.get("elicitationId", named) != ""
    assert params == PAGE
