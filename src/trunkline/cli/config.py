"""`trunkline config`: look at a configuration without starting anything."""

import argparse
import os

from trunkline.assembly.explaining import explain


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
        print(problem)
    if not problems:
        print(f"{path}: no problem found")
    return 2 if problems else 0


def _show(path: str) -> int:
    from trunkline.assembly.showing import show

    rows = show(path)
    key, value = (max(len(getattr(row, name)) for row in rows) for name in ("key", "value"))
    for row in rows:
        print(f"{row.key:{key}}  {row.value:{min(value, 50)}}  {row.origin}")
    return 0
