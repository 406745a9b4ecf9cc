"""The command line as a person uses it: real processes, real output, exit codes."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRUNKLINE = str(Path(sys.executable).with_name("trunkline"))
WEATHER = str(ROOT / "examples" / "weather.py")
SERVE_WEATHER = {
    "command": sys.executable,
    "args": ["-c", f"import runpy; runpy.run_path({WEATHER!r})['server'].run()"],
}
"""Its entry in a configuration; a process of `trunkline up --stdio` takes longer to start."""


def run(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRUNKLINE, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        input=stdin,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


class Up:
    """A running `trunkline up`, and the endpoint it printed."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [TRUNKLINE, "up", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "160"},
        )
        self.seen = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.url = self.wait_for(r"http://127\.0\.0\.1:\d+/mcp")
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def wait_for(self, pattern: str, seconds: float = 40) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(pattern, self.seen)
            if found:
                return found[0]
            assert self.process.poll() is None, self.seen
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} did not appear in:\n{self.seen}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.seen += line


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("up") / "mcp.json"
    off = {**SERVE_WEATHER, "disabled": True}
    servers = {"weather": SERVE_WEATHER, "broken": {"command": "no-such-command-here"}, "off": off}
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@pytest.fixture(scope="module")
def gateway(configuration: Path) -> Iterator[Up]:
    up = Up(str(configuration))
    yield up
    if up.process.poll() is None:
        up.stop()


def test_help_shows_the_main_job_first() -> None:
    shown = run("--help").stdout

    assert "trunkline up mcp.json" in shown
    assert run().stdout == shown


def test_the_module_is_the_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "trunkline", "--version"], capture_output=True, text=True, check=True)

    assert shown.stdout == run("--version").stdout


@pytest.mark.parametrize("command", ["up", "pin", "tools", "call", "read", "prompt", "resources", "prompts"])
def test_every_command_has_help_with_examples(command: str) -> None:
    assert f"examples:\n  trunkline {command}" in run(command, "--help").stdout


def test_up_shows_a_row_for_each_server_and_what_to_do_next(gateway: Up) -> None:
    gateway.wait_for(r"try +trunkline")

    assert re.search(r"weather +stdio +modern +2026-07-28 +ready +1", gateway.seen)
    assert re.search(r"broken +stdio +\S.* +command not found: no-such-command-here", gateway.seen)
    assert re.search(r"off +stdio +disabled", gateway.seen)
    assert f'{{"mcpServers": {{"trunkline": {{"type": "http", "url": "{gateway.url}"}}}}}}' in gateway.seen


def test_tools_lists_what_the_gateway_offers(gateway: Up) -> None:
    listed = run("tools", gateway.url)

    assert "weather__forecast  city:string days?:integer  Tell the weather of the next days." in listed.stdout
    assert [tool["name"] for tool in json.loads(run("tools", gateway.url, "--json").stdout)] == ["weather__forecast"]


def test_call_prints_the_result(gateway: Up) -> None:
    called = run("call", gateway.url, "weather__forecast", "city=Oslo", "days=3")

    assert (called.returncode, called.stdout, called.stderr) == (0, "Oslo: sun for 3 days\n", "")


def test_call_prints_json_for_scripts(gateway: Up) -> None:
    called = run("call", gateway.url, "weather__forecast", "--arguments", '{"city": "Oslo"}', "--json")

    assert json.loads(called.stdout)["content"] == [{"type": "text", "text": "Oslo: sun for 1 day"}]


@pytest.mark.parametrize(
    "arguments",
    [["--json", "city=Oslo", "days=2"], ["city=Oslo", "--json", "days=2"], ["city=Oslo", "days=2", "--json"]],
)
def test_arguments_may_stand_before_and_behind_options(arguments: list[str]) -> None:
    called = run("call", WEATHER, "forecast", *arguments)

    assert json.loads(called.stdout)["content"] == [{"type": "text", "text": "Oslo: sun for 2 days"}]


@pytest.mark.parametrize(
    "arguments", [["call", WEATHER, "forecast", "--jsn", "city=Oslo"], ["tools", WEATHER, "extra"]]
)
def test_what_no_command_knows_is_refused(arguments: list[str]) -> None:
    refused = run(*arguments)

    assert refused.returncode == 2
    assert "unrecognized arguments: " in refused.stderr


def test_read_prints_a_resource(gateway: Up) -> None:
    assert run("read", gateway.url, "weather://Rome").stdout == "Rome: sun\n"


def test_a_file_is_a_target_like_a_url(configuration: Path) -> None:
    called = run("call", str(configuration), "weather__forecast", "city=Oslo")

    assert called.stdout == "Oslo: sun for 1 day\n"
    assert "broken: " in called.stderr and "command not found: no-such-command-here" in called.stderr


