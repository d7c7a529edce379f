"""A fleet of real Postgres servers on this machine: shards, their replicas and the catalog."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Final, Self

from shardrouter.errors import FleetError
from shardrouter.local.binaries import Binaries, find_binaries
from shardrouter.local.guard import Guard
from shardrouter.local.leftovers import (
    check_only_ours,
    check_vacant,
    remove_fleet,
    remove_leftovers,
)
from shardrouter.local.os_user import OsUser
from shardrouter.local.parallel import Job, run_jobs
from shardrouter.local.place import (
    COPIED_BINARIES,
    check_maker,
    choose_place,
    make_place,
    prepare_data,
)
from shardrouter.local.planned import CATALOG_ID, check_size, plan_one_more, plan_servers
from shardrouter.local.server import LOGS, LocalServer, StopMode
from shardrouter.local.state import (
    MARKER_FILE,
    FleetState,
    ServerState,
    fleet_errors,
    locked,
    read_marker,
    write_marker,
)
from shardrouter.topology import (
    DEFAULT_SLOTS,
    Epoch,
    Node,
    Role,
    Shard,
    ShardId,
    Topology,
    plan_owners,
)

_MEMORY_DIRECTORY: Final = Path("/dev/shm")
_MEMORY_BYTES_NEEDED: Final = 1 << 30  # a fleet of 2 x 2 takes 120 MB, and WAL and tables on top

Report = Callable[[str], None]
"""Takes one line of progress."""


def _say_nothing(line: str) -> None:
    pass


class LocalFleet:
    """Shards with their replicas, and the catalog server, as processes of this machine.

    Made by ``create``, ``temporary`` or ``open``. Two threads must not change one at once; two
    processes are kept apart by a lock file.
    """

    def __init__(self, data: Path, state: FleetState, binaries: Binaries, user: OsUser) -> None:
        self.data = data
        self.place = state.place
        self.fsync = state.fsync
        self.binaries = binaries
        self._user = user
        self._guard: Guard | None = None
        self._is_attached = False
        self._servers: dict[str, LocalServer] = {}
        for item in state.servers:
            self._add(item)

    def _add(self, item: ServerState) -> None:
        primary = None
        if item.role is Role.REPLICA:
            primary = next(s for s in self._servers.values() if s.shard_id == item.shard_id)
        self._servers[item.id] = LocalServer(
            item.id,
            item.shard_id,
            item.role,
            self.place,
            binaries=self.binaries,
            user=self._user,
            port=item.port,
            fsync=self.fsync,
            primary=primary,
        )

    @classmethod
    def create(
        cls,
        data: Path,
        shards: int = 2,
        replicas: int = 1,
        fsync: bool = False,
        *,
        attached: bool = False,
        report: Report = _say_nothing,
    ) -> Self:
        """Make and start a fleet in the directory ``data``.

        An ``attached`` fleet is stopped when this process ends, however that happens; any other
        one outlives it. Leftovers of a creation that was killed are removed first.
        Raises FleetError when the directory holds a fleet already, or anything else.
        """
        return cls._create(
            data, shards, replicas, fsync, attached=attached, temporary=False, report=report
        )

    @classmethod
    def temporary(cls, shards: int = 2, replicas: int = 1, fsync: bool = False) -> Self:
        """Make and start a fleet that is removed when this process ends, or by ``destroy()``.

        It lives in memory (/dev/shm) where there is room, unless ``fsync`` asks for a disk.
        """
        data = Path(tempfile.mkdtemp(prefix="shardrouter-", dir=_roomy_directory(fsync))).resolve()
        data.chmod(0o711)
        return cls._create(
            data, shards, replicas, fsync, attached=True, temporary=True, report=_say_nothing
        )

    @classmethod
    def _create(
        cls,
        data: Path,
        shards: int,
        replicas: int,
        fsync: bool,
        *,
        attached: bool,
        temporary: bool,
        report: Report,
    ) -> Self:
        check_size(shards, replicas)
        user = OsUser.choose()
        data = data.resolve()
        cls.discard(data)
        with fleet_errors(data):
            prepare_data(data)
            check_only_ours(data)  # before a lock file is left in somebody else's directory
            with locked(data):
                check_vacant(data)
                guard = Guard(data, destroys=temporary) if attached else None
                try:
                    fleet = cls._make(data, user, shards, replicas, fsync, report)
                except BaseException:
                    if guard is not None:
                        guard.release()
                    raise
        fleet._guard = guard
        fleet._is_attached = attached and not temporary
        return fleet

    @classmethod
    def _make(
        cls, data: Path, user: OsUser, shards: int, replicas: int, fsync: bool, report: Report
    ) -> Self:
        """Crash: the marker is written first and the state last; in between all is removable."""
        place = choose_place(data, user)
        write_marker(data, place)
        try:
            make_place(place, user)
            binaries = find_binaries(user, place / COPIED_BINARIES)
            servers = plan_servers(shards, replicas)
            state = FleetState(place, binaries.directory, binaries.major, fsync, servers)
            fleet = cls(data, state, binaries, user)
            report(f"making {len(servers)} servers of PostgreSQL {binaries.version}")
            run_jobs([fleet._making(server) for server in fleet._primaries()])
            report("waiting for the replicas")
            fleet._wait_streaming()
            fleet._write_state()
        except BaseException:
            remove_leftovers(data)
            raise
        (data / MARKER_FILE).unlink()
        return fleet

    @classmethod
    def open(cls, data: Path, *, attached: bool = False) -> Self:
        """Return the existing fleet of a directory, running or not.

        Raises FleetError when there is none, or it belongs to another user.
        """
        data = data.resolve()
        with fleet_errors(data):
            state = FleetState.read(data) if data.is_dir() else None
            if state is None:
                what = "only a half-made" if read_marker(data) else "no"
                raise FleetError(
                    f"there is {what} local fleet in {data}",
                    hint="make one with `shardrouter up`, or name its directory with --data",
                )
            check_maker(data, state.place)
            user = OsUser.of_uid((state.place / LOGS).stat().st_uid)
            fleet = cls(data, state, _binaries_of(state, user), user)
        fleet._is_attached = attached
        return fleet

    @classmethod
    def discard(cls, data: Path, *, finished: bool = False) -> bool:
        """Remove what a killed command left half made; with ``finished`` a whole fleet as well.

        Returns whether there was anything. Raises FleetError when a process does not end.
        """
        data = data.resolve()
        if not cls.exists(data) and not read_marker(data):
            return False
        with fleet_errors(data), locked(data):
            return remove_fleet(data) if finished else remove_leftovers(data)

    @classmethod
    def exists(cls, data: Path) -> bool:
        """True when the directory holds a finished fleet, running or not. Raises FleetError."""
        with fleet_errors(data):
            return data.is_dir() and FleetState.read(data) is not None

    @property
    def catalog(self) -> LocalServer:
        """The server of the catalog database."""
        return self._servers[CATALOG_ID]

    @property
    def nodes(self) -> tuple[LocalServer, ...]:
        """The servers of the shards, each primary before its replicas."""
        return tuple(s for s in self._servers.values() if s.shard_id is not None)

    @property
    def servers(self) -> tuple[LocalServer, ...]:
        """All servers, the catalog first."""
        return tuple(self._servers.values())

    def node(self, node_id: str) -> LocalServer:
        """Return the server of that id. Raises FleetError when there is none."""
        if node_id not in self._servers:
            raise FleetError(
                f"there is no node {node_id!r}", hint=f"nodes: {', '.join(self._servers)}"
            )
        return self._servers[node_id]

    def primary(self, shard_id: str) -> LocalServer:
        """Return the server that was made as the primary of a shard. Raises FleetError."""
        found = {str(server.shard_id): server for server in self.nodes if server.primary is None}
        if shard_id not in found:
            raise FleetError(f"there is no shard {shard_id!r}", hint=f"shards: {', '.join(found)}")
        return found[shard_id]

    def is_running(self) -> bool:
        """True when every server runs."""
        return all(server.is_running() for server in self.servers)

    def start(self) -> None:
        """Start what does not run and wait until the replicas follow. Raises FleetError."""
        if self._is_attached and self._guard is None:
            self._guard = Guard(self.data, destroys=False)
        with fleet_errors(self.data), locked(self.data):
            run_jobs([self._starting(server) for server in self._primaries()])
            self._wait_streaming()
            self._write_state()  # a port may have changed

    def add_shard(self) -> ShardId:
        """Make and start one more shard, with as many replicas as the others; return its name.

        The others may run meanwhile. The topology does not know it: `shardrouter shard add`.
        Crash: the marker is written first; what ``fleet.json`` does not name is removed by the
        next command that changes the fleet. Raises FleetError.
        """
        with fleet_errors(self.data), locked(self.data):
            remove_leftovers(self.data)
            added = plan_one_more(self._states())
            write_marker(self.data, self.place)
            try:
                for item in added:
                    self._add(item)
                primary = self._servers[added[0].id]
                run_jobs([self._making(primary)])
                for replica in self._replicas(primary):
                    replica.wait_streaming()
                self._write_state()
            except BaseException:
                for item in added:
                    self._servers.pop(item.id, None)
                remove_leftovers(self.data)
                raise
            (self.data / MARKER_FILE).unlink()
        return ShardId(str(primary.shard_id))

    def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop every server; the data stay. Raises FleetError when a process does not end."""
        with fleet_errors(self.data), locked(self.data):
            run_jobs([[partial(server.stop, mode)] for server in self.servers])
        if self._is_attached:
            self._release_guard()

    def destroy(self) -> None:
        """Stop every server and delete all data. Raises FleetError when a process does not end."""
        self.discard(self.data, finished=True)
        self._release_guard()

    def _release_guard(self) -> None:
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def topology(self, slots: int = DEFAULT_SLOTS, database: str = "app") -> Topology:
        """Return the topology of this fleet at epoch 1, each shard of the same weight."""
        shards = tuple(
            Shard(
                ShardId(str(primary.shard_id)),
                tuple(
                    Node(node.id, node.role, node.dsn(database))
                    for node in self.nodes
                    if node.shard_id == primary.shard_id
                ),
            )
            for primary in self._primaries()
            if primary.shard_id is not None
        )
        owners = plan_owners(None, {shard.id: shard.weight for shard in shards}, slots)
        return Topology(Epoch(1), shards, owners)

    def _primaries(self) -> tuple[LocalServer, ...]:
        return tuple(s for s in self.servers if s.role is Role.PRIMARY)

    def _replicas(self, primary: LocalServer) -> tuple[LocalServer, ...]:
        return tuple(s for s in self.servers if s.primary is primary)

    def _making(self, primary: LocalServer) -> Job:
        replicas = self._replicas(primary)
        copies = [step for replica in replicas for step in (replica.make, replica.start)]
        return [primary.make, primary.start, primary.make_database, *copies]

    def _starting(self, primary: LocalServer) -> Job:
        return [primary.start, *(replica.start for replica in self._replicas(primary))]

    def _wait_streaming(self) -> None:
        for server in self.nodes:
            if server.is_standby():
                server.wait_streaming()

    def _states(self) -> tuple[ServerState, ...]:
        return tuple(ServerState(s.id, s.shard_id, s.role, s.port) for s in self.servers)

    def _write_state(self) -> None:
        servers = self._states()
        major = self.binaries.major
        FleetState(self.place, self.binaries.directory, major, self.fsync, servers).write(self.data)


def _binaries_of(state: FleetState, user: OsUser) -> Binaries:
    """The programs the fleet was made with, or others of the same major version."""
    copied = state.place / COPIED_BINARIES
    return find_binaries(user, copied, major=state.major, first=state.binaries)


def _roomy_directory(fsync: bool) -> str | None:
    if fsync or not os.access(_MEMORY_DIRECTORY, os.W_OK):
        return None
    is_roomy = disk_usage(_MEMORY_DIRECTORY).free >= _MEMORY_BYTES_NEEDED
    return str(_MEMORY_DIRECTORY) if is_roomy else None
