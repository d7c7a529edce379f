"""The top 20 of a table over four shards, against the slowest of the shards asked alone.

Alone means a session on that shard with the same statement. In each round the slowest shard of
that round is the measure. Two questions: by an indexed column, where each shard does little and
the gather's own work shows; and by a column without an index, where four servers that scan side
by side share the machine's cores, which a shard alone has to itself.

Hypothesis: by index well below the bound; the scan is bound by cores, not by the gather.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import BigInteger, Column, MetaData, Select, Table, Text, select

from benchmarks.library.stage import Stage, open_stage
from benchmarks.measure import Contender, Rounds, check, each_call, run_rounds
from benchmarks.rows import Row
from benchmarks.suite import Effort
from shardrouter import Router
from shardrouter.topology import MARK_KEY, TableKind, TableMark

BOUND: Final = 1.5
SHARDS: Final = 4
ROWS: Final = 20_000
"""Of each shard."""

TOP: Final = 20
ROUNDS: Final = 60
CALLS: Final = 20
MILLISECONDS: Final = 1e3

_mark: Final = TableMark(TableKind.SHARDED, ("id",))
scores: Final = Table(
    "scores",
    MetaData(),
    Column("id", BigInteger, primary_key=True),
    Column("score", BigInteger),
    Column("other", BigInteger),
    Column("name", Text),
    info={MARK_KEY: _mark},
)


def run(effort: Effort) -> list[Row]:
    """Measure both questions through one router."""
    with open_stage(SHARDS, has_own_cpu=False) as stage:
        for number, shard in enumerate(stage.topology.shards):
            stage.execute(_filled(number), shard.id)
        with Router.from_config(stage.settings_path) as router:
            return [
                *_rows("gather of a top-20 by index", router, stage, scores.c.score, effort, BOUND),
                *_rows("gather of a top-20 by scan", router, stage, scores.c.other, effort, None),
            ]


def _filled(number: int) -> list[str]:
    first = number * ROWS
    fill = (
        "INSERT INTO scores SELECT i, i * 7919 % 1000003, i * 7919 % 1000003, 'name ' || i"
        f" FROM generate_series({first + 1}, {first + ROWS}) AS i"
    )
    return [
        "CREATE TABLE scores (id bigint PRIMARY KEY, score bigint, other bigint, name text)",
        fill,
        "CREATE INDEX ON scores (score DESC)",
        "VACUUM ANALYZE scores",
    ]


def _rows(
    what: str,
    router: Router,
    stage: Stage,
    column: Column[Any],
    effort: Effort,
    bound: float | None,
) -> list[Row]:
    query = (
        select(scores.c.id, column.label("top"), scores.c.name).order_by(column.desc()).limit(TOP)
    )
    shards = [shard.id for shard in stage.topology.shards]
    expected = sorted((i * 7919 % 1_000_003 for i in range(1, SHARDS * ROWS + 1)), reverse=True)

    def gathered() -> None:
        rows = router.gather(query).all()
        check([row.top for row in rows] == expected[:TOP], "the top 20 differ")

    contenders = [
        Contender("gather", each_call(gathered)),
        *(Contender(shard, each_call(_alone(router, shard, query))) for shard in shards),
    ]
    rounds = run_rounds(contenders, effort.rounds(ROUNDS), CALLS, effort.progress)
    slowest = [max(times) for times in zip(*(rounds.seconds[s] for s in shards), strict=True)]
    compared = Rounds({"gather": rounds.seconds["gather"], "slowest": slowest})
    return [
        Row.of(f"{what} / slowest shard alone", "x", compared.ratio("gather", "slowest"), bound),
        Row.of(what, "ms", compared.of("gather", MILLISECONDS)),
        Row.of(f"{what}, slowest shard alone", "ms", compared.of("slowest", MILLISECONDS)),
    ]


def _alone(router: Router, shard: str, query: Select[Any]) -> Callable[[], None]:
    def call() -> None:
        with router.session(shard=shard, read="primary") as session:
            check(len(session.execute(query).all()) == TOP, "the shard lacks rows")

    return call
