"""A mover as a process of its own, which may die, freeze and be followed by another one."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.eventually import PATIENCE, eventually

VARIABLE: Final = "SHARDROUTER_FAILPOINT"
EXIT_CODE: Final = 86  # of a mover that its failpoint has ended
ROOT: Final = Path(__file__).parents[2]
MOVE_SECONDS: Final = 35.0  # a small move on a busy machine, with a lease that has to run out


class MoverProcess:
    """Carries one move out: ``python -m tests.support.rebalance_mover``.

    failpoint: ``name:action[:n]``, see ``rebalance/failpoints.py``.
    """

    def __init__(
        self, settings: Path, move: int, *, name: str = "mover", failpoint: str | None = None
    ) -> None:
        self.name = name
        self._log_path = settings.with_name(f"{name}.log")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop(VARIABLE, None)
        if failpoint is not None:
            environment[VARIABLE] = failpoint
        arguments = [str(settings), str(move), name]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.rebalance_mover", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, deadline_seconds: float = MOVE_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self._process.wait(deadline_seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)  # it says where it is
            raise AssertionError(f"{self.name} does not end:\n{self.log[-4000:]}") from None

    def wait_dead(self, deadline_seconds: float = MOVE_SECONDS) -> None:
        """Wait until its failpoint has ended it."""
        code = self.wait(deadline_seconds)
        assert code == EXIT_CODE, f"{self.name} ended with {code}:\n{self.log[-4000:]}"

    def wait_frozen(self, deadline_seconds: float = MOVE_SECONDS) -> None:
        """Wait until its failpoint has stopped it."""

        def is_stopped() -> bool:
            if not self.is_running:
                raise AssertionError(
                    f"{self.name} ended with {self._process.returncode}:\n{self.log[-4000:]}"
                )
            return self._state() == "T"

        eventually(is_stopped, deadline_seconds)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``, whatever state it is in."""
        if self.is_running:
            self._process.kill()
            self._process.wait(10)

    def _state(self) -> str:
        stat = Path(f"/proc/{self._process.pid}/stat")
        try:
            return stat.read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""
