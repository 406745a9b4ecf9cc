"""The public names, and what importing them costs."""

import subprocess
import sys

import trunkline

HEAVY = "asyncio", "aiohttp", "uvicorn", "pydantic", "rich", "typer", "starlette", "cryptography", "jsonschema_rs"


def test_names_are_sorted_and_each_can_be_imported() -> None:
    assert sorted(set(trunkline.__all__)) == dir(trunkline)
    for name in trunkline.__all__:
        assert getattr(trunkline, name) is not None


def test_a_server_starts_without_what_it_does_not_use() -> None:
    code = (
        "import sys\nfrom trunkline import Server\nserver = Server('x')\n"
        "@server.tool\nasync def add(a: int, b: int) -> int:\n    return a + b\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert loaded.stdout.split() == []
