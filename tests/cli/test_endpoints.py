"""Endpoints and progressive discovery on the command line, by the example of the documentation."""

import json
import re
from pathlib import Path

from tests.cli.test_commands import ROOT, SERVE_WEATHER, TRUNKLINE, WEATHER, Up, run

PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
(EXAMPLE,) = (
    text for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "endpoints:" in text
)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.yaml"
    path.write_text(EXAMPLE.replace("command: trunkline", f"command: {TRUNKLINE}").replace("weather.py", WEATHER))
    up = Up(str(path))
    try:
        oslo = up.wait_for(r"http://\S+/endpoints/oslo/mcp")
        search = up.wait_for(r"http://\S+/endpoints/search/mcp +1 by search").split()[0]
        called = run("call", oslo, "forecast", "days=2")
        found = run("call", search, "find_tools", "query=weather next days", "--json")
        inside = run("call", search, "call_tool", "name=weather__forecast", 'arguments={"city": "Rome"}')
    finally:
        up.stop()

    assert called.stdout == "Oslo: sun for 2 days\n"
    assert json.loads(found.stdout)["structuredContent"]["tools"][0]["name"] == "weather__forecast"
    assert inside.stdout == "Rome: sun for 1 day\n"


def test_a_whole_gateway_by_search(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"weather": SERVE_WEATHER}}))
    up = Up("--progressive", str(tmp_path / "mcp.json"))
    try:
        listed = run("tools", up.url, "--json")
    finally:
        up.stop()

    assert [tool["name"] for tool in json.loads(listed.stdout)] == ["find_tools", "call_tool"]
