"""How long the disk takes to keep something for good: the measure of everything that is durable."""

import os
import statistics
import tempfile
import time
from pathlib import Path

PAGE = b"\0" * 4096


def fsync(folder: Path, times: int = 100) -> float:
    """Seconds that a written page takes until it is safe, at the median, in the file system of a folder."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(PAGE)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)
