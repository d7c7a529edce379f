"""The root of all errors, and those of no group."""

from typing import ClassVar


class ShardRouterError(Exception):
    """shardrouter refused or failed."""

    sqlstate: str = "XX000"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        shard: str | None = None,
        node: str | None = None,
        epoch: int | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.hint = hint
        self.shard = shard
        self.node = node
        self.epoch = epoch
        super().__init__(self.message)

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("shard", self.shard), ("node", self.node), ("epoch", self.epoch))
            if value is not None
        )
        text = f"{self.message} [{where}]" if where else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


class RouterClosed(ShardRouterError):
    """The router is closed."""

    sqlstate = "08003"


class IdError(ShardRouterError):
    """No id could be made."""

    sqlstate = "55000"
    retryable = True
