"""The text of a subscription."""

from shardrouter.postgres.moving import SubscriptionState, subscription_sql


def test_it_makes_no_slot_and_stops_at_an_error():
    sql = subscription_sql(
        "sr_1",
        "postgresql://u:pa'ss@h:5/d",
        "p",
        "s",
        copy_data=True,
        enabled=False,
        synchronous_commit="on",
    )
    assert sql.startswith('CREATE SUBSCRIPTION "sr_1" CONNECTION ')
    assert "connect_timeout=5" in sql
    for option in (
        "create_slot = false",
        "slot_name = 's'",
        "copy_data = true",
        "enabled = false",
        "binary = false",
        "synchronous_commit = 'on'",
        "disable_on_error = true",
        "origin = none",
    ):
        assert option in sql


def test_postgres_15_knows_no_origins():
    sql = subscription_sql("n", "", "p", "s", copy_data=False, enabled=True, knows_origins=False)
    assert "origin" not in sql


def test_a_first_copy_is_over_when_every_table_is_ready():
    def of(*states: str) -> SubscriptionState:
        return SubscriptionState(1, True, tuple(("t", s) for s in states), None, None, 0, 0)

    assert of("r", "r").is_copied
    assert not of("r", "s").is_copied
