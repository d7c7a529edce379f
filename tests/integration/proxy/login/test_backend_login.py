"""Logging in at a real Postgres with TLS, SCRAM and certificates."""

import asyncio

import pytest

from shardrouter.errors import BackendError, BackendRefused, BackendUnreachable, SettingsError
from shardrouter.proxy.backend.login import open_backend, send_cancel
from shardrouter.wire import messages
from shardrouter.wire.scram_secrets import derive_keys, read_verifier
from tests.support.debian_postgres import PASSWORD

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


async def opened(dsn, user="app", secret=None, timeout_seconds=10.0, **parameters):
    return await open_backend(dsn, user, "postgres", parameters, secret, timeout_seconds)


async def outcome(dsn, user="app", secret=None, **parameters):
    """Return TLS version or ``clear``, or the SQLSTATE of the refusal."""
    try:
        backend = await opened(dsn, user, secret, **parameters)
    except BackendError as error:
        return error.sqlstate
    tls = backend.channel.peer.tls
    backend.transport.abort()
    return "clear" if tls is None else "tls"


@pytest.mark.parametrize("mode", SSL_MODES)
async def test_ssl_modes(tls_server, mode):
    root = {"sslrootcert": tls_server.place / "ca.pem"} if mode.startswith("verify") else {}
    outcomes = {
        user: await outcome(tls_server.dsn(user, password=PASSWORD, sslmode=mode, **root), user)
        for user in ("app", "plain_only", "tls_only")
    }
    with_tls = {"app": "tls", "plain_only": "28000", "tls_only": "tls"}
    assert outcomes == {
        "disable": {"app": "clear", "plain_only": "clear", "tls_only": "28000"},
        "allow": {"app": "clear", "plain_only": "clear", "tls_only": "tls"},
        "prefer": {"app": "tls", "plain_only": "clear", "tls_only": "tls"},
    }.get(mode, with_tls)


async def test_what_the_backend_says_of_itself(tls_server):
    backend = await opened(tls_server.dsn("app", password=PASSWORD), application_name="ours")
    assert backend.parameters["application_name"] == "ours"
    assert backend.parameters["server_version"].startswith("15")
    assert backend.parameters["client_encoding"] == "UTF8"
    assert (backend.pid > 0, len(backend.key)) == (True, 4)
    assert backend.leftover == b""
    assert not backend.is_over
    assert backend.key.hex() not in repr(backend)
    backend.transport.abort()


async def test_the_keys_of_a_clients_login_open_the_node(tls_server):
    verifier = read_verifier(tls_server.verifier("app"))
    keys = derive_keys(PASSWORD, verifier.salt, verifier.iterations)
    for dsn in (tls_server.dsn(), tls_server.dsn(sslmode="require", channel_binding="require")):
        assert await outcome(dsn, "app", keys) == "tls"
    other = derive_keys(PASSWORD, b"other salt", verifier.iterations)
    with pytest.raises(BackendRefused, match="another verifier"):
        await opened(tls_server.dsn(), "app", other)
    wrong = derive_keys("wrong", verifier.salt, verifier.iterations)
    assert await outcome(tls_server.dsn(), "app", wrong) == "28P01"


async def test_the_password_is_only_for_its_own_user(tls_server):
    dsn = tls_server.dsn("postgres", password=PASSWORD)
    with pytest.raises(BackendRefused, match="no secret of this user"):
        await opened(dsn, "app")
    assert await outcome(tls_server.dsn("app", password="wrong")) == "28P01"


async def test_channel_binding_that_is_demanded(tls_server):
    wish = {"password": PASSWORD, "channel_binding": "require"}
    assert await outcome(tls_server.dsn("app", **wish, sslmode="require")) == "tls"
    for dsn in (
        tls_server.dsn("app", **wish, sslmode="disable"),
        tls_server.dsn("postgres", channel_binding="require"),  # trusted: nothing is proved
        tls_server.dsn("postgres", require_auth="scram-sha-256"),
    ):
        user = "app" if "user='app'" in dsn else "postgres"
        assert await outcome(dsn, user) == "08004"


async def test_certificates_of_ours(tls_server):
    place = tls_server.place
    files = {"sslcert": place / "client.pem", "sslkey": place / "client.key"}
    assert await outcome(tls_server.dsn("certified", **files), "certified") == "tls"
    assert await outcome(tls_server.dsn("certified"), "certified") == "28000"
    with pytest.raises(SettingsError, match="certificates cannot be loaded"):
        await opened(tls_server.dsn("app", sslmode="require", sslcert="/nonexistent"))


