"""The session of the page about durable calls, typed into a shell: gateways, a server from npm, a SIGKILL."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interop.running import EVERYTHING, NODE, need

PAGE = (Path(__file__).resolve().parents[2] / "docs/tasks-gateway.md").read_text("utf-8")
(SESSION,) = re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
CONFIGURATION = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reached(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(150)
def test_the_session_of_the_page_goes_as_shown(tmp_path: Path) -> None:
    need(EVERYTHING)
    port = free_port()
    # The package is installed already: nothing is downloaded in a test.
    (tmp_path / "npx").write_text(f'#!/bin/sh\nexec "{NODE}" "{EVERYTHING}" stdio\n')
    (tmp_path / "npx").chmod(0o755)
    (tmp_path / "trunkline.yaml").write_text(CONFIGURATION)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    known = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200"}
    (tmp_path / "out").touch()
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        shell = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, cwd=tmp_path, env=known
        )
    assert shell.stdin is not None
    try:
        for command in re.findall(r"^\$ (.*)$", SESSION, re.MULTILINE):
            here = command.replace("8808", str(port)).replace(
                "trunkline.yaml &", f"trunkline.yaml --port {port} > up &"
            )
            # The whole of a call is too long to wait for; what it is killed in the middle of is not.
            shell.stdin.write(here.replace("duration:=20", "duration:=4") + "\n")
            shell.stdin.flush()
            deadline = time.monotonic() + 40
            while "trunkline up" in command and not reached(port):
                assert time.monotonic() < deadline, (tmp_path / "err").read_text()
                time.sleep(0.05)
            if "kill" in command:
                while reached(port):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        shell.stdin.write("kill -KILL $!\n")
        shell.stdin.close()
        shell.wait(100)
    finally:
        shell.kill()
    shown = [line for line in SESSION.splitlines() if not line.startswith("$ ")]
    said = (tmp_path / "out").read_text().replace("4 seconds", "20 seconds")
    assert said.splitlines() == shown, (tmp_path / "err").read_text()
