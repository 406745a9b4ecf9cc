"""What `endpoints` of a configuration select.

What it is for: what the file says as a `Selection`, and what in it cannot be meant.
What may live here: checks that need the file alone. What may not: the gateway, which alone knows what there is.
"""

import json
import re
from collections.abc import Iterator, Mapping

from trunkline.assembly.configuration import EditSettings, EndpointSettings
from trunkline.gateway.progressive import CALL, FIND
from trunkline.gateway.selection import Edit, Selection, pattern_of
from trunkline.portable.place import Place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def selection(settings: EndpointSettings) -> Selection:
    """What an endpoint shows."""
    return Selection(
        tools=settings.tools,
        prompts=settings.prompts,
        resources=settings.resources,
        edit_tools={name: _edit(edit) for name, edit in settings.edit_tools.items()},
        edit_prompts={name: _edit(edit) for name, edit in settings.edit_prompts.items()},
        instructions=settings.instructions,
    )


def endpoint_faults(endpoints: Mapping[str, EndpointSettings], above: Place) -> Iterator[str]:
    """What is wrong with the endpoints of a file, whatever servers there are."""
    for name, settings in endpoints.items():
        place = above.at("endpoints").own(f"endpoint {json.dumps(name[:80])}", name)
        if not _NAME.fullmatch(name):
            yield place.fault("stands in a URL: its name takes up to 64 letters, digits, `_`, `-` and `.`").message
        if not (settings.tools or settings.prompts or settings.resources):
            yield place.fault("selects nothing; give it `tools`, `prompts` or `resources`").message
        taken = frozenset({FIND, CALL} if settings.discovery == "progressive" else ())
        yield from _edits(settings.edit_tools, settings.tools, taken, place.at("edit_tools"))
        yield from _edits(settings.edit_prompts, settings.prompts, frozenset(), place.at("edit_prompts"))
        for prompt, edit in settings.edit_prompts.items():
            for argument, value in edit.pin.items():
                if not isinstance(value, str):
                    pinned = place.at("edit_prompts").at(prompt).at("pin").at(argument)
                    yield pinned.fault("arguments of prompts are strings: put the value in quotes").message


def _edits(
    edits: Mapping[str, EditSettings], patterns: tuple[str, ...], taken: frozenset[str], place: Place
) -> Iterator[str]:
    selected = pattern_of(patterns)
    names = set(taken)
    for real, edit in edits.items():
        if not selected(real):
            member = place.field.removeprefix("edit_")
            yield place.at(real).fault(f"is not among the `{member}` of this endpoint: add it there").message
        if edit.name is not None and edit.name in names:
            yield place.at(real).at("name").fault("is the name of another tool or prompt of this endpoint").message
        names.add(edit.name or real)


def _edit(settings: EditSettings) -> Edit:
    return Edit(name=settings.name, title=settings.title, description=settings.description, pin=settings.pin)
