"""Writes docs/trunkline.schema.json, which editors use for trunkline.yaml; run it when the Structs change."""

from pathlib import Path

from trunkline.assembly.schema import schema_text

TARGET = Path(__file__).parents[1] / "docs" / "trunkline.schema.json"

if __name__ == "__main__":
    TARGET.write_text(schema_text(), encoding="utf-8")
