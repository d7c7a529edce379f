"""load_settings: which source wins, what is refused, and that errors name key and fix."""

from pathlib import Path

import pytest

from shardrouter.config import load_settings, settings_path, sources_of
from shardrouter.errors import SettingsError

DSN = "postgresql://app@db0/catalog"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHARDROUTER_CONFIG", raising=False)
    monkeypatch.delenv("SHARDROUTER__CATALOG__DSN", raising=False)


def write(text: str, name: str = "shardrouter.toml") -> Path:
    Path(name).write_text(text)
    return Path(name)


def test_defaults_need_only_a_catalog() -> None:
    settings = load_settings(catalog={"dsn": DSN})
    assert settings.catalog.lease_seconds == 15.0
    assert settings.pool.size == 10
    assert settings.routing.max_lag_seconds is None


def test_environment_wins_over_file_and_overrides_over_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(f'[catalog]\ndsn = "{DSN}"\n[pool]\nsize = 3\nrecycle_seconds = 60\n[gather]\nmax_rows=7')
    monkeypatch.setenv("SHARDROUTER__POOL__SIZE", "4")
    monkeypatch.setenv("SHARDROUTER__POOL__RECYCLE_SECONDS", "70")
    monkeypatch.setenv("SHARDROUTER__ROUTING__MAX_LAG_SECONDS", "none")
    settings = load_settings(pool={"size": 5})
    assert (settings.pool.size, settings.pool.recycle_seconds) == (5, 70.0)
    assert settings.gather.max_rows == 7
    assert sources_of() == {
        "catalog.dsn": "file",
        "gather.max_rows": "file",
        "pool.size": "environment",
        "pool.recycle_seconds": "environment",
        "routing.max_lag_seconds": "environment",
    }


def test_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("shardrouter__catalog__dsn", DSN)
    assert load_settings().catalog.dsn == DSN


def test_path_from_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDROUTER_CONFIG", "other.toml")
    write(f'[catalog]\ndsn = "{DSN}"', "other.toml")
    assert settings_path() == Path("other.toml")
    assert load_settings().catalog.dsn == DSN


def test_settings_are_frozen_and_hide_the_dsn_from_repr() -> None:
    settings = load_settings(catalog={"dsn": "postgresql://app:secret@db0/catalog"})
    with pytest.raises(ValueError, match="frozen"):
        settings.pool.size = 3  # type: ignore[misc]
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("path", [None, Path("nowhere.toml")])
def test_no_catalog_says_how_to_get_one(path: Path | None) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert "shardrouter up" in str(caught.value)
    assert "shardrouter init" in str(caught.value)


def test_file_without_catalog_is_named() -> None:
    write("[pool]\nsize = 3")
    with pytest.raises(SettingsError, match=r"shardrouter\.toml names no catalog"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pool]\nsiz = 3", "pool.siz is not a setting; did you mean pool.size?"),
        ("[poll]\nsize = 3", "poll is not a setting; did you mean pool?"),
        ("size = 3", "size is not a setting; did you mean pool.size?"),
        ("[catalog]\nlease = 3", "did you mean catalog.lease_seconds?"),
        ("[pool]\nsize = 0", "pool.size = 0: must be at least 1 and at most 1,000"),
        (
            "[catalog]\nlease_seconds = 4000",
            "catalog.lease_seconds = 4000: must be at least 1 and at most 3,600 seconds",
        ),
        ("[monitor]\nevery_ms = 1", "must be at least 10 and at most 60,000 milliseconds"),
        ("[routing]\nmax_lag_seconds = 0", "must be more than 0 and at most 86,400 seconds"),
        ("[catalog]\npoll_seconds = nan", "catalog.poll_seconds = nan: must be"),
        ('[pool]\nsize = "many"', "pool.size = 'many': must be"),
        ('[routing]\nreplica_fallback = "no"', "should be 'primary' or 'error'"),
        ("pool = 3", "pool is a section: write [pool]"),
        ("[pool", "is not TOML"),
        ("[pool]\nsize = 0\n[gather]\nmax_rows = 0", "pool.size = 0: must be"),
        ("[pool]\nsize = 0\n[gather]\nmax_rows = 0", "gather.max_rows = 0: must be"),
        ("[catalog]\nlease_seconds = 1\npoll_seconds = 1", "must be longer than"),
        ("[catalog]\nlease_seconds = 3", "one slow connection attempt"),
    ],
)
def test_wrong_values_name_key_and_rule(text: str, said: str) -> None:
    head, brace, rest = text.partition("[catalog]\n")
    write(f'{head}[catalog]\ndsn = "{DSN}"\n{rest}' if brace else text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert caught.value.hint


def test_wrong_value_from_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARDROUTER__POOL__SIZE", "0")
    with pytest.raises(SettingsError, match="variable SHARDROUTER__POOL__SIZE"):
        load_settings(catalog={"dsn": DSN})


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("SHARDROUTER__POLL__SIZE", "did you mean pool?"),
        ("SHARDROUTER__POOL__SIZ", "did you mean pool.size?"),
        ("SHARDROUTER__POOL", "set single keys"),
    ],
)
def test_unknown_variables_are_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "x3")
    with pytest.raises(SettingsError) as caught:
        load_settings(catalog={"dsn": DSN})
    assert said in str(caught.value)


