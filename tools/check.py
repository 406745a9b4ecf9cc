"""Runs every static check, all of them even when one fails, and says which failed."""

import subprocess
import sys
import time
from pathlib import Path

GENERATOR = Path("tools/generate_wire.py")

CHECKS = {
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "lint": ["ruff", "check", "--quiet", "."],
    "types": ["mypy"],
    "rooms": ["lint-imports", "--no-logo"],
    "size": [sys.executable, "tools/check_size.py"],
    "links": [sys.executable, "tools/check_links.py"],
}


def main() -> int:
    """Run the checks; 1 when one of them failed."""
    checks = dict(CHECKS)
    if GENERATOR.exists():
        checks["generated"] = [sys.executable, str(GENERATOR), "--check"]
    failed = []
    for name, command in checks.items():
        start = time.monotonic()
        outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        word = "ok" if outcome.returncode == 0 else "FAILED"
        print(f"{name:10} {word:7} {time.monotonic() - start:5.1f} s", flush=True)
        if outcome.returncode != 0:
            failed.append(name)
            print(outcome.stdout.rstrip(), flush=True)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(checks)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
