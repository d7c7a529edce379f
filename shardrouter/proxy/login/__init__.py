"""Who may come in, and how that is proved."""

from shardrouter.proxy.login.authenticate import authenticate
from shardrouter.proxy.login.door import LoginDoor, open_door
from shardrouter.proxy.login.identity import BackendSecret, Identity
from shardrouter.proxy.login.rules import Method, Rules, read_rules
from shardrouter.proxy.login.throttle import Throttle
from shardrouter.proxy.login.tls import ClientTls, load_client_tls

__all__ = [
    "BackendSecret",
    "ClientTls",
    "Identity",
    "LoginDoor",
    "Method",
    "Rules",
    "Throttle",
    "authenticate",
    "load_client_tls",
    "open_door",
    "read_rules",
]
