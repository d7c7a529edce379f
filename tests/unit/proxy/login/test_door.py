import base64
import os
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from shardrouter.config import ProxyAuthSettings
from shardrouter.errors import SettingsError
from shardrouter.proxy.login import load_client_tls, open_door
from shardrouter.wire.certificate import binding_of
from shardrouter.wire.scram_secrets import derive_keys, verifier_of, verifier_text

KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def files(tmp_path, authority):
    """Paths of a certificate, its key and its authority, as settings."""
    return write_files(tmp_path, authority)


def write_files(place, authority, **options):
    issued = authority.issue_cert("127.0.0.1", **options)
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    (place / "proxy.pem").write_bytes(chain)
    issued.private_key_pem.write_to_path(place / "proxy.key")
    authority.cert_pem.write_to_path(place / "ca.pem")
    return {
        "certificate_file": place / "proxy.pem",
        "key_file": place / "proxy.key",
        "client_ca_file": place / "ca.pem",
    }


def opened(settings, **more):
    more = {"first_primary": lambda: "host=nowhere", "mock_secret": b"m" * 32} | more
    return open_door(settings, **more)


def write_users(file, *users):
    file.write_text("".join(f'"{user}" "{verifier_text(verifier_of(KEYS))}"\n' for user in users))


def test_the_default_settings_open_a_door():
    door = opened(ProxyAuthSettings())
    assert (door.tls, door.fetch, dict(door.users), door.requires_tls) == (None, None, {}, False)


async def test_users_are_read_anew_at_each_opening(tmp_path):
    settings = ProxyAuthSettings(users_file=tmp_path / "users")
    write_users(tmp_path / "users", "ann")
    first = opened(settings)
    write_users(tmp_path / "users", "bob")
    second = opened(settings, previous=first)
    assert (set(first.users), set(second.users)) == ({"ann"}, {"bob"})
    assert second.throttle is first.throttle
    assert (await second.verifier_of("ann")).is_mock
    assert not (await second.verifier_of("bob")).is_mock


def test_another_bound_of_failures_starts_to_count_anew():
    first = opened(ProxyAuthSettings())
    second = opened(ProxyAuthSettings(failures_a_minute=5), previous=first)
    assert second.throttle.failures_a_minute == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"rules": ("nonsense",)},
        {"users_file": "/nonexistent/users"},
        {"tls": "require"},
        {"certificate_file": "/nonexistent/a.pem", "key_file": "/nonexistent/a.key"},
        {"rules": ("hostssl all all all cert",)},
        {"function": "unqualified"},
        {"function": "too.many.dots"},
        {"function": ".x"},
    ],
)
def test_what_cannot_be_kept_is_told(settings):
    with pytest.raises(SettingsError) as caught:
        opened(ProxyAuthSettings(**settings))
    assert caught.value.hint or "No such file" in caught.value.message


def test_users_in_another_encoding(tmp_path):
    (tmp_path / "users").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        opened(ProxyAuthSettings(users_file=tmp_path / "users"))


def test_certificates_to_be_checked_need_an_authority(files):
    rules = ("hostssl all all all cert",)
    opened(ProxyAuthSettings(rules=rules, **files))
    with pytest.raises(SettingsError, match="asks for certificates"):
        opened(ProxyAuthSettings(rules=rules, **{**files, "client_ca_file": None}))


def test_the_context_is_strict(files):
    tls = load_client_tls(ProxyAuthSettings(**files), NOW)
    assert tls is not None
    assert tls.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert tls.context.verify_mode is ssl.CERT_OPTIONAL
    pem = files["certificate_file"].read_text()
    first = pem[: pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
    assert tls.binding == binding_of(ssl.PEM_cert_to_DER_cert(first))
    assert "binding" not in repr(tls)


def test_tls_may_be_off(files):
    assert load_client_tls(ProxyAuthSettings(tls="off", **files), NOW) is None
    assert load_client_tls(ProxyAuthSettings(), NOW) is None


@pytest.mark.parametrize("file", ["certificate_file", "key_file", "client_ca_file"])
@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_broken_files_are_refused(files, file, content):
    if content is None:
        files[file].unlink()
    else:
        files[file].write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be loaded"):
        load_client_tls(ProxyAuthSettings(**files), NOW)


def test_a_key_of_another_certificate_is_refused(files, authority):
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(files["key_file"])
    with pytest.raises(SettingsError, match="cannot be loaded"):
        load_client_tls(ProxyAuthSettings(**files), NOW)


def test_an_encrypted_key_does_not_ask_on_the_terminal(files):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(files["key_file"].read_bytes(), None)
    encryption = BestAvailableEncryption(b"password")
    files["key_file"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    with pytest.raises(SettingsError, match="encrypted"):
        load_client_tls(ProxyAuthSettings(**files), NOW)


def test_an_expired_certificate_is_refused(tmp_path, authority):
    files = write_files(tmp_path, authority, not_after=NOW - timedelta(days=1))
    with pytest.raises(SettingsError, match="expired"):
        load_client_tls(ProxyAuthSettings(**files), NOW)
    assert load_client_tls(ProxyAuthSettings(**files), NOW - timedelta(days=2)) is not None


def test_a_failed_opening_leaves_the_previous_door_as_it_was(files, tmp_path):
    write_users(tmp_path / "users", "ann")
    settings = ProxyAuthSettings(users_file=tmp_path / "users", **files)
    door = opened(settings)
    before = (door.rules, dict(door.users), door.tls)
    (tmp_path / "users").write_text("broken")
    with pytest.raises(SettingsError):
        opened(settings, previous=door)
    os.remove(files["key_file"])
    with pytest.raises(SettingsError):
        opened(settings, previous=door)
    assert (door.rules, dict(door.users), door.tls) == before


def test_a_door_shows_no_secret(files, tmp_path):
    write_users(tmp_path / "users", "ann")
    door = opened(ProxyAuthSettings(users_file=tmp_path / "users", **files))
    shown = repr(door)
    assert "mmmm" not in shown
    assert base64.b64encode(KEYS.salt).decode() not in shown
    assert "ann" not in shown
