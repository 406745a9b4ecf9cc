"""Peers as real processes: where they are installed, how a server of theirs starts, what a client of theirs saw."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
PYTHON = ROOT / "build/peers/bin/python"
NODE = ROOT / "build/bin/node"
MODULES = ROOT / "build/node"
EVERYTHING = MODULES / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
SECONDS = 55

Seen = dict[str, Any]
"""What a client saw: a value for each step of its scenario."""


def environment() -> dict[str, str]:
    """What peers inherit: this project's Python stays out of it, and so does the person's home."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    return {**kept, "HOME": tempfile.gettempdir(), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def python(script: str) -> list[str]:
    """The command of a peer in Python."""
    need(PYTHON)
    return [str(PYTHON), str(PEERS / "python" / script)]


def node(script: str) -> list[str]:
    """The command of a peer in TypeScript's world; scripts find packages from where they lie, so they go there."""
    need(MODULES / "node_modules")
    folder = MODULES / "interop"
    folder.mkdir(exist_ok=True)
    for source in (PEERS / "node").glob("*.mjs"):
        target = folder / source.name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy(source, target)
    return [str(NODE), str(folder / script)]


def package(binary: str) -> list[str]:
    """The command of a program that an npm package installs."""
    need(MODULES / "node_modules")
    return [str(NODE), str(MODULES / "node_modules/.bin" / binary)]


def ours(module: str, *arguments: str) -> list[str]:
    """The command of a module of these tests in this project's Python."""
    return [sys.executable, "-m", f"tests.interop.{module}", *arguments]


def trunkline(*arguments: str) -> list[str]:
    """The command of our command line."""
    return [str(Path(sys.executable).with_name("trunkline")), *arguments]


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """A server process whose first line ends with its URL, and which is gone after the body."""
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, cwd=ROOT, text=True,
            env=environment(),
        )  # fmt: skip
        assert child.stdout is not None
        try:
            url = child.stdout.readline().strip().rpartition(" ")[2]
            if not url.startswith("http"):
                errors.seek(0)
                raise AssertionError(f"{command} does not start: {url}\n{errors.read()[-3000:]}")
            yield url
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            child.stdout.close()


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A peer that ends by itself."""
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
    )


def observe(command: Sequence[str]) -> Seen:
    """What a client process saw."""
    done = run(command)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    seen: Seen = json.loads(done.stdout)
    return seen


def need(*paths: Path) -> None:
    """Skip, with the way out, where a peer is not installed; at the top of a module it skips all of it."""
    for path in paths:
        if not path.exists():
            said = f"{path.relative_to(ROOT)} is not installed; `make test` installs it"
            pytest.skip(said, allow_module_level=True)
