"""Run the catalog's revisions on the connection that ``shardrouter.catalog.install`` hands over.

Developers may run alembic itself: ``alembic -x dsn=postgresql://... upgrade head``, and make the
next revision with ``alembic revision --rev-id 0003 -m "what it adds"``.
"""

from alembic import context
from sqlalchemy import Connection

from shardrouter.catalog import catalog_engine
from shardrouter.catalog.schema import SCHEMA, VERSION_TABLE


def run(connection: Connection) -> None:
    """Run what was asked for, in one transaction."""
    context.configure(
        connection=connection,
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Take the connection handed over, else connect to ``-x dsn=``."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    engine = catalog_engine(context.get_x_argument(as_dictionary=True)["dsn"])
    with engine.connect() as connection:
        run(connection)
        connection.commit()
    engine.dispose()


main()
