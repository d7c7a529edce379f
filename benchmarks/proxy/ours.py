"""The proxy that is measured: one worker, compiled or as plain Python."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import shardrouter
from benchmarks.machine import ROOT, build_name
from benchmarks.measure import check
from benchmarks.proxy.accounting import has_mapped
from benchmarks.proxy.doors import (
    CLIENTS_MAX,
    HOST,
    POOL_SIZE,
    PURE,
    Door,
    environment,
    started,
)
from benchmarks.proxy.peer import auth_rules
from benchmarks.proxy.scram_keys import ScramKeys


@contextmanager
def our_door(
    name: str, directory: Path, port: int, catalog_dsn: str, logins: dict[str, ScramKeys]
) -> Iterator[Door]:
    """Run the proxy for the block; the name says whether compiled or pure."""
    own = directory / name.translate({ord(c): "-" for c in " ()"})
    own.mkdir(exist_ok=True)
    settings = own / "shardrouter.toml"
    users = own / "users.txt"
    users.write_text("".join(f'"{user}" "{keys.verifier}"\n' for user, keys in logins.items()))
    users.chmod(0o600)
    settings.write_text(settings_text(port, catalog_dsn, users, own / "run", auth_rules(logins)))
    command: list[str | Path] = [sys.executable, "-m", "shardrouter.proxy", "--config", settings]
    is_pure = name == PURE or build_name() == "pure"
    variables = environment(SHARDROUTER_PURE="1" if is_pure else None)
    with started(name, command, port, own / "log", env=variables, cwd=ROOT) as door:
        _check_build(door, is_pure)
        yield door


def settings_text(
    port: int, catalog_dsn: str, users: Path, run_directory: Path, rules: list[str]
) -> str:
    """Return the settings file: what the peer is told as well, else defaults."""
    quoted = ", ".join(f'"{rule}"' for rule in rules)
    return f"""\
[catalog]
dsn = "{catalog_dsn}"
[proxy]
listen = "{HOST}:{port}"
http_listen = ""
workers = 1
run_directory = "{run_directory}"
max_clients = {CLIENTS_MAX}
drain_seconds = 1.0
[proxy_pool]
size = {POOL_SIZE}
[proxy_auth]
rules = [{quoted}]
users_file = "{users}"
"""


def _check_build(door: Door, is_pure: bool) -> None:
    """What runs is what the name says: compiled modules are in memory, or none is."""
    package = f"{Path(shardrouter.__file__).parent}/"
    is_compiled = any(has_mapped(pid, package) for pid in door.pids)
    check(is_compiled != is_pure, f"{door.name} runs compiled modules: {is_compiled}")
