"""Read settings, topology file, certificates and users again, in all workers or in none."""

import asyncio
import logging
from typing import Any

from shardrouter.config import Settings, settings_path
from shardrouter.control.tasks import spawn
from shardrouter.errors import ShardRouterError
from shardrouter.proxy.parent.crew import Crew
from shardrouter.proxy.parent.plan import ParentPlan, read_settings
from shardrouter.proxy.parent.settings_changes import changes_between, without_restart
from shardrouter.proxy.parent.worker_process import WorkerLife
from shardrouter.proxy.topology_file import read_topology_file, succeeding
from shardrouter.proxy.worker.start import settings_to_data
from shardrouter.topology import Topology

logger = logging.getLogger(__name__)


class Reloader:
    """Holds the settings and the static topology in force."""

    def __init__(self, plan: ParentPlan, crew: Crew) -> None:
        self.settings = plan.settings
        self.topology: Topology | None = plan.topology
        self.version = 0
        """Raised with each reload."""

        self.settings_path = settings_path(plan.settings_path)
        self._plan = plan
        self._crew = crew
        self._one_at_a_time = asyncio.Lock()
        self._asked_by_signal: asyncio.Task[None] | None = None

    def in_force(self) -> dict[str, Any]:
        """Return what a worker starts with, or changes to, as it travels over the link."""
        return _in_force(self.settings, self.topology)

    async def reload(self) -> dict[str, Any]:
        """Take the files as they are now; return what changed, and which keys need a restart.

        Raises the error that kept everything as it was.
        """
        async with self._one_at_a_time:
            read = await asyncio.to_thread(
                read_settings, self._plan.settings_path, self._plan.overrides
            )
            changes = changes_between(self.settings, read)
            settings = without_restart(self.settings, read)
            topology = await asyncio.to_thread(self._read_topology)
            asked = await self._push(settings, topology)
            self.settings, self.topology = settings, topology
            self.version += 1
            for life in asked:
                life.settings_version = self.version
            # Race: a worker that began to serve meanwhile was started with what was in force.
            for life in self._crew.serving():
                await self.bring_up_to_date(life)
        restart = [change.key for change in changes if change.needs_restart]
        keys = ",".join(change.key for change in changes)
        logger.info("settings_reloaded changed=%s restart_needed=%s", keys, ",".join(restart))
        return {
            "changed": [{"key": c.key, "before": c.before, "after": c.after} for c in changes],
            "restart": restart,
        }

    async def bring_up_to_date(self, life: WorkerLife) -> None:
        """Have a worker that begins to serve take what was reloaded while it started."""
        if life.settings_version == self.version:
            return
        life.settings_version = self.version
        try:
            await life.link.ask("reload", **self.in_force())
        except ShardRouterError as error:
            logger.error("worker_kept_settings name=%s reason=%s", life.link.name, error.message)

    def reload_soon(self) -> None:
        """Reload because of a signal: the log says how it went."""
        self._asked_by_signal = spawn(self._reload_and_log(), name="reload")

    async def _reload_and_log(self) -> None:
        try:
            done = await self.reload()
        except ShardRouterError as error:
            logger.error("settings_kept reason=%s", error.message)
            return
        for change in done["changed"]:
            when = "after_restart" if change["key"] in done["restart"] else "now"
            logger.info(
                "setting_changed key=%s effect=%s before=%s after=%s",
                change["key"],
                when,
                change["before"],
                change["after"],
            )

    def _read_topology(self) -> Topology | None:
        path = self.settings.proxy.topology_file
        if path is None or self.topology is None:
            return None
        return succeeding(self.topology, read_topology_file(path))

    async def _push(self, settings: Settings, topology: Topology | None) -> list[WorkerLife]:
        asked = self._crew.serving()
        try:
            await self._crew.ask_all("reload", **_in_force(settings, topology))
        except ShardRouterError:
            # One could not take it, as a certificate that cannot be read: all go back.
            await self._crew.ask_all("reload", **self.in_force())
            raise
        return asked


def _in_force(settings: Settings, topology: Topology | None) -> dict[str, Any]:
    return {
        "settings": settings_to_data(settings),
        "topology": None if topology is None else topology.to_json(),
    }
