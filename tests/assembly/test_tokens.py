"""The token file of `--tokens`."""

from pathlib import Path

import pytest

from trunkline.assembly.tokens import read_tokens
from trunkline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not right"),
        ('{"tokens": []}', "empty"),
        ('{"tokens": [{"name": "a"}]}', "needs either sha256 or secret"),
        ('{"tokens": [{"name": "a", "secret": "env:NOT_SET_ANYWHERE"}]}', "NOT_SET_ANYWHERE, which is not set"),
        ('{"tokens": [{"name": "a", "secret": "file:missing"}]}', "cannot be read from missing"),
        ('{"tokens": [{"name": "a", "token": "hunter2"}]}', "unknown field"),
        ('{"tokens": [{"name": "a", "secret": "hunter2"}]}', "must be written env:NAME or file:PATH"),
    ],
)
def test_a_mistake_is_said_without_quoting_a_value(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)

    with pytest.raises(ConfigError) as raised:
        read_tokens(str(path))

    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokens("/no/such/tokens.json")
