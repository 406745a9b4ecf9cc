"""The official conformance suite as a program: what it requires, one run of it, and what its checks said."""

import json
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "build/node/node_modules/@modelcontextprotocol/conformance"
COMMAND = [str(ROOT / "build/bin/node"), str(PACKAGE / "dist/index.js")]
ENVIRONMENT = {**os.environ, "PATH": f"{ROOT / 'build/bin'}:{ROOT / '.venv/bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}

STAMPED = re.compile(r"(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@dataclass
class Outcome:
    """What the checks of one scenario said: how many of each status, and the words of those that were not met."""

    STATUSES: ClassVar = ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Something was shown and nothing was held against it: a scenario of skipped checks shows nothing."""
        return bool(self.counts["SUCCESS"]) and not self.counts["FAILURE"] and not self.counts["WARNING"]

    def add(self, check: dict[str, object]) -> None:
        """Count one check of a `checks.json`; informational ones are no verdict."""
        status = str(check["status"])
        if status not in self.STATUSES:
            return
        self.counts[status] += 1
        if status in ("FAILURE", "WARNING"):
            words = check.get("errorMessage") or check.get("description") or ""
            self.faults.append(f"{status.lower()}: {check['id']}: {words}")
            self.details.append(json.dumps(check.get("details"), indent=2))

    def fail(self, words: str, detail: str) -> None:
        """Hold something against the scenario which the suite has no check for, such as a client that crashed."""
        self.counts["FAILURE"] += 1
        self.faults.append(f"failure: {words}")
        self.details.append(detail)


def version() -> str:
    """The version of the installed suite."""
    return str(json.loads((PACKAGE / "package.json").read_text())["version"])


def listed(side: str, wire: str) -> list[str]:
    """The scenarios for a side, `server` or `client`, which apply to a wire version."""
    text = _output("list", f"--{side}", "--spec-version", wire)
    return re.findall(r"^  - (\S+)", text, re.MULTILINE)


def extensions(side: str) -> list[str]:
    """The scenarios for a side that belong to an extension, whatever the wire version."""
    return re.findall(r"^  - (\S+) \[extension\]", _output("list", f"--{side}"), re.MULTILINE)


def scored(wire: str) -> set[str]:
    """The scenarios, of both sides, that the frozen requirement set of a revision scores."""
    required, _, _ = _output("list", "--requirements", wire).partition("Run and reported, but never scored")
    return set(re.findall(r"^  - (\S+)", required, re.MULTILINE))


def server(url: str, wire: str, folder: Path, *, whole_set: bool) -> dict[str, Outcome]:
    """Run the server scenarios of a wire version, by its requirement set where there is one."""
    choice = ["--requirements", wire] if whole_set else ["--suite", "all", "--spec-version", wire]
    with (folder / "suite.log").open("w") as log:
        command = [*COMMAND, "server", "--url", url, *choice, "-o", str(folder)]
        subprocess.run(command, stdout=log, stderr=log, env=ENVIRONMENT, timeout=600, check=False)
    return _outcomes(folder, prefix="server-")


def tasks(url: str, folder: Path) -> dict[str, Outcome]:
    """Run the scenarios of the tasks extension, one by one."""
    names = re.findall(r"^  - (tasks-\S+)", _output("list", "--server"), re.MULTILINE)
    with (folder / "suite.log").open("w") as log:
        for name in names:
            command = [*COMMAND, "server", "--url", url, "--scenario", name, "-o", str(folder)]
            subprocess.run(command, stdout=log, stderr=log, env=ENVIRONMENT, timeout=120, check=False)
    return _outcomes(folder, prefix="server-")


def client(command: str, scenario: str, wire: str | None, folder: Path) -> Outcome:
    """Run one client scenario; the client's own failure counts, as the suite's single-scenario mode has it.

    Parameters:
        wire: the version to speak; None for a scenario of an extension, which has none.
    """
    version = [] if wire is None else ["--spec-version", wire]
    run = subprocess.run(
        [*COMMAND, "client", "--command", command, "--scenario", scenario, *version, "-o", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )
    outcome = _outcomes(folder).get(scenario, Outcome())
    stderr = "\n".join(file.read_text() for file in folder.rglob("stderr.txt"))
    if run.returncode != 0 and not outcome.faults:
        outcome.fail("the client failed although its checks passed", stderr or run.stdout[-4000:])
    elif stderr and outcome.faults:
        outcome.details[-1] += f"\n{stderr}"
    return outcome


def _outcomes(folder: Path, prefix: str = "") -> dict[str, Outcome]:
    """The outcome of every scenario whose checks lie below a folder."""
    found: dict[str, Outcome] = {}
    for file in sorted(folder.rglob("checks.json")):
        stamped = STAMPED.fullmatch(str(file.parent.relative_to(folder)))
        if stamped:
            outcome = found.setdefault(stamped[1].removeprefix(prefix), Outcome())
            for check in json.loads(file.read_text()):
                outcome.add(check)
    return found


def _output(*arguments: str) -> str:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout
