"""The migrations of tasks, for whoever opens or upgrades a database.

What it is for: `open_storage(url, branches=[TASKS])` and `trunkline db`.
What may live here: which branch it is. What may not: tables.
"""

from pathlib import Path

from trunkline.storage.versions import Branch

TASKS = Branch("tasks", 1, Path(__file__).parent / "migrations")
