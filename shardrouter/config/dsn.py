"""Read and print connection strings without letting a password out."""

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from shardrouter.errors import SettingsError

MASK: Final = "***"
SECRETS: Final = ("password", "sslpassword", "oauth_client_secret")
_SCHEMES: Final = ("postgresql", "postgres")


def check_dsn(dsn: str, where: str) -> None:
    """Raise SettingsError naming ``where`` when libpq cannot read the connection string."""
    scheme, separator, _ = dsn.partition("://")
    if separator and scheme not in _SCHEMES and scheme.replace("+", "").isalnum():
        raise SettingsError(
            f"{where}: {scheme!r} is not a scheme libpq knows",
            hint="write postgresql://user@host:port/database",
        )
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        # Not chained: libpq quotes what it could not read, and that may be the password.
        raise SettingsError(
            f"{where} is not a connection string",
            hint="write postgresql://user@host:port/database, or host=... port=... dbname=...;"
            " percent-encode special characters of a password in a URL",
        ) from None


def public_dsn(dsn: str) -> str:
    """Return the connection string for people: unchanged, or rewritten with passwords masked."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        return MASK
    if not any(given.get(secret) for secret in SECRETS):
        return dsn
    # Rewritten from what libpq understood: editing the text could miss a part of the password.
    return make_conninfo("", **{k: MASK if k in SECRETS else v for k, v in given.items()})
