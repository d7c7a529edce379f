"""A statement as SQL text with ``$1``, ``$2`` ...: compiled once, given its values each time.

What SQLAlchemy does between a compiled statement and the driver's cursor, for those who send the
text themselves. Reads private attributes of the compiled statement (see select_parts).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg


class Query:
    """One compiled statement."""

    def __init__(self, statement: ClauseElement) -> None:
        dialect: Any = PGDialect_psycopg
        self._compiled: Any = statement.compile(dialect=dialect(paramstyle="numeric_dollar"))

    def bind(self, values: Mapping[str, Any]) -> tuple[str, Sequence[Any]]:
        """Return the text and its parameters in order.

        ``values`` are by the keys of the statement's parameters; those of others are ignored.
        Raises SQLAlchemy's InvalidRequestError when a required value is missing.
        """
        compiled = self._compiled
        given: dict[str, Any] = compiled.construct_params(values, escape_names=False)
        processors: Mapping[str, Callable[[Any], Any]] = compiled._bind_processors
        text, order = compiled.string, compiled.positiontup
        if compiled.post_compile_params or compiled.literal_execute_params:
            # A list of values for IN is as many parameters as it has values this time.
            expanded = compiled._process_parameters_for_postcompile(given)
            text, order = expanded.statement, expanded.positiontup
            given = {**given, **expanded.additional_parameters}
            processors = {**processors, **expanded.processors}
        return text, [
            processors[name](given[name]) if name in processors else given[name]
            for name in order or ()
        ]
