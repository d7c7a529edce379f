"""The settings each server gets."""

from shardrouter.local.server_settings import replication_slot_of, settings_text


def lines(**changes: object) -> dict[str, str]:
    options = {"is_catalog": False, "fsync": False, "major": 18, **changes}
    text = settings_text("s0-r1", 20001, **options)  # type: ignore[arg-type]
    pairs = [line.split(" = ", 1) for line in text.splitlines() if not line.startswith("#")]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_shard_nodes_can_stream_decode_and_prepare() -> None:
    got = lines()
    assert got["wal_level"] == "'logical'"
    assert got["max_prepared_transactions"] == "64"
    assert got["hot_standby_feedback"] == "on"
    assert got["port"] == "20001"
    assert got["cluster_name"] == "'s0-r1'"


def test_origins_have_a_limit_of_their_own_since_18() -> None:
    name = "max_active_replication_origins"
    assert lines()[name] == lines()["max_replication_slots"]
    assert name not in lines(major=17)
    assert name not in lines(is_catalog=True)


def test_every_server_listens_on_this_machine_only() -> None:
    for is_catalog in (True, False):
        got = lines(is_catalog=is_catalog)
        assert got["listen_addresses"] == "'127.0.0.1'"
        assert got["unix_socket_directories"] == "''"


def test_catalog_is_small_and_does_not_stream() -> None:
    got = lines(is_catalog=True)
    assert (got["wal_level"], got["max_wal_senders"]) == ("'minimal'", "0")


def test_fsync_is_what_was_asked_for() -> None:
    assert lines(fsync=False)["fsync"] == "off"
    assert lines(fsync=True)["fsync"] == "on"


def test_replica_names_its_primary_and_its_replication_slot() -> None:
    got = lines(primary_port=20000, replication_slot=replication_slot_of("s0-r1"))
    assert "port=20000 " in got["primary_conninfo"]
    assert "application_name=s0-r1 " in got["primary_conninfo"]
    assert got["primary_slot_name"] == "'s0_r1'"
    assert "primary_conninfo" not in lines()
