"""`trunkline keys`: the file with the keys that replicas seal with."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from trunkline.engine.sealed import key_id
from trunkline.storage import keyfile
from trunkline.storage.keyfile import Key


def run(arguments: argparse.Namespace) -> int:
    """Make, show, rotate or prune."""
    path = Path(arguments.file)
    if arguments.what == "new":
        made = keyfile.new(path)
        print(f"{path}: made with key {_name(made)}; give every replica this file, and nobody else")
    elif arguments.what == "rotate":
        made = keyfile.rotate(path, arguments.lead)
        print(f"{path}: key {_name(made)} added; replicas seal with it from {_time(made.begins)}")
    elif arguments.what == "prune":
        gone = keyfile.prune(path, time.time())
        names = ", ".join(map(_name, gone))
        print(f"{path}: removed {names}" if gone else f"{path}: every key may still be needed")
    else:
        _show(path)
    return 0


def _show(path: Path) -> None:
    keys, now = keyfile.read(path), time.time()
    if keyfile.is_open_to_others(path):
        print(f"{path}: others on this machine may read it; run: chmod o-r {path}", file=sys.stderr)
    sealing = keyfile.in_order(keys, now)[0]
    for place, key in enumerate(keys):
        newer = keys[place - 1] if place else None
        print(f"{_name(key)}  from {_time(key.begins)}  {_state(key, newer, sealing, now)}")


def _state(key: Key, newer: Key | None, sealing: Key, now: float) -> str:
    if key is sealing:
        return "seals"
    if key.begins > now or newer is None:
        return "opens; seals once its time has come"
    return f"opens; may be pruned after {_time(newer.begins + keyfile.LONGEST_LIFE)}"


def _name(key: Key) -> str:
    return key_id(key.secret).hex()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
