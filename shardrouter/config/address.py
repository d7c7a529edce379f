"""Read an address to listen on: ``host:port``, ``[::1]:port``."""

from typing import NamedTuple

from shardrouter.errors import SettingsError


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, where: str) -> Address:
    """Return host and port; port 0 lets the system choose. Raises SettingsError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""  # an IPv6 address without brackets: which part is the port?
    if separator and host and port.isascii() and port.isdigit() and int(port) <= 65_535:
        return Address(host, int(port))
    raise SettingsError(
        f"{where} = {text!r} is not an address with a port",
        hint="write 127.0.0.1:6432 or [::1]:6432; 0.0.0.0 and [::] mean every interface",
    )
