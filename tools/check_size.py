"""Checks that a module of the product can be held in the head: its length and the length of its functions.

Generated wire types, `protocol/v20*.py`, are exempt.
"""

import ast
import sys
from pathlib import Path

FILE_LINES = 500
FUNCTION_LINES = 60


def faults(file: Path) -> list[str]:
    """What is too long in one module."""
    text = file.read_text(encoding="utf-8")
    length = text.count("\n")
    found = [f"{file}: {length} lines, more than {FILE_LINES}"] if length > FILE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(f"{file}:{node.lineno}: {node.name} has {lines} lines, more than {FUNCTION_LINES}")
    return found


def main(root: Path = Path("src")) -> int:
    """Check every module below a folder; 1 when something is too long."""
    files = [f for f in sorted(root.rglob("*.py")) if not (f.parent.name == "protocol" and f.name.startswith("v20"))]
    broken = [fault for file in files for fault in faults(file)]
    print("\n".join(broken) or f"{len(files)} modules, all of a size that can be held in the head")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
