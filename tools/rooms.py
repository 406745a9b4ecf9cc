"""The import contract between rooms, for import-linter: a table in pyproject.toml says who may import whom.

A room that does not exist yet is no fault; a room or root module that the table does not name is one.
"""

import grimp
from importlinter import Contract, ContractCheck, fields, output


class RoomsContract(Contract):
    """Every import inside the package follows the table.

    Options, each row written as `room: name name ...`:
        root: the package the rooms live in; its own `__init__` counts as a room of that name.
        rooms: which other rooms each room may import.
        shared: root modules every room may import.
        never: which outside packages a room never imports.
        apart: rooms whose own parts do not import each other.
    """

    type_name = "rooms"

    root = fields.StringField()
    rooms = fields.ListField(subfield=fields.StringField())
    shared = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    never = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    apart = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        faults = []
        root = str(self.root)
        for importer in sorted({root, *graph.find_descendants(root)}):
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                reason = self._fault(importer, imported)
                if reason:
                    details = graph.get_import_details(importer=importer, imported=imported)
                    line = details[0]["line_number"] if details else 0
                    faults.append(f"{importer}:{line} imports {imported}: {reason}")
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault, bold=False)

    def _fault(self, importer: str, imported: str) -> str | None:
        """Why this import is not allowed, or None."""
        table = _rows(self.rooms)
        room, part = self._place(importer)
        if imported.partition(".")[0] != str(self.root):
            barred = _rows(self.never).get(room, frozenset())
            return f"{room} never does" if imported.partition(".")[0] in barred else None
        target, target_part = self._place(imported)
        if room not in table:
            return f"{room} is not in the table of rooms"
        if target == room:
            foreign = room in _words(self.apart) and part and target_part and part != target_part
            return f"the parts of {room} do not import each other" if foreign else None
        if target in table[room] or (target in _words(self.shared) and room not in _words(self.shared)):
            return None
        return f"{room} may import {', '.join(sorted(table[room])) or 'nothing of ours'}"

    def _place(self, module: str) -> tuple[str, str]:
        """The room of a module and its part in that room."""
        _, room, part = [*module.split("."), "", ""][:3]
        return room or str(self.root), part


def _words(values: object) -> frozenset[str]:
    return frozenset(str(value) for value in values)  # type: ignore[attr-defined]


def _rows(values: object) -> dict[str, frozenset[str]]:
    rows = (row.partition(":") for row in _words(values))
    return {room.strip(): frozenset(names.split()) for room, _, names in rows}
