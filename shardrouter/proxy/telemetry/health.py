"""Judge from the workers' answers whether the proxy lives, and whether it may get clients. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict


class WorkerHealth(TypedDict):
    """A worker's answer to the question ``health``."""

    worker: int
    epoch: int
    """Of the topology it has; 0: none."""

    lease_valid: bool
    """The topology may be routed by; always true for one from a file."""

    nodes_up: int
    """Nodes that its monitor reaches."""

    nodes: int
    problem: str | None
    """Why the lease ended, or what the catalog says."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is well, and the reasons where it is not."""

    is_well: bool
    reasons: tuple[str, ...]
    workers: int
    """That should run."""

    answered: int
    epochs: tuple[int, ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        return {
            "status": "ok" if self.is_well else "failed",
            "reasons": list(self.reasons),
            "workers": self.workers,
            "answered": self.answered,
            "epochs": list(self.epochs),
        }


def health_of(answers: Sequence[WorkerHealth], workers: int) -> Verdict:
    """Return whether the process lives: one worker answers at least.

    A process that is not well is started again by whoever watches it; workers that are missing
    are started again by the parent, so they are only told.
    """
    reasons = _missing(answers, workers)
    return Verdict(bool(answers), reasons, workers, len(answers), _epochs(answers))


def readiness_of(
    answers: Sequence[WorkerHealth], workers: int, *, unready: str | None = None
) -> Verdict:
    """Return whether clients may be sent here. unready: why not, whatever the workers say.

    No worker may lack a topology or its lease: the system chooses a client's worker. Nodes are
    the same for all, so that one worker reaches some is enough.
    """
    reasons = [unready] if unready else []
    for answer in answers:
        if not answer["epoch"]:
            reasons.append(f"worker {answer['worker']} has no topology{_because(answer)}")
        elif not answer["lease_valid"]:
            reasons.append(f"the lease of worker {answer['worker']} is over{_because(answer)}")
    if not answers:
        reasons.append("no worker answers")
    elif not any(answer["nodes_up"] for answer in answers):
        reasons.append("no node is reached by any worker")
    is_ready = not reasons
    reasons += _missing(answers, workers) if answers else ()
    return Verdict(is_ready, tuple(reasons), workers, len(answers), _epochs(answers))


def _missing(answers: Sequence[WorkerHealth], workers: int) -> tuple[str, ...]:
    if len(answers) >= workers:
        return ()
    return (f"{workers - len(answers)} of {workers} workers do not answer",)


def _epochs(answers: Sequence[WorkerHealth]) -> tuple[int, ...]:
    return tuple(sorted({answer["epoch"] for answer in answers}))


def _because(answer: WorkerHealth) -> str:
    return f": {answer['problem']}" if answer["problem"] else ""
