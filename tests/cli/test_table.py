"""When the table of a gateway can be shown once and for all."""

import pytest

from trunkline.cli.table import settled
from trunkline.gateway.status import UpstreamStatus


@pytest.mark.parametrize(
    ("state", "tools", "error", "is_settled"),
    [
        ("starting", None, None, False),
        ("ready", None, None, False),
        ("ready", 0, None, True),
        ("ready", None, "it does not list its tools", True),
        ("failed", None, "no such command", True),
    ],
)
def test_a_server_that_is_up_has_to_tell_its_tools(
    state: str, tools: int | None, error: str | None, is_settled: bool
) -> None:
    status = UpstreamStatus("weather", "stdio", state, 0.0, tools=tools, error=error)

    assert settled([status]) is is_settled
