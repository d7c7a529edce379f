"""A cluster whose nodes are reached through something else, as a relay."""

from collections.abc import Mapping

from tests.support.cluster import Cluster


class Rerouted(Cluster):
    """The same databases; the nodes in ``ports`` are told to be at these ports."""

    def __init__(self, cluster: Cluster, ports: Mapping[str, int]) -> None:
        self.__dict__.update(cluster.__dict__)
        self._direct = cluster
        self._ports = dict(ports)

    def dsn(self, node_id: str) -> str:
        port = self._ports.get(node_id)
        if port is None:
            return self._direct.dsn(node_id)
        return f"postgresql://postgres@127.0.0.1:{port}/{self.database}"