def test_dsn_file_is_relative_to_the_settings_file() -> None:
    Path("etc").mkdir()
    write('[catalog]\ndsn_file = "dsn"', "etc/s.toml")
    write(f"{DSN}\n", "etc/dsn")
    assert load_settings("etc/s.toml").catalog.dsn == DSN


def test_dsn_file_that_is_missing_is_named() -> None:
    write('[catalog]\ndsn_file = "dsn"')
    with pytest.raises(SettingsError, match="dsn_file cannot be read"):
        load_settings()


def test_dsn_and_dsn_file_in_one_source_are_refused_but_a_higher_source_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(f'[catalog]\ndsn_file = "dsn"\ndsn = "{DSN}"')
    with pytest.raises(SettingsError, match="both given"):
        load_settings()
    write('[catalog]\ndsn_file = "dsn"')
    monkeypatch.setenv("SHARDROUTER__CATALOG__DSN", DSN)
    assert load_settings().catalog.dsn == DSN


def test_wrong_dsn_is_refused_without_telling_the_password() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(catalog={"dsn": "password=se cret hunter2"})
    assert "catalog.dsn is not a connection string" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_surprises_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    load_settings(catalog={"dsn": DSN}, routing={"max_lag_seconds": 0.1})
    assert "routing.max_lag_seconds = 0.1 is not longer than monitor.every_ms" in caplog.text


def test_files_of_the_settings_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = write(
        f'[catalog]\ndsn = "{DSN}"\n[proxy]\ntopology_file = "t.toml"\nrun_directory = "run"\n'
        '[proxy_auth]\nusers_file = "u"\ncertificate_file = "/etc/c.pem"\nkey_file = "k"',
        "deep/p.toml",
    )
    settings = load_settings(file, proxy={"unix_socket_directory": "sockets"})
    deep = Path("deep")
    assert settings.proxy.topology_file == deep / "t.toml"
    assert settings.proxy.run_directory == deep / "run"
    assert settings.proxy.unix_socket_directory == Path("sockets")
    assert settings.proxy_auth.users_file == deep / "u"
    assert settings.proxy_auth.certificate_file == Path("/etc/c.pem")
    assert settings.proxy_auth.key_file == deep / "k"


def test_a_topology_file_instead_of_the_catalog_only_where_it_serves() -> None:
    file = write('[proxy]\ntopology_file = "t.toml"')
    assert load_settings(file, or_topology_file=True).catalog.dsn == ""
    with pytest.raises(SettingsError, match="names no catalog"):
        load_settings(file)


def test_function_dsn_is_checked_and_never_told() -> None:
    for dsn in ("passwd=hunter2", ""):
        file = write(f'[catalog]\ndsn = "{DSN}"\n[proxy_auth]\nfunction_dsn = "{dsn}"')
        if not dsn:
            load_settings(file)
            continue
        with pytest.raises(SettingsError, match=r"proxy_auth\.function_dsn") as caught:
            load_settings(file)
        assert "hunter2" not in str(caught.value)
