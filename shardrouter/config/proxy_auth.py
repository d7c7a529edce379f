"""Settings of the proxy's logins: who may connect from where, and how secrets are found."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from shardrouter.config.section import Section


class ProxyAuthSettings(Section):
    """How clients prove who they are."""

    rules: tuple[str, ...] = (
        "local all all trust",
        "host all all 127.0.0.1/32 trust",
        "host all all ::1/128 trust",
        "host all all all scram-sha-256",
    )
    """Lines as in pg_hba.conf; the first that fits connection, database, user and address decides.
    Types `local`, `host`, `hostssl`, `hostnossl`; methods `trust`, `scram-sha-256`, `cert`,
    `reject`."""

    users_file: Path | None = None
    """File of `"user" "SCRAM-SHA-256$..."` lines; relative to the settings file."""

    function: Annotated[str, Field(max_length=130)] = ""
    """Function on the shards that returns a user's verifier, as `shardrouter.proxy_login`; empty:
    only the users file is asked."""

    function_dsn: Annotated[str, Field(repr=False)] = ""
    """Connection string by which the function is called; empty: that of the first shard's
    primary."""

    cache_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """How long a fetched verifier is believed."""

    failures_a_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60
    """Failed logins from one address or for one user, after which more of them wait."""

    tls: Literal["off", "allow", "require"] = "allow"
    """TLS for clients: `allow` offers it where a certificate is set, `require` refuses without."""

    certificate_file: Path | None = None
    """The proxy's certificate chain for clients, PEM; relative to the settings file."""

    key_file: Path | None = None
    """Its private key, PEM; relative to the settings file."""

    client_ca_file: Path | None = None
    """Certificates that may sign client certificates, PEM; relative to the settings file."""