def test_a_server_in_python_is_a_target() -> None:
    assert run("call", f"{WEATHER}:server", "forecast", "city=Oslo").stdout == "Oslo: sun for 1 day\n"


def test_a_server_in_python_starts_without_what_calls_out(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        "import sys\nfrom trunkline import Server\nserver = Server('x')\n"
        "@server.tool\ndef loaded() -> list[str]:\n"
        "    return [name for name in ('aiohttp', 'sqlalchemy', 'trunkline.gateway') if name in sys.modules]\n"
    )
    up = Up(str(server))
    try:
        called = run("call", up.url, "loaded", "--json")
    finally:
        up.stop()

    assert json.loads(called.stdout)["structuredContent"] == {"result": []}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["call", WEATHER, "forcast"], 2, "There is no tool 'forcast'. Did you mean forecast?"),
        (["call", WEATHER, "forecast", "days=x"], 2, "days: 'x' is not integer"),
        (["call", WEATHER, "forecast"], 1, "The tool failed"),
        (["read", WEATHER, "nothing://here"], 1, "Resource not found: nothing://here"),
        (["tools", "http://127.0.0.1:9/mcp"], 1, "Cannot connect to http://127.0.0.1:9/mcp"),
        (["tools", "what"], 2, "'what' is not a target"),
        (["tools", "no.json"], 2, "no.json"),
        (["up", "no.py"], 2, "There is no file no.py"),
        (["up", "http://127.0.0.1:9/mcp"], 2, "takes a configuration"),
        (["up", "--host", "0.0.0.0", WEATHER], 2, "nobody has to sign in"),
        (["tools", "http://127.0.0.1:9/mcp", "--header", "nocolon"], 2, "--header needs NAME:VALUE"),
        (["tools", "http://127.0.0.1:9/mcp", "--token-env", "NO_SUCH_VARIABLE"], 2, "NO_SUCH_VARIABLE"),
    ],
)
def test_a_mistake_is_said_in_one_line(arguments: list[str], code: int, said: str) -> None:
    failed = run(*arguments)

    assert failed.returncode == code
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_taken_port_is_said_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        failed = run("up", "--port", str(taken.getsockname()[1]), WEATHER)

    assert failed.returncode == 2
    assert "Cannot listen on 127.0.0.1" in failed.stderr


def test_a_signal_ends_up_cleanly_with_its_upstreams(configuration: Path) -> None:
    up = Up(str(configuration))
    up.wait_for(r"try +trunkline")
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()

    assert up.stop(signal.SIGINT) == 0
    assert children
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_tokens_are_refused_where_nobody_can_present_one(tmp_path: Path) -> None:
    done = run("up", "--stdio", "--tokens", str(tmp_path / "tokens.json"), WEATHER)
    assert done.returncode == 2
    assert "--tokens needs HTTP" in done.stderr


def test_tokens_decide_who_may_call_what(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    (tmp_path / "ci.token").write_text("token-of-ci\n")
    limited = {"name": "ci", "secret": "file:ci.token", "tools": ["nothing*"]}
    digest = hashlib.sha256(b"token-of-ann").hexdigest()
    tokens.write_text(json.dumps({"tokens": [limited, {"name": "ann", "sha256": digest}]}))
    up = Up("--tokens", str(tokens), WEATHER)
    try:
        refused = run("tools", up.url)
        as_ci = run("call", up.url, "forecast", "city=Oslo", "--token-env", "T", T="token-of-ci")
        as_ann = run("call", up.url, "forecast", "city=Oslo", "--token-env", "T", T="token-of-ann")
    finally:
        up.stop()

    assert refused.returncode == 1
    assert "There is no tool 'forecast'" in as_ci.stderr
    assert as_ann.stdout == "Oslo: sun for 1 day\n"


def test_stdio_serves_the_gateway_to_clients_that_launch_commands(configuration: Path) -> None:
    command = f"{TRUNKLINE} up --stdio --log-level error {configuration}"

    assert run("call", command, "weather__forecast", "city=Oslo").stdout == "Oslo: sun for 1 day\n"


def test_one_request_id_follows_a_call_through_the_gateway_to_the_upstream(tmp_path: Path) -> None:
    upstream = Up("--log-format", "json", WEATHER)
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"weather": {"url": upstream.url}}}))
    gateway = Up("--log-format", "json", str(path))
    try:
        run("call", gateway.url, "weather__forecast", "city=Hammerfest")
        logged = [call_line(up) for up in (gateway, upstream)]
    finally:
        gateway.stop()
        upstream.stop()

    assert logged[0]["request"] == logged[1]["request"]
    assert [line["subject"] for line in logged] == ["weather__forecast", "forecast"]
    assert "Hammerfest" not in gateway.seen + upstream.seen


def call_line(up: Up) -> dict[str, object]:
    """The log line of the one tools/call a process served."""
    return json.loads(up.wait_for(r'\{[^\n]*"method": "tools/call"[^\n]*\}'))
