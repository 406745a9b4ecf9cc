"""What was measured, as a table for people and a file for programs."""

import json
import os
import platform
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import bench.subjects as subjects


@dataclass(frozen=True)
class Spread:
    """The median of some passes, with the smallest and the largest."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The spread of these values."""
        return cls(median(values), min(values), max(values))


@dataclass
class Budget:
    """One budget: its figures by name, whether they keep it, and the words to go with them."""

    number: str
    title: str
    figures: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, values: Spread) -> None:
        """Keep a figure with its spread."""
        self.figures |= {name: values.middle, f"{name}, least": values.least, f"{name}, most": values.most}

    def hold(self, name: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        """Keep a figure which the budget bounds, and say so when it is out of bounds."""
        self.figures[name] = value
        bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
        out = value < least if least is not None else most is not None and value > most
        print(f"  {'MISSED' if out else 'met':7} {name}: {value:,.2f} ({bound})")
        if out:
            self.missed.append(f"{name} is {value:,.2f}, not {bound}")

    @property
    def note(self) -> str:
        """What was missed, then the remarks."""
        return "; ".join([*self.missed, *self.notes])


def machine(busy: float) -> dict[str, object]:
    """What the figures were taken on; `busy` is the share of the machine that other programs used meanwhile."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": len(subjects.CORES),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "busy elsewhere": round(busy, 3),
    }


def write(budgets: list[Budget], busy: float, file: Path) -> None:
    """Write the figures, one entry a budget."""
    document = {
        "machine": machine(busy),
        "budgets": {
            budget.number: {"figures": budget.figures, "met": not budget.missed, "note": budget.note}
            for budget in budgets
        },
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


class Load:
    """How busy the machine is with other programs between two moments, as a share of all its cores."""

    def __init__(self) -> None:
        self._start = self._sample()

    def elsewhere(self) -> float:
        """The share since the beginning that neither this program nor its ended children used."""
        (all_before, used_before, own_before), (all_now, used_now, own_now) = self._start, self._sample()
        return max(0.0, (used_now - used_before) - (own_now - own_before)) / max(all_now - all_before, 1e-9)

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        ticks = [int(tick) for tick in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        seconds = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]
        return sum(ticks) / seconds, (sum(ticks) - idle) / seconds, sum(os.times()[:4])
