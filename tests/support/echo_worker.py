"""A worker of the proxy that serves no SQL: it tells its pid and sends back what it gets.

``start N``: waits until the parent lets N go. Used by the tests of the parent process.
"""

import asyncio
import os
import sys
from typing import Any

from shardrouter.errors import SettingsError
from shardrouter.proxy.worker_entry import run_process
from shardrouter.proxy.worker_start import WorkerStart, settings_from_data


class EchoWorker:
    def __init__(self, start: WorkerStart) -> None:
        self.start = start
        self.settings = start.settings
        self.drained = asyncio.Event()
        self.servers: list[asyncio.Server] = []
        self.clients: set[asyncio.StreamWriter] = set()
        self.pools: dict[str, int] = {}

    async def run(self) -> None:
        if "refuse-to-start" in self.settings.proxy.admin_users:
            raise SettingsError("this worker does not like it here", hint="try elsewhere")
        link = self.start.link
        for verb in ("drain", "reload", "show", "metrics", "health", "pause"):
            link.answer(verb, getattr(self, verb))
        for sock in self.start.listeners:
            self.servers.append(await asyncio.start_server(self.serve, sock=sock))
        self.start.announce_ready()
        await self.drained.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.add(writer)
        writer.write(f"{os.getpid()}\n".encode())
        try:
            while line := await reader.readline():
                if line.startswith(b"parent "):
                    _, verb, *pairs = line.decode().split()
                    answer = await self.start.link.ask(verb, **dict(p.split("=") for p in pairs))
                    writer.write(f"{answer}\n".encode())
                elif line == b"garbage\n":
                    self.start.link._transport.write(b"\x00\x00\x00\x05[[[[[")
                else:
                    writer.write(line)
        except OSError:
            pass
        finally:
            self.clients.discard(writer)
            writer.close()
            self.leave_when_done()

    async def drain(self, deadline_seconds: float) -> None:
        for server in self.servers:
            server.close()
        self.servers = []
        self.is_draining = True
        asyncio.get_running_loop().call_later(deadline_seconds, self.drained.set)
        self.leave_when_done()

    is_draining = False

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
        return {"worker": self.start.index, "ready": True}

    async def metrics(self) -> dict[str, Any]:
        return {"pid": os.getpid()}

    async def pause(self) -> None:
        await asyncio.sleep(60)


async def work(start: WorkerStart) -> None:
    await EchoWorker(start).run()


if __name__ == "__main__":
    sys.exit(run_process(work, sys.argv[1:]))
