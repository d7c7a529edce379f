"""What is said to, and by, the process that migrates one shard."""

from dataclasses import dataclass, field
from typing import Final

APPLICATION_NAME: Final = "shardrouter-migrate"


@dataclass(frozen=True, slots=True)
class Request:
    """What to do on which shard."""

    shard: str
    dsn: str
    url: str
    ini: str
    action: str
    """``upgrade``, ``downgrade`` or ``status``."""

    target: str
    dry_run: bool
    arguments: tuple[str, ...] = ()
    """For env.py's ``context.get_x_argument()``."""

    connect_timeout_seconds: int = 3

    @property
    def changes_nothing(self) -> bool:
        return self.dry_run or self.action == "status"


@dataclass(slots=True)
class Answer:
    """What came of it."""

    is_busy: bool = False
    current: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """Revisions applied; for a dry run and for status: those that would be."""

    error: str | None = None
