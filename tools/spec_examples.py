"""Extracts the JSON examples of the specification's pages into `tests/data/spec-examples/<revision>.json`.

    python tools/spec_examples.py ../modelcontextprotocol

The argument is a checkout of `modelcontextprotocol/modelcontextprotocol`; `schemas/README.md` names the commit.
"""

import json
import re
import sys
import textwrap
from pathlib import Path

BLOCK = re.compile(r"^[ \t]*```json\b[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
TARGET = Path("tests/data/spec-examples")


def examples(revision: Path) -> list[dict[str, str]]:
    """Every `json` block of one revision's pages, in reading order."""
    return [
        {"page": page.relative_to(revision).as_posix(), "text": textwrap.dedent(block)}
        for page in sorted(revision.rglob("*.mdx"))
        for block in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def main(checkout: Path) -> int:
    """Write one file for each released revision; 1 when the checkout has none."""
    revisions = [p for p in sorted((checkout / "docs/specification").glob("20*")) if p.is_dir()]
    TARGET.mkdir(parents=True, exist_ok=True)
    for revision in revisions:
        found = examples(revision)
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        (TARGET / f"{revision.name}.json").write_text(text, encoding="utf-8")
        print(f"{revision.name}: {len(found)} examples")
    return 0 if revisions else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
