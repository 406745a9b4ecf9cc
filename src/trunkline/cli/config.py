"""`trunkline config`: look at a configuration without starting anything."""

import argparse
import os

from trunkline.assembly.explaining import explain
from trunkline.cli.plain import plain


def run(arguments: argparse.Namespace) -> int:
    """Check, show or explain."""
    if arguments.what == "explain":
        print(explain(arguments.key))
        return 0
    return _check(arguments.file) if arguments.what == "check" else _show(arguments.file)


def _check(path: str) -> int:
    from trunkline.assembly.showing import check

    problems = check(path, os.environ)
    for problem in problems:
        print(plain(problem))
    if not problems:
        print(f"{path}: no problem found")
    return 2 if problems else 0


def _show(path: str) -> int:
    from trunkline.assembly.showing import show

    rows = [(plain(row.key), plain(row.value), plain(row.origin)) for row in show(path)]
    key, value = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        print(f"{row[0]:{key}}  {row[1]:{min(value, 50)}}  {row[2]}")
    return 0
