"""Real shapes of real clients: each file below tests/data/portable is read as its golden file says."""

import json
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from trunkline.portable.model import Document
from trunkline.portable.read import read_document

DATA = Path(__file__).parents[1] / "data" / "portable"
FILES = sorted(file for file in DATA.glob("*/*") if file.name != "golden.json")


def canonical(document: Document) -> str:
    """A document as JSON, members at their defaults left out."""
    plain = asdict(document)
    del plain["path"]
    for entry in plain["entries"]:
        del entry["secret_values"]
        if entry["auth"] is not None:
            entry["auth"] = {"grant": entry["auth"].grant, **msgspec.to_builtins(entry["auth"])}
        for member in [
            member for member, value in entry.items() if value in (None, "", (), {}, False, "shared", "error")
        ]:
            if member != "allow" or entry[member] is None:
                del entry[member]
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_clients_file_is_read_as_its_golden_file_says(file: Path) -> None:
    document = read_document(file)

    assert canonical(document) == file.with_name("golden.json").read_text()


def test_there_is_a_file_for_every_client() -> None:
    assert len(FILES) >= 16
