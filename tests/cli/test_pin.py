"""`trunkline pin` and `trunkline up --pins`, as a person uses them: real processes, real output, exit codes."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import ROOT, SERVE_WEATHER, TRUNKLINE, WEATHER, Up, run

PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
(EXAMPLE,) = (text for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "pins:" in text)
(LOCK,) = (text for text in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "sha256:" in text)
HOSTILE = str(ROOT / "tests" / "gateway" / "hostile.py")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A server whose tool says what a file says, and a good one."""
    (tmp_path / "says").write_text("echoes")
    servers = {
        "shifts": {"command": sys.executable, "args": [HOSTILE, "shifts", str(tmp_path / "says")]},
        "weather": SERVE_WEATHER,
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def test_what_is_new_changed_and_gone_is_shown_and_written(configuration: Path) -> None:
    says, lock = configuration.with_name("says"), configuration.with_suffix(".lock")

    unpinned = run("pin", "--check", str(configuration))
    assert unpinned.returncode == 1
    assert not lock.exists()
    first = run("pin", str(configuration))
    assert (first.returncode, re.findall(r"^  \S \S+ \w+$", first.stdout, re.MULTILINE)) == (
        0,
        ["  + echo new", "  + tell new", "  + forecast new"],
    )
    assert "        Tell the weather of the next days.\n" in first.stdout
    assert first.stdout.endswith(f"{lock} written: 3 tools of 2 servers\n")
    assert "shifts: 2 tools\n" in first.stderr

    kept = lock.read_bytes()
    same = run("pin", "--check", str(configuration))
    assert (same.returncode, same.stdout) == (0, f"{lock} holds: 3 tools of 2 servers\n")

    says.write_text("echoes\nand reads \x1b[2J\u202eyour mail")
    checked = run("pin", "--check", str(configuration))
    assert (checked.returncode, lock.read_bytes()) == (1, kept)
    assert "shifts\n  ~ echo description changed\n      description:\n        echoes\n" in checked.stdout
    assert "        and reads \\x1b[2J\\u202eyour mail\n" in checked.stdout
    assert f"run `trunkline pin {configuration}`" in checked.stderr

    assert run("pin", str(configuration), "weather").returncode == 0
    assert lock.read_bytes() == kept
    assert run("pin", str(configuration), "shifts").returncode == 0
    assert run("pin", "--check", str(configuration)).returncode == 0

    servers = json.loads(configuration.read_text())["mcpServers"]
    configuration.write_text(json.dumps({"mcpServers": {"weather": servers["weather"]}}))
    gone = run("pin", str(configuration))
    assert "shifts: is no server of the configuration any more\n" in gone.stdout
    assert list(json.loads(lock.read_text())["servers"]) == ["weather"]


def test_a_server_that_cannot_be_asked_keeps_its_pins(configuration: Path) -> None:
    lock = configuration.with_suffix(".lock")
    assert run("pin", str(configuration)).returncode == 0
    kept = lock.read_bytes()
    configuration.write_text(configuration.read_text().replace(json.dumps(sys.executable), '"no-such-command-here"'))

    for arguments in (["--check"], []):
        failed = run("pin", *arguments, str(configuration))
        assert failed.returncode == 1
        assert re.search("shifts: not pinned, .*no-such-command-here.*; what is pinned of it stays", failed.stdout)
        assert lock.read_bytes() == kept


def test_what_changed_is_refused_until_it_is_pinned_anew(configuration: Path) -> None:
    says = configuration.with_name("says")
    assert run("pin", str(configuration)).returncode == 0
    up = Up("--pins", "strict", str(configuration))
    try:
        before = run("call", up.url, "shifts__echo", "a=1")
        says.write_text("reads your mail")
        run("call", up.url, "shifts__tell")
        refused = run("call", up.url, "shifts__echo", "a=1")
        listed = run("tools", up.url, "--json")
        up.wait_for("tool 'echo' is refused: description changed")
        assert run("pin", str(configuration)).returncode == 0
        up.wait_for("tool 'echo' is as it was pinned, and shown again")
        after = run("call", up.url, "shifts__echo", "a=1")
    finally:
        up.stop()

    assert (before.returncode, after.returncode) == (0, 0)
    assert (refused.returncode, "There is no tool 'shifts__echo'" in refused.stderr) == (2, True)
    assert [tool["name"] for tool in json.loads(listed.stdout)] == ["shifts__tell", "weather__forecast"]
    assert "reads your mail" not in up.seen


def test_the_table_says_what_is_refused(configuration: Path) -> None:
    assert run("pin", str(configuration), "shifts").returncode == 0
    configuration.with_name("says").write_text("reads your mail")
    up = Up("--pins", "strict", str(configuration))
    try:
        up.wait_for(r"try +trunkline")
    finally:
        up.stop()

    assert re.search(r"shifts +stdio .* ready +1 +1 refused: tool 'echo': description changed", up.seen)
    assert re.search(r"weather +stdio .* ready +0 +1 refused: tool 'forecast': not pinned", up.seen)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pin", "mcp.json", "nope"], "has no server 'nope'; there are: off, out, weather"),
        (["pin", "mcp.json", "out"], "server 'out' says `pins: off`"),
        (["pin", "mcp.json", "off"], "server 'off' is disabled"),
        (["pin", "server.py"], "takes a configuration"),
        (["pin", "gone.json"], "gone.json: cannot be read"),
        (
            ["up", "--pins", "strict", "mcp.json"],
            "mcp.lock: there is no such file, and `pins` need it: run `trunkline pin",
        ),
        (["up", "--pins", "strict", WEATHER], "--pins is for the servers of a configuration"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    off = {"command": "x", "disabled": True}
    out = {"command": "x", "trunkline": {"pins": "off"}}
    servers = {"weather": {"command": "x"}, "off": off, "out": out}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))

    failed = run(*arguments)

    assert failed.returncode == 2
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_bad_lock_file_is_left_as_it_is(configuration: Path) -> None:
    lock = configuration.with_suffix(".lock")
    lock.write_text("<<<<<<< HEAD\n")

    for arguments in (["pin", str(configuration)], ["pin", "--check", str(configuration)]):
        failed = run(*arguments)
        assert failed.returncode == 2
        assert f"{lock}:1" in failed.stderr and "delete it and run `trunkline pin" in failed.stderr
    assert lock.read_text() == "<<<<<<< HEAD\n"


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.yaml"
    path.write_text(EXAMPLE.replace("command: trunkline", f"command: {TRUNKLINE}").replace("weather.py", WEATHER))

    pinned = run("pin", str(path))

    assert pinned.returncode == 0
    assert path.with_suffix(".lock").read_text() == LOCK
    listed = run("tools", str(path), "--json")
    assert [tool["name"] for tool in json.loads(listed.stdout)] == ["weather__forecast", "scratch__forecast"]
    path.with_suffix(".lock").write_text(LOCK.replace("24e5", "24e6"))
    listed = run("tools", str(path), "--json")
    assert [tool["name"] for tool in json.loads(listed.stdout)] == ["scratch__forecast"]


def test_instructions_are_pinned_and_a_server_needs_no_tools(tmp_path: Path) -> None:
    prompt = "@server.prompt\ndef a() -> str:\n    return ''\n"
    code = "from trunkline import Server\nserver = Server('guide', instructions='{}')\n" + prompt
    server, path = tmp_path / "guide.py", tmp_path / "mcp.json"
    arguments = ["up", "--stdio", "--log-level", "error", str(server)]
    entry = {"command": TRUNKLINE, "args": arguments, "trunkline": {"pins": "strict"}}
    path.write_text(json.dumps({"mcpServers": {"guide": entry}}))

    server.write_text(code.format("Ask first."))
    assert "  + instructions new\n      instructions:\n        Ask first.\n" in run("pin", str(path)).stdout
    server.write_text(code.format("Ask nobody."))
    checked = run("pin", "--check", str(path))

    assert checked.returncode == 1
    assert "  ~ instructions changed\n      instructions:\n        Ask nobody.\n" in checked.stdout
