"""The JDBC driver through the proxy: ``tests/support/clients/JdbcTalk.java`` does the work."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.eventually import PATIENCE
from tests.support.proxy import ProxyProcess

PROGRAM: Final = Path(__file__).parents[3] / "support/clients/JdbcTalk.java"
VERSION: Final = "42.7.8"
DOWNLOAD_SECONDS: Final = 45 * PATIENCE
RUN_SECONDS: Final = 50 * PATIENCE


@pytest.fixture(scope="module")
def driver() -> Path:
    """The driver's jar, from Maven's local repository or from Maven Central."""
    if shutil.which("java") is None:
        pytest.skip("no Java on this machine")
    jar = (
        Path.home() / f".m2/repository/org/postgresql/postgresql/{VERSION}/postgresql-{VERSION}.jar"
    )
    if jar.exists():
        return jar
    if shutil.which("mvn") is None:
        pytest.skip("the driver is not in Maven's local repository, and there is no mvn")
    artifact = f"-Dartifact=org.postgresql:postgresql:{VERSION}"
    command = ["mvn", "-q", "-B", "dependency:get", artifact, "-Dtransitive=false"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"mvn does not answer within {DOWNLOAD_SECONDS:g} s")
    if not jar.exists():
        pytest.skip(f"mvn cannot get the driver: {done.stdout.strip()[-300:]}")
    return jar


@pytest.mark.timeout(120 * PATIENCE)
def test_jdbc(driver: Path, either: ProxyProcess, schema: str):
    url = f"jdbc:postgresql://127.0.0.1:{either.port}/{either.cluster.database}?sslmode=disable"
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", str(driver), str(PROGRAM), url, schema],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "many"
