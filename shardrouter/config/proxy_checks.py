"""Judge combinations of the proxy's settings: those that cannot work, and those that surprise."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from shardrouter.config.address import Address, parse_address
from shardrouter.config.settings import Settings
from shardrouter.errors import SettingsError

MAX_SOCKET_PATH: Final = 107  # bytes of sun_path on Linux, without the NUL at its end
_SOCKET_NAME: Final = "/.s.PGSQL.65535"


def proxy_refusals(settings: Settings) -> Iterator[str]:
    """Yield the combinations that cannot work."""
    yield from _address_refusals(settings)
    yield from _tls_refusals(settings)


def proxy_surprises(settings: Settings) -> Iterator[str]:
    """Yield what works but will surprise."""
    yield from _login_surprises(settings)
    yield from _pool_surprises(settings)
    if settings.proxy.topology_file is not None and settings.catalog.dsn:
        yield (
            "proxy.topology_file is set beside catalog.dsn: the proxy serves the file, and does"
            " not see what changes in the catalog"
        )


def _address_refusals(settings: Settings) -> Iterator[str]:
    proxy = settings.proxy
    found: dict[str, Address] = {}
    for key in ("listen", "http_listen"):
        text = getattr(proxy, key)
        try:
            if text:
                found[key] = parse_address(text, f"proxy.{key}")
        except SettingsError as error:
            yield f"{error.message}: write HOST:PORT, as 127.0.0.1:6432 or [::1]:6432"
    if len(found) == 2 and len({*found.values()}) == 1 and found["listen"].port:
        yield f"proxy.listen and proxy.http_listen are both {proxy.listen}: take another port"
    if not proxy.listen and proxy.unix_socket_directory is None:
        yield "nobody can connect: proxy.listen is empty, proxy.unix_socket_directory is not set"
    directory = proxy.unix_socket_directory
    if directory is not None:
        path = f"{directory.absolute()}{_SOCKET_NAME}"
        if len(path.encode()) > MAX_SOCKET_PATH:
            yield (
                f"proxy.unix_socket_directory {directory} is too long: the path of a Unix socket"
                f" has {MAX_SOCKET_PATH} bytes at most"
            )


def _tls_refusals(settings: Settings) -> Iterator[str]:
    auth = settings.proxy_auth
    if auth.certificate_file is None:
        for key in ("key_file", "client_ca_file"):
            if getattr(auth, key) is not None:
                yield f"proxy_auth.{key} is set without proxy_auth.certificate_file"
        if auth.tls == "require":
            yield "proxy_auth.tls = require needs proxy_auth.certificate_file"
    elif auth.tls == "off":
        yield "proxy_auth.certificate_file is set, and proxy_auth.tls = off"
    if auth.client_ca_file is None and "cert" in _methods(settings):
        yield "proxy_auth.rules has the method cert, which needs proxy_auth.client_ca_file"


def _login_surprises(settings: Settings) -> Iterator[str]:
    auth = settings.proxy_auth
    is_open = bool(settings.proxy.listen) and not _is_loopback(settings.proxy.listen)
    has_secrets = auth.users_file is not None or bool(auth.function)
    if is_open and not has_secrets and "scram-sha-256" in _methods(settings):
        yield (
            "proxy_auth has neither users_file nor function: nobody can log in by password"
            f" at proxy.listen = {settings.proxy.listen}"
        )
    if auth.function_dsn and not auth.function:
        yield "proxy_auth.function_dsn is set without proxy_auth.function, and not used"
    for line in auth.rules:
        if _trusts_strangers(line):
            yield f"proxy_auth.rules: {line!r} lets anybody in who reaches the proxy"


def _pool_surprises(settings: Settings) -> Iterator[str]:
    pool = settings.proxy_pool
    for key in ("node_size", "user_size", "fleet_size"):
        if pool.size > getattr(pool, key):
            yield (
                f"proxy_pool.size = {pool.size} is more than proxy_pool.{key} ="
                f" {getattr(pool, key)}, and never reached"
            )
    if 0 < pool.size < settings.proxy.workers:
        yield (
            f"proxy_pool.size = {pool.size} is less than proxy.workers = {settings.proxy.workers}:"
            " workers take turns with backends, and open them anew each time"
        )
    if pool.connect_timeout_seconds > pool.checkout_timeout_seconds:
        yield (
            "proxy_pool.connect_timeout_seconds is more than proxy_pool.checkout_timeout_seconds:"
            " clients give up before a slow node may have answered"
        )
    if pool.idle_seconds > pool.lifetime_seconds:
        yield (
            "proxy_pool.idle_seconds is more than proxy_pool.lifetime_seconds: no backend grows"
            " that old"
        )


def _methods(settings: Settings) -> set[str]:
    """Return the login methods of the rules; a method may have options behind it."""
    return {word for line in settings.proxy_auth.rules for word in line.split()[3:]}


def _trusts_strangers(line: str) -> bool:
    kind, *rest = line.split() or [""]
    if not kind.startswith("host") or len(rest) < 4 or "trust" not in rest[3:]:
        return False
    address = rest[2]
    if address in ("all", "samenet"):
        return True
    try:
        return not ipaddress.ip_network(address, strict=False).is_loopback
    except ValueError:
        return False  # a name, or no rule at all: whoever reads the rules says so


def _is_loopback(listen: str) -> bool:
    try:
        host = parse_address(listen, "proxy.listen").host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (SettingsError, ValueError):
        return False
