"""`trunkline db`: the tables of a database."""

import argparse

from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage import schema
from trunkline.storage.location import locate
from trunkline.storage.versions import Branch, Version

BRANCHES = (*schema.BRANCHES, TASKS)


def run(arguments: argparse.Namespace) -> int:
    """Bring the tables up to date, or say what they are."""
    name = locate(arguments.url).name
    if arguments.what == "upgrade":
        ran = schema.upgrade(arguments.url, BRANCHES)
        print(f"{name}: ran {', '.join(ran)}" if ran else f"{name}: up to date")
        return 0
    behind = False
    for branch, version in schema.status(arguments.url, BRANCHES):
        behind = behind or version is None or version.number < branch.number
        print(f"{name}: {branch.name} {_state(branch, version)}")
    if behind:
        print(f"run: trunkline db upgrade {name}")
    return 1 if behind else 0


def _state(branch: Branch, version: Version | None) -> str:
    if version is None:
        return "has no tables yet"
    if version.number < branch.number:
        return f"is at {version.number}, this version of trunkline needs {branch.number}"
    if version.number == branch.number:
        return f"is up to date, at {version.number}"
    able = "cannot" if version.compatible_since > branch.number else "can"
    return f"is at {version.number}, newer than {branch.number}; this version of trunkline {able} work with it"
