"""The JSON Schema of `trunkline.yaml`, for editors.

What it is for: completion and checks while someone writes the file.
What may live here: the schema, made of the Structs. What may not: anything the Structs do not say.
"""

import msgspec

from trunkline.assembly.configuration import Configuration
from trunkline.portable.auth import Auth

ADDRESS = "https://raw.githubusercontent.com/trunkline/trunkline/main/docs/trunkline.schema.json"
"""Where editors find it."""


def json_schema() -> dict[str, object]:
    """The schema, JSON Schema 2020-12.

    json_schema()["title"]  # "trunkline.yaml"
    """
    # What one key may be by two Structs, msgspec cannot say of a type: an API has credentials of any name there.
    (root, auth), definitions = msgspec.json.schema_components([Configuration, Auth], ref_template="#/$defs/{name}")
    definitions["ServerSettings"]["properties"]["auth"]["anyOf"].insert(0, auth)
    made = definitions.pop(root["$ref"].rpartition("/")[2])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ADDRESS,
        **made,
        "title": "trunkline.yaml",
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as it is checked in."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"
