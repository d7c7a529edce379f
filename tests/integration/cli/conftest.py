"""Run commands in this process as a shell would, in an empty directory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from shardrouter.catalog import CatalogStore
from shardrouter.cli.main import app
from shardrouter.cli.output import run_app
from tests.support.cluster import Cluster

PASSWORD = "hunter2"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "shell").mkdir()
    monkeypatch.chdir(tmp_path / "shell")
    monkeypatch.delenv("SHARDROUTER_CONFIG", raising=False)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        try:
            code = run_app(lambda: app(list(arguments)))
        except SystemExit as end:  # how typer ends by itself
            code = int(end.code or 0)
        said = capsys.readouterr()
        assert PASSWORD not in said.out + said.err
        assert "Traceback" not in said.err
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def node(cluster: Cluster) -> Callable[[str], str]:
    """The DSN of this test's database on a node, with a password."""
    return lambda name: make_conninfo(cluster.dsn(name), password=PASSWORD)


@pytest.fixture
def catalog(empty_catalog: str) -> str:
    """The DSN of an empty catalog database, with a password."""
    return make_conninfo(empty_catalog, password=PASSWORD)


@pytest.fixture
def founded(run: Run, catalog: str) -> Run:
    """A fleet of 64 slots without shards, and its settings file."""
    assert run("init", "--catalog", catalog, "--slots", "64").code == 0
    return run


@pytest.fixture
def two_shards(founded: Run, node: Callable[[str], str]) -> Run:
    """The same with shards s0 and s1 and a replica of each, at epoch 2."""
    for name in ("s0", "s1"):
        said = founded(
            *("shard", "add", name),
            *("--primary", node(f"{name}-p"), "--replica", node(f"{name}-r1")),
        )
        assert said.code == 0, said.err
    return founded


@pytest.fixture
def store_now(empty_engine: Any) -> Iterator[CatalogStore]:
    """The catalog behind the commands."""
    yield CatalogStore(empty_engine)
