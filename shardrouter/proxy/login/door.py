"""Everything that decides about logins, as the settings say it; made anew at each reload."""

import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shardrouter.config import ProxyAuthSettings
from shardrouter.errors import SettingsError
from shardrouter.proxy.login.fetch import VerifierFetch
from shardrouter.proxy.login.rules import Method, Rules, read_rules
from shardrouter.proxy.login.throttle import Throttle
from shardrouter.proxy.login.tls import ClientTls, load_client_tls
from shardrouter.proxy.login.users_file import UserEntry, read_users
from shardrouter.wire import ScramKeys, ScramVerifier, mock_verifier

NONCE_BYTES: Final = 18  # as Postgres


def _new_nonce() -> bytes:
    return base64.b64encode(secrets.token_bytes(NONCE_BYTES))


@dataclass(frozen=True, slots=True)
class LoginDoor:
    """A snapshot: a login that began keeps the one it began with."""

    rules: Rules
    throttle: Throttle
    mock_secret: bytes = field(repr=False)
    """Decides the salts of users that do not exist; the same in every worker, else an unknown user
    could be told by a salt that changes."""
    users: Mapping[str, UserEntry] = field(default_factory=dict, repr=False)
    fetch: VerifierFetch | None = field(default=None, repr=False)
    tls: ClientTls | None = None
    requires_tls: bool = False
    clock: Callable[[], float] = time.monotonic
    new_nonce: Callable[[], bytes] = field(default=_new_nonce, repr=False)

    async def verifier_of(self, user: str) -> ScramVerifier:
        """Return the user's verifier, or one that nobody knows the password of."""
        mock = mock_verifier(self.mock_secret, user)  # always: else its time would tell
        entry = self.users.get(user)
        if entry is not None:
            return entry.verifier
        found = None if self.fetch is None else await self.fetch.verifier_of(user)
        return mock if found is None else found

    def keys_of(self, user: str) -> ScramKeys | None:
        """Return the keys of a user who showed none, where the users file has them."""
        entry = self.users.get(user)
        return None if entry is None else entry.keys

    def note_failure(self, address: str, user: str) -> None:
        """Count a wrong proof; a fetched verifier may have been replaced meanwhile."""
        self.throttle.failed(address, user, self.clock())
        if self.fetch is not None:
            self.fetch.forget(user)

    async def close(self) -> None:
        """Close what the door holds open; logins that still use it may go on."""
        if self.fetch is not None:
            await self.fetch.close()


def open_door(
    settings: ProxyAuthSettings,
    *,
    first_primary: Callable[[], str],
    mock_secret: bytes,
    now: datetime | None = None,
    clock: Callable[[], float] = time.monotonic,
    previous: LoginDoor | None = None,
) -> LoginDoor:
    """Return the door of the settings; reads the files anew.

    ``first_primary`` returns the connection string by which the function is called where
    ``function_dsn`` is empty. What failures are counted goes over from ``previous``; fetched
    verifiers do not; the caller closes it. Raises SettingsError, and then the caller
    keeps the previous door.
    """
    rules = read_rules(settings.rules)
    users = _load_users(settings.users_file)
    tls = load_client_tls(settings, now or datetime.now(UTC))
    if Method.CERTIFICATE in rules.methods and (tls is None or settings.client_ca_file is None):
        raise SettingsError(
            "a line of proxy_auth.rules asks for certificates, and none can be checked",
            hint="set proxy_auth.certificate_file, key_file and client_ca_file",
        )
    fetch = None
    if settings.function:
        dsn = (lambda: settings.function_dsn) if settings.function_dsn else first_primary
        fetch = VerifierFetch(settings.function, dsn, settings.cache_seconds, clock)
    return LoginDoor(
        rules=rules,
        throttle=_throttle(settings, previous),
        mock_secret=mock_secret,
        users=users,
        fetch=fetch,
        tls=tls,
        requires_tls=settings.tls == "require",
        clock=clock,
    )


def _throttle(settings: ProxyAuthSettings, previous: LoginDoor | None) -> Throttle:
    if previous is not None and previous.throttle.failures_a_minute == settings.failures_a_minute:
        return previous.throttle
    return Throttle(settings.failures_a_minute)


def _load_users(file: Path | None) -> dict[str, UserEntry]:
    if file is None:
        return {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"proxy_auth.users_file {file}: {reason}") from None
    return read_users(lines, str(file))
