"""The Dockerfile and the compose file say what is true: files, ports, settings, commands."""

import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml

from shardrouter.cli.main import app
from shardrouter.config import Settings, load_settings, parse_address

ROOT: Final = Path(__file__).parents[3]
DOCKER: Final = ROOT / "docker"
CONTINUED: Final = re.compile(r"\\\n")
VARIABLE: Final = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")
PINNED: Final = re.compile(r"[\w./-]+:\d+\.\d+[\w.-]*")
PORTS: Final = (
    parse_address(Settings().proxy.listen, "proxy.listen").port,
    parse_address(Settings().proxy.http_listen, "proxy.http_listen").port,
)


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    text = CONTINUED.sub(" ", (DOCKER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def compose() -> dict[str, Any]:
    found = yaml.safe_load((DOCKER / "compose.yml").read_text())
    assert isinstance(found, dict)
    return found


def services() -> dict[str, dict[str, Any]]:
    found = compose()["services"]
    assert isinstance(found, dict)
    return found


def set_variables(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        if name.startswith("SHARDROUTER__"):
            monkeypatch.setenv(name, value)


def command_of(words: list[str]) -> Any:
    """Return the shardrouter command that the words name, and fail for none."""
    found: Any = typer.main.get_command(app)
    for word in words:
        if word.startswith("-") or not hasattr(found, "commands"):
            break
        assert word in found.commands, words
        found = found.commands[word]
    assert not hasattr(found, "commands"), words
    return found


def test_what_the_dockerfile_copies_exists_and_gets_past_the_ignore_file() -> None:
    ignored = [
        line
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored[0] == "*"
    for arguments in of("COPY"):
        *sources, target = arguments.split()
        assert target.startswith("./")
        for source in sources:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_what_the_build_needs_is_copied() -> None:
    copied = " ".join(of("COPY")).split()
    text = (ROOT / "pyproject.toml").read_text() + (ROOT / "setup.py").read_text()
    for name in ("README.md", "LICENSE", "migrations", "shardrouter"):
        assert name in text
        assert name in copied
    assert not any(fnmatch("shardrouter/proxy/login/function.sql", p) for p in ("*.so", "*.c"))


def test_base_images_are_pinned_and_run_a_supported_python() -> None:
    stages = [arguments.split() for arguments in of("FROM")]
    assert len(stages) == 2
    assert stages[0][0] == stages[1][0]
    assert PINNED.fullmatch(stages[0][0])
    assert stages[0][0].startswith("python:3.1")
    assert f"Python :: {stages[0][0][7:11]}" in (ROOT / "pyproject.toml").read_text()


def test_the_image_runs_as_nobody_special_and_holds_no_secret() -> None:
    assert of("USER") == ["10001:10001"]
    text = (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"(?i)password|passwd|secret[^s]|dsn", text)
    assert of("ARG") == []


def test_ports_are_the_defaults_of_the_settings() -> None:
    assert of("EXPOSE") == [f"{PORTS[0]} {PORTS[1]}"]
    [check] = of("HEALTHCHECK")
    assert f"127.0.0.1:{PORTS[1]}/health'" in check
    published = [each.split(":")[1:] for each in services()["proxy"]["ports"]]
    assert published == [[str(port), str(port)] for port in PORTS]


def test_the_environment_of_the_image_is_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict(pair.split("=", 1) for text in of("ENV") for pair in text.split())
    set_variables(variables, monkeypatch)
    settings = load_settings(catalog={"dsn": "host=db"})
    assert parse_address(settings.proxy.listen, "").port == PORTS[0]
    assert parse_address(settings.proxy.http_listen, "").port == PORTS[1]
    assert parse_address(settings.proxy.listen, "").host == "0.0.0.0"


def test_the_image_runs_a_command_that_there_is() -> None:
    [entry], [command] = of("ENTRYPOINT"), of("CMD")
    assert yaml.safe_load(entry) == ["shardrouter"]
    assert command_of(yaml.safe_load(command)).name == "proxy"
    assert command_of(services()["proxy"]["command"]).name == "proxy"


@pytest.mark.parametrize("name", ["fleet", "proxy"])
def test_the_environment_of_the_services_is_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    set_variables(services()[name]["environment"], monkeypatch)
    settings = load_settings()
    assert settings.catalog.dsn == "postgresql://shardrouter@catalog/catalog"
    if name == "proxy":
        assert settings.proxy_auth.function == "shardrouter.proxy_login"
        assert "@s0-p/" in settings.proxy_auth.function_dsn


def test_services_depend_on_services_in_states_they_can_have() -> None:
    found = services()
    for service in found.values():
        for name, wanted in service.get("depends_on", {}).items():
            condition = wanted["condition"]
            if condition == "service_healthy":
                assert "test" in found[name]["healthcheck"]
            else:
                assert condition == "service_completed_successfully"
                assert found[name]["restart"] == "no"


def test_the_fleet_is_two_shards_with_a_replica_each() -> None:
    found = services()
    assert {"catalog", "proxy"} < found.keys()
    for shard in ("s0", "s1"):
        assert found[f"{shard}-r1"]["environment"]["PRIMARY_HOST"] == f"{shard}-p"
        environment = found["fleet"]["environment"]
        assert environment[f"{shard}_primary"] == f"postgresql://shardrouter@{shard}-p/app"
        assert environment[f"{shard}_replica"] == f"postgresql://shardrouter@{shard}-r1/app"
    assert found["fleet"]["command"] == ["s0", "s1"]


def test_hosts_that_are_named_are_services() -> None:
    text = "\n".join(
        str(value) for each in services().values() for value in each.get("environment", {}).values()
    )
    named = set(re.findall(r"@([\w-]+)/", text)) | set(re.findall(r"host=([\w-]+)", text))
    assert named
    assert named <= services().keys()


def test_volumes_are_declared_and_files_exist() -> None:
    declared = compose()["volumes"].keys()
    used = set()
    for service in services().values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (DOCKER / source).resolve().is_file()
            else:
                used.add(source)
    assert used == declared


def test_scripts_that_are_run_are_mounted() -> None:
    for service in services().values():
        for word in service.get("entrypoint", []):
            if word.startswith("/shardrouter/"):
                assert any(f":{word}:" in volume for volume in service["volumes"])


def test_passwords_come_from_the_environment_and_the_example_names_them_all() -> None:
    text = (DOCKER / "compose.yml").read_text()
    example = (DOCKER / "example.env").read_text()
    named = {line[:-1] for line in example.splitlines() if re.fullmatch(r"\w+=", line)}
    assert named == set(VARIABLE.findall(text))
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert VARIABLE.fullmatch(value)
    assert ".env" in (DOCKER / ".gitignore").read_text().splitlines()


def test_variables_of_the_scripts_are_set_by_their_services() -> None:
    for name, script in (("roles", "roles.sh"), ("s0-p", "primary.sh"), ("s0-r1", "replica.sh")):
        text = (DOCKER / script).read_text()
        wanted = set(re.findall(r"\$([A-Z][A-Z_]+)\b", text))
        given = services()[name]["environment"].keys() | {"POSTGRES_USER", "PGDATA"}
        assert wanted <= given
        assert wanted


def test_images_are_pinned() -> None:
    images = {each["image"] for each in services().values()}
    ours = {each["image"] for each in services().values() if "build" in each}
    assert ours == {"shardrouter"}
    assert all(PINNED.fullmatch(image) for image in images - ours)


def test_a_drain_has_the_time_that_the_settings_give_it() -> None:
    grace = services()["proxy"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Settings().proxy.drain_seconds


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_read_by_the_shell(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", str(script)], check=True, timeout=10)
    assert script.read_text().startswith("#!/bin/sh\n")
    assert "set -eu" in script.read_text()


def test_the_commands_of_the_scripts_exist_with_their_options() -> None:
    lines = [line.strip() for line in (DOCKER / "fleet.sh").read_text().splitlines()]
    code = "\n".join(line for line in lines if not line.startswith("#"))
    calls = [shlex.split(call) for call in re.findall(r"\bshardrouter [^)\n]*", code)]
    assert len(calls) == 3
    for words in calls:
        command = command_of(words[1:])
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize(
    ("program", "files"),
    [("hadolint", ["Dockerfile"]), ("shellcheck", [path.name for path in DOCKER.glob("*.sh")])],
)
def test_checkers_find_nothing(program: str, files: list[str]) -> None:
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([found, *files], cwd=DOCKER, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
