import pytest

from shardrouter.errors import SettingsError
from shardrouter.proxy.backend.address import SslMode, read_address
from shardrouter.proxy.backend.connect import tls_attempts


def test_a_url():
    address = read_address("postgresql://ann:se%20cret@db.example.org:6000/app?sslmode=require")
    assert (address.host, address.port, address.user) == ("db.example.org", 6000, "ann")
    assert (address.password, address.ssl_mode) == ("se cret", SslMode.REQUIRE)
    assert str(address) == "db.example.org:6000"
    assert "se cret" not in repr(address)


def test_defaults():
    address = read_address("host=db")
    assert (address.port, address.ssl_mode, address.user) == (5432, SslMode.PREFER, None)
    assert not address.is_direct_tls
    assert address.connect_timeout_seconds is None


def test_unix_sockets():
    address = read_address("host=/var/run/pg port=6000 sslmode=verify-full sslrootcert=system")
    assert address.is_unix
    assert address.unix_path == "/var/run/pg/.s.PGSQL.6000"
    assert tls_attempts(address) == (False,)
    assert read_address("host=@abstract").unix_path == "\0abstract/.s.PGSQL.5432"


def test_an_address_beside_the_name():
    address = read_address("host=db.example.org hostaddr=192.0.2.1")
    assert (address.host, address.host_address) == ("db.example.org", "192.0.2.1")
    assert read_address("hostaddr=192.0.2.1").host == "192.0.2.1"


@pytest.mark.parametrize(
    ("options", "attempts"),
    [
        ("sslmode=disable", (False,)),
        ("sslmode=allow", (False, True)),
        ("sslmode=prefer", (True, False)),
        ("sslmode=require", (True,)),
        ("sslmode=verify-ca sslrootcert=a", (True,)),
        ("sslmode=verify-full sslrootcert=a", (True,)),
    ],
)
def test_kinds_of_connection_that_are_tried(options, attempts):
    assert tls_attempts(read_address(f"host=db {options}")) == attempts


def test_a_root_certificate_is_used_as_libpq_does():
    assert read_address("host=db sslmode=require sslrootcert=a").ssl_mode is SslMode.VERIFY_CA


def test_keepalives_and_timeouts():
    address = read_address(
        "host=db keepalives=0 keepalives_idle=30 tcp_user_timeout=5000 connect_timeout=7"
    )
    assert address.keepalives == {
        "keepalives": 0,
        "keepalives_idle": 30,
        "tcp_user_timeout": 5000,
    }
    assert address.connect_timeout_seconds == 7
    assert read_address("host=db connect_timeout=0").connect_timeout_seconds is None


@pytest.mark.parametrize(
    "dsn",
    [
        "dbname=app",
        "host=a,b",
        "host=a port=1,2",
        "host=db port=x",
        "host=db sslmode=verify-full",
        "host=db sslmode=verify-ca",
        "host=db sslmode=maybe",
        "host=db sslcrl=a",
        "host=db requirepeer=postgres",
        "host=db require_auth=password",
        "host=db gssencmode=require",
        "not a dsn password=secret",
    ],
)
def test_what_cannot_be_kept_is_refused(dsn):
    with pytest.raises(SettingsError) as caught:
        read_address(dsn)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
