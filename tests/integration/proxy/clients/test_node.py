"""node-postgres through the proxy: ``tests/support/clients/node_pg.mjs`` does the work."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.eventually import PATIENCE
from tests.support.proxy import ProxyProcess

SCRIPT: Final = Path(__file__).parents[3] / "support/clients/node_pg.mjs"
PACKAGES: Final = ("pg@8", "pg-copy-streams@7")
INSTALL_SECONDS: Final = 40 * PATIENCE
RUN_SECONDS: Final = 40 * PATIENCE


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", *PACKAGES]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm does not answer within {INSTALL_SECONDS:g} s")
    if done.returncode:
        pytest.skip(f"npm cannot install {', '.join(PACKAGES)}: {done.stderr.strip()[-300:]}")
    return folder


def test_node_postgres(modules: Path, either: ProxyProcess, schema: str):
    settings = {
        "host": "127.0.0.1",
        "port": either.port,
        "user": "postgres",
        "database": either.cluster.database,
        "schema": schema,
    }
    done = subprocess.run(
        ["node", str(SCRIPT), json.dumps(settings)],
        cwd=modules,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "pool"
