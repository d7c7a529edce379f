"""Turn a libpq connection string into the URL that SQLAlchemy reads."""

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

_DRIVER = "postgresql+psycopg"


def sqlalchemy_url(dsn: str) -> str:
    """Return the URL, password and all libpq parameters included.

    Several hosts and socket directories go into the query part, where SQLAlchemy hands them on.
    """
    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    hosts, ports = given.pop("host", ""), given.pop("port", "")
    query: dict[str, str | tuple[str, ...]] = {}
    port = None
    if "," in hosts or hosts.startswith("/"):
        query["host"] = hosts
        query |= {"port": ports} if ports else {}
        host = None
    else:
        host = hosts or None
        port = int(ports) if ports else None
    url = URL.create(
        _DRIVER,
        username=given.pop("user", None),
        password=given.pop("password", None),
        host=host,
        port=port,
        database=given.pop("dbname", None),
        query={**query, **given},
    )
    return url.render_as_string(hide_password=False)
