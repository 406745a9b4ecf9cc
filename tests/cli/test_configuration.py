"""`trunkline.yaml` on the command line: real processes, real output."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import TRUNKLINE, WEATHER, Up, run

SERVERS = f"""
servers:
  weather:
    command: {TRUNKLINE}
    args: [up, --stdio, --log-level, error, {WEATHER}]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "trunkline.yaml"
    path.write_text(text)
    return str(path)


def test_a_configuration_is_a_target_like_any_other(tmp_path: Path) -> None:
    called = run("call", write(tmp_path, SERVERS), "weather__forecast", "city=Oslo")

    assert (called.returncode, called.stdout, called.stderr) == (0, "Oslo: sun for 1 day\n", "")


def test_up_serves_it_where_it_says_and_to_whom(tmp_path: Path) -> None:
    (tmp_path / "ci.token").write_text("token-of-ci\n")
    tokens = "tokens:\n  - {name: ci, secret: '${file:ci.token}', tools: ['weather__*']}\n"
    listen = "listen: {port: 1, path: /mcp}\n"
    up = Up(write(tmp_path, SERVERS + listen + tokens))
    try:
        refused = run("tools", up.url)
        called = run("call", up.url, "weather__forecast", "city=Oslo", "--token-env", "T", T="token-of-ci")
    finally:
        up.stop()

    assert refused.returncode == 1
    assert called.stdout == "Oslo: sun for 1 day\n"


def test_every_mistake_is_said_before_anything_starts(tmp_path: Path) -> None:
    failed = run("up", write(tmp_path, "servers:\n  a:\n    comand: x\nlisten: {prot: 1}\n"))

    assert failed.returncode == 2
    assert 'trunkline.yaml:3: server "a": the key "comand" is not known; did you mean `command`?' in failed.stderr
    assert 'trunkline.yaml:4: listen: the key "prot" is not known; did you mean `port`?' in failed.stderr


@pytest.mark.parametrize("name", ["yaml", "aiohttp.web", "alembic"])
def test_what_a_gateway_may_not_need_is_not_imported(name: str) -> None:
    code = f"import sys, trunkline.cli.up, trunkline.assembly.reloading; sys.exit({name!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 0


def test_up_follows_its_file_and_reads_it_again_on_sighup(tmp_path: Path) -> None:
    path = write(tmp_path, SERVERS)
    up = Up(path)
    try:
        up.wait_for(r"try +trunkline")
        write(tmp_path, SERVERS.replace("weather:", "climate:"))
        up.wait_for(r"configuration reloaded +added=climate changed= removed=weather")
        called = run("call", up.url, "climate__forecast", "city=Oslo")
        write(tmp_path, SERVERS + "listn: {}\n")
        up.wait_for(r"was not reloaded: .*did you mean `listen`\?")
        write(tmp_path, SERVERS.replace("weather:", "climate:"))
        up.wait_for(r"configuration reloaded +added= changed= removed=")
        os.kill(up.process.pid, signal.SIGHUP)
        up.wait_for(r"(?s)(configuration reloaded.*){3}")
        again = run("call", up.url, "climate__forecast", "city=Oslo")
    finally:
        code = up.stop()

    assert called.stdout == again.stdout == "Oslo: sun for 1 day\n"
    assert code == 0
