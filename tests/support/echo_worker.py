"""A worker of the proxy that serves no SQL: it tells its pid and sends back what it gets.

Used by the tests of the parent process. ``parent VERB key=value`` asks the parent.
"""

import asyncio
import os
import sys
from typing import Any

from shardrouter.errors import SettingsError, ShardRouterError
from shardrouter.proxy.worker.entry import run_process
from shardrouter.proxy.worker.start import WorkerStart, settings_from_data

NONSENSE = b"\x00\x00\x00\x05[[[[["


class EchoWorker:
    def __init__(self, start: WorkerStart) -> None:
        self.start = start
        self.settings = start.settings
        self.drained = asyncio.Event()
        self.is_draining = False
        self.servers: list[asyncio.Server] = []
        self.clients: set[asyncio.StreamWriter] = set()
        self.granted_pools: list[str] = []

    async def run(self) -> None:
        if "refuse-to-start" in self.settings.proxy.admin_users:
            raise SettingsError("this worker does not like it here", hint="try elsewhere")
        for verb in ("drain", "reload", "show", "health", "granted", "shed", "spare"):
            self.start.link.answer(verb, getattr(self, verb))
        for sock in self.start.listeners:
            self.servers.append(await asyncio.start_server(self.serve, sock=sock))
        self.start.announce_ready()
        await self.drained.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(writer)
        writer.write(f"{os.getpid()}\n".encode())
        try:
            while line := await reader.readline():
                await self.answer(line.decode().strip(), writer)
        except OSError:
            pass
        finally:
            self.clients.discard(writer)
            writer.close()
            self.leave_when_done()

    async def answer(self, line: str, writer: asyncio.StreamWriter) -> None:
        match line.split():
            case ["garbage"]:
                self.start.link._transport.write(NONSENSE)  # type: ignore[union-attr]
                return
            case ["granted"]:
                line = ",".join(self.granted_pools)
            case ["parent", verb, *pairs]:
                line = await self.ask_parent(verb, pairs)
        writer.write(f"{line}\n".encode())

    async def ask_parent(self, verb: str, pairs: list[str]) -> str:
        arguments: dict[str, Any] = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            outer, _, inner = key.partition(".")
            arguments[outer] = {inner: value} if inner else value
        try:
            return str(await self.start.link.ask(verb, **arguments))
        except ShardRouterError as error:
            return f"{type(error).__name__}: {error.message}"

    async def drain(self, deadline_seconds: float, keeps_idle: bool = False) -> None:
        for server in self.servers:
            server.close()
        self.servers = []
        self.is_draining = True
        asyncio.get_running_loop().call_later(deadline_seconds, self.drained.set)
        self.leave_when_done()

    def leave_when_done(self) -> None:
        if self.is_draining and not self.clients:
            self.drained.set()

    async def reload(self, settings: dict[str, Any], topology: str | None) -> None:
        new = settings_from_data(settings)
        if f"refused-by-{self.start.index}" in new.proxy.admin_users:
            raise SettingsError("this worker does not take it")
        self.settings = new

    async def show(self, what: str) -> list[dict[str, Any]]:
        return [{"worker": self.start.index, "value": getattr(self.settings.proxy, what)}]

    async def health(self) -> dict[str, Any]:
        return {
            "worker": self.start.index,
            "epoch": 1,
            "lease_valid": True,
            "nodes_up": 1,
            "nodes": 1,
            "problem": None,
        }

    async def granted(self, pool: str) -> None:
        self.granted_pools.append(pool)

    async def shed(self, pool: str, count: int) -> None:
        pass

    async def spare(self, pool: str, count: int) -> None:
        pass


async def work(start: WorkerStart) -> None:
    await EchoWorker(start).run()


if __name__ == "__main__":
    sys.exit(run_process(work, sys.argv[1:]))
