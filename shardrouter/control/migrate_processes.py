"""The processes of a migration over shards: run with a deadline, ended together."""

import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

INTERRUPT_SECONDS: Final = 5.0  # to cancel the statement and roll back


class Processes:
    """The processes under way, so that an interrupted command leaves none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_interrupted = False

    def run(self, command: list[str], text: str, where: Path, timeout: float) -> tuple[str, str]:
        """Return what the process wrote to stdout and stderr. Raises TimeoutExpired."""
        with self._lock:
            if self._is_interrupted:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command,
                cwd=where,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        try:
            return process.communicate(text, timeout)
        except subprocess.TimeoutExpired:
            self._end(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)

    def interrupt(self) -> None:
        """End all: psycopg cancels the running statement, Postgres rolls back."""
        with self._lock:
            self._is_interrupted = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + INTERRUPT_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=INTERRUPT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
