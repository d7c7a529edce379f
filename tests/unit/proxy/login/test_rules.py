import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardrouter.config import ProxyAuthSettings
from shardrouter.errors import SettingsError
from shardrouter.proxy.login.rules import Method, read_rules


def decide(lines, user="ann", database="app", address="192.0.2.7", **facts):
    facts.setdefault("has_tls", False)
    return read_rules(lines).decide(user, database, address, **facts)


@pytest.mark.parametrize(
    ("address", "method"),
    [
        (None, Method.TRUST),
        ("127.0.0.1", Method.TRUST),
        ("::1", Method.TRUST),
        ("::ffff:127.0.0.1", Method.TRUST),
        ("127.0.0.2", Method.SCRAM),
        ("192.0.2.7", Method.SCRAM),
        ("fe80::1%eth0", Method.SCRAM),
        ("::ffff:192.0.2.7", Method.SCRAM),
    ],
)
def test_by_default_only_the_machine_itself_is_trusted(address, method):
    assert decide(ProxyAuthSettings().rules, address=address) is method


def test_the_first_line_that_fits_decides():
    lines = ["host app ann all reject", "host app all all trust", "host all all all scram-sha-256"]
    assert decide(lines) is Method.REJECT
    assert decide(lines, user="bob") is Method.TRUST
    assert decide(lines, user="bob", database="other") is Method.SCRAM
    assert decide(lines, address=None) is None


@pytest.mark.parametrize(
    ("kind", "plain", "with_tls", "unix"),
    [
        ("host", True, True, False),
        ("hostssl", False, True, False),
        ("hostnossl", True, False, False),
    ],
)
def test_kinds_of_connections(kind, plain, with_tls, unix):
    lines = [f"{kind} all all all trust"]
    assert (decide(lines) is not None) == plain
    assert (decide(lines, has_tls=True) is not None) == with_tls
    assert (decide(lines, address=None) is not None) == unix


def test_networks():
    lines = ["host all all 10.1.0.0/16 trust", "host all all 2001:db8::/32 scram-sha-256"]
    assert decide(lines, address="10.1.255.255") is Method.TRUST
    assert decide(lines, address="10.2.0.0") is None
    assert decide(lines, address="2001:db8::5") is Method.SCRAM
    assert decide(["host all all 10.1.2.3/16 trust"], address="10.1.9.9") is Method.TRUST


def test_lists_quotes_and_keywords():
    assert decide(["host a,app all all trust"]) is Method.TRUST
    assert decide(['host "app" "ann" all trust']) is Method.TRUST
    assert decide(['host all "all" all trust']) is None
    assert decide(['host "all" all all trust'], database="all") is Method.TRUST
    assert decide(['host all "a b", ann all trust']) is Method.TRUST
    assert decide(['host all "a b",ann all trust'], user="a b") is Method.TRUST
    assert decide(["host sameuser all all trust"], database="ann") is Method.TRUST
    assert decide(["host sameuser all all trust"]) is None
    assert decide(['host all "+ann" all trust'], user="+ann") is Method.TRUST


def test_replication_has_its_own_word():
    lines = ["host all all all trust", "host replication all all scram-sha-256"]
    assert decide(lines, is_replication=True) is Method.SCRAM
    assert decide(["host replication all all trust"], database="replication") is None
    assert decide(['host "replication" all all trust'], database="replication") is Method.TRUST


def test_names_are_compared_exactly():
    lines = ["host app ann all trust"]
    for user in ("Ann", "ann ", "an", "ann\0", "all"):
        assert decide(lines, user=user) is None


def test_comments_and_empty_lines():
    assert decide(["", "# host all all all trust", "  ", "host all all all reject # no"]) is (
        Method.REJECT
    )


@pytest.mark.parametrize(
    "line",
    [
        "hosts all all all trust",
        "host all all all",
        "host all all all trust extra=1",
        "host all all trust",
        "local all all all trust",
        "host all all 10.0.0.1 trust",
        "host all all 10.0.0.1 255.255.255.0 trust",
        "host all all example.org trust",
        "host all all samehost trust",
        "host all all 10.0.0.0/33 trust",
        "host all +group all trust",
        "host @file all all trust",
        "host all /^a all trust",
        "host all all all md5",
        "host all all all password",
        "host all all all cert",
        "local all all cert",
        'host all "ann all trust',
        "host,hostssl all all all trust",
        "host all all all trust,reject",
    ],
)
def test_what_cannot_be_kept_is_refused(line):
    with pytest.raises(SettingsError, match="line 2"):
        read_rules(["local all all trust", line])


@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(line):
    try:
        read_rules([line])
    except SettingsError as error:
        assert "line 1" in error.message