async def test_the_nodes_certificate_is_checked(tls_server, tmp_path, authority):
    authority.cert_pem.write_to_path(tmp_path / "other.pem")
    wish = {"password": PASSWORD, "hostaddr": "127.0.0.1"}
    ours = {"sslrootcert": tls_server.place / "ca.pem", **wish}
    other = {"sslrootcert": tmp_path / "other.pem", **wish}

    async def reason(**options):
        try:
            backend = await opened(tls_server.dsn("app", **options))
        except BackendUnreachable as error:
            return error.message
        backend.transport.abort()
        return "ok"

    assert await reason(sslmode="verify-full", **ours) == "ok"
    assert "certificate refused" in await reason(sslmode="verify-ca", **other)
    assert "certificate refused" in await reason(sslmode="require", **other)
    wrong_name = ours | {"host": "db.example.org"}
    assert await reason(sslmode="verify-ca", **wrong_name) == "ok"
    assert "certificate refused" in await reason(sslmode="verify-full", **wrong_name)


@pytest.mark.parametrize(("user", "word"), [("clear", "clear text"), ("old_hash", "MD5")])
async def test_passwords_never_travel(tls_server, user, word):
    with pytest.raises(BackendRefused, match=word):
        await opened(tls_server.dsn(user, password=PASSWORD), user)


async def test_the_nodes_own_words(tls_server):
    with pytest.raises(BackendRefused) as caught:
        await opened(tls_server.dsn("rejected", password=PASSWORD), "rejected")
    assert caught.value.sqlstate == "28000"
    assert caught.value.fields["S"] == "FATAL"
    assert "pg_hba.conf rejects" in caught.value.message
    assert await outcome(tls_server.dsn("app", password=PASSWORD), nonsense="1") == "42704"
    with pytest.raises(BackendRefused) as caught:
        await open_backend(tls_server.dsn(), "postgres", "nowhere", {}, None, 5)
    assert caught.value.sqlstate == "3D000"


async def test_parameters_do_not_change_who_we_are(tls_server):
    wishes = {"user": "postgres", "database": "template1", "DateStyle": "German"}
    dsn = tls_server.dsn("app", password=PASSWORD)
    backend = await open_backend(dsn, "app", "postgres", wishes, None, 5)
    assert backend.parameters["DateStyle"] == "German, DMY"
    backend.channel.write(messages.query("SELECT current_user, current_database()"))
    found = [await backend.channel.read(10_000) for _ in range(4)]
    assert b"app" in found[1][1]
    assert b"template1" not in found[1][1]
    backend.transport.abort()


async def test_the_unix_socket(tls_server):
    dsn = f"host={tls_server.place} port={tls_server.port} user=app"
    assert await outcome(dsn) == "clear"


@pytest.mark.parametrize("mode", ["disable", "require"])
async def test_cancelling(tls_server, mode):
    backend = await opened(tls_server.dsn("app", password=PASSWORD))
    backend.channel.write(messages.query("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.1)
    await send_cancel(tls_server.dsn(sslmode=mode), backend.pid, b"none", 5)
    await send_cancel(tls_server.dsn(sslmode=mode), backend.pid, backend.key, 5)
    while True:
        kind, body = await asyncio.wait_for(backend.channel.read(10_000), 5)
        if kind == 0x45:
            break
    assert messages.read_error_fields(body)["C"] == "57014"
    backend.transport.abort()


async def test_nobody_there(unused_port):
    with pytest.raises(BackendUnreachable, match="refused"):
        await opened(f"host=127.0.0.1 port={unused_port} user=app")
    with pytest.raises(BackendUnreachable):
        await opened("host=/nonexistent user=app")
    with pytest.raises(BackendUnreachable):
        await opened("host=does-not-exist.invalid user=app")
    with pytest.raises(BackendUnreachable):
        await send_cancel(f"host=127.0.0.1 port={unused_port}", 1, b"1234", 1)


async def test_the_node_has_the_last_word(tls_server):
    """Whatever let a client in here, a node lets in only whom its own rules admit."""
    verifiers = {user: read_verifier(tls_server.verifier(user)) for user in ("app", "clear")}
    keys = {user: derive_keys(PASSWORD, v.salt, v.iterations) for user, v in verifiers.items()}
    by_method = {  # of the node: (without a secret, as after trust and cert; with the keys)
        "postgres": ("tls", "tls"),  # trust
        "app": ("08004", "tls"),  # scram-sha-256
        "clear": ("08004", "08004"),  # password
        "old_hash": ("08004", "08004"),  # md5
        "rejected": ("28000", "28000"),
        "certified": ("28000", "28000"),  # cert, and the proxy has none
        "nobody": ("08004", "08004"),  # the mock salt is not that of our keys: no proof is sent
    }
    for user, expected in by_method.items():
        secrets = (None, keys.get(user, keys["app"]))
        found = tuple([await outcome(tls_server.dsn(), user, secret) for secret in secrets])
        assert found == expected, user
