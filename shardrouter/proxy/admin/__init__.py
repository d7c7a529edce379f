"""The commands of the admin database, one a file."""

from shardrouter.proxy.admin.command import AdminContext, Answer, Command
from shardrouter.proxy.admin.commands import COMMANDS, Call, calls_in

__all__ = ["COMMANDS", "AdminContext", "Answer", "Call", "Command", "calls_in"]
