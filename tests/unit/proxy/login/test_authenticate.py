"""Logins as scripts: what the client says, what it hears, what comes of it."""

import asyncio

import pytest

from shardrouter.errors import ClientProtocolError, ConnectionLost, LoginRefused
from shardrouter.proxy.login import Identity, LoginDoor, Throttle, authenticate, read_rules
from shardrouter.proxy.login.users_file import UserEntry
from shardrouter.wire import messages
from shardrouter.wire.scram import SCRAM, SCRAM_PLUS, ScramClient
from shardrouter.wire.scram_secrets import derive_keys, verifier_of
from shardrouter.wire.startup import read_first_packet
from tests.support.login_talk import TCP, UNIX, Talk, outcome, sasl, tls_peer

KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
WRONG_KEYS = derive_keys("crayon", b"0123456789abcdef", 4096)
USERS = {"ann": UserEntry(verifier_of(KEYS)), "sue": UserEntry(verifier_of(KEYS), KEYS)}
RULES = (
    "local all all trust",
    "hostssl certs all all cert",
    "host trusting all all trust",
    "host closed all all reject",
    "host app all all scram-sha-256",
)


def door(*rules, **facts):
    facts = {"users": USERS, "throttle": Throttle(3), "new_nonce": lambda: b"servernonce"} | facts
    return LoginDoor(read_rules(rules or RULES), mock_secret=b"m" * 32, **facts)


def startup(user="ann", database="app", **more):
    return read_first_packet(messages.startup({"user": user, "database": database, **more})[4:])


class Login:
    """One login that runs beside the test."""

    def __init__(self, peer=TCP, at=None, **packet):
        self.talk = Talk(peer)
        work = authenticate(self.talk.channel, startup(**packet), at or door())
        self.result = asyncio.ensure_future(outcome(work))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.talk.hang_up()
        await self.result


async def scram(login, keys=KEYS, mechanisms=(SCRAM,), binding=None, nonce=b"clientnonce"):
    """Play the client; return what was offered."""
    [(kind, offer)] = await login.talk.hear()
    assert (kind, offer[:4]) == (b"R", (10).to_bytes(4))
    client = ScramClient(mechanisms, nonce, binding)
    login.talk.say(sasl(client.mechanism, client.first()))
    [(kind, challenge)] = await login.talk.hear()
    assert (kind, challenge[:4]) == (b"R", (11).to_bytes(4))
    client.read_challenge(challenge[4:])
    login.talk.say(messages.sasl_response(client.answer(keys)))
    for kind, final in await login.talk.hear():
        assert (kind, final[:4]) == (b"R", (12).to_bytes(4))
        client.check(final[4:])
    return [name.decode() for name in offer[4:].split(b"\0") if name]


@pytest.mark.parametrize(
    ("peer", "packet", "method"),
    [
        (UNIX, {}, "trust"),
        (TCP, {"database": "trusting"}, "trust"),
        (tls_peer("ann"), {"database": "certs"}, "cert"),
    ],
)
async def test_logins_without_a_word(peer, packet, method):
    login = Login(peer, **packet)
    assert await login.result == Identity("ann", None, method)
    assert login.talk.heard() == []


async def test_keys_of_the_users_file_serve_those_who_showed_none():
    login = Login(UNIX, user="sue")
    assert await login.result == Identity("sue", KEYS, "trust")
    login = Login(tls_peer("sue"), user="sue", database="certs")
    assert await login.result == Identity("sue", KEYS, "cert")


@pytest.mark.parametrize("names", [(), ("bob",), ("ann", "bob"), ("Ann",), ("ann\0",)])
async def test_a_certificate_must_name_the_user(names):
    refused = await Login(tls_peer(*names), database="certs").result
    assert isinstance(refused, LoginRefused)
    assert refused.sqlstate == "28000"
    unknown = await Login(tls_peer(*names), user="nobody", database="certs").result
    assert str(unknown) == str(refused).replace("ann", "nobody")


@pytest.mark.parametrize(
    ("peer", "database"), [(TCP, "closed"), (TCP, "unheard-of"), (TCP, "certs")]
)
async def test_no_rule_no_entry(peer, database):
    refused = await Login(peer, database=database).result
    assert isinstance(refused, LoginRefused)
    assert (refused.sqlstate, refused.reason) == ("28000", "rule")
    unknown = await Login(peer, user="nobody", database=database).result
    assert str(unknown) == str(refused).replace("ann", "nobody")


async def test_scram():
    login = Login()
    assert await scram(login) == [SCRAM]
    assert await login.result == Identity("ann", KEYS, "scram-sha-256")


async def test_scram_with_channel_binding():
    login = Login(tls_peer(binding=b"certificate"))
    offered = await scram(login, mechanisms=(SCRAM_PLUS,), binding=b"certificate")
    assert offered == [SCRAM_PLUS, SCRAM]
    assert await login.result == Identity("ann", KEYS, "scram-sha-256")


async def test_binding_is_never_given_up():
    """The client could bind and heard no offer: somebody in between took it out."""
    login = Login(tls_peer(binding=b"certificate"))
    await login.talk.hear()
    login.talk.say(sasl(SCRAM, ScramClient([SCRAM], b"n", b"certificate").first()))
    refused = await login.result
    assert isinstance(refused, LoginRefused)
    assert refused.sqlstate == "28000"
    assert login.talk.heard() == []


async def test_unknown_users_and_wrong_passwords_are_alike():
    heard = []
    for user in ("ann", "nobody", "u" * 5000, "\udcff"):
        login = Login(user=user)
        await login.talk.hear()
        login.talk.say(sasl(SCRAM, b"n,,n=,r=clientnonce"))
        [(kind, challenge)] = await login.talk.hear()
        proof = b"c=biws,r=clientnonceservernonce,p=" + b"A" * 43 + b"="
        login.talk.say(messages.sasl_response(proof))
        refused = await login.result
        assert isinstance(refused, LoginRefused)
        shown = user.encode("utf-8", "surrogateescape")[:63].decode("utf-8", "surrogateescape")
        text = refused.message.replace(shown, "USER")
        heard.append((kind, len(challenge), refused.sqlstate, text, login.talk.heard()))
    assert heard == [heard[0]] * 4
    assert heard[0][2:4] == ("28P01", 'password authentication failed for user "USER"')


async def test_an_unknown_user_has_the_same_salt_each_time():
    challenges = set()
    for _ in range(3):
        async with Login(user="nobody") as login:
            await login.talk.hear()
            login.talk.say(sasl(SCRAM, b"n,,n=,r=clientnonce"))
            challenges.add((await login.talk.hear())[0][1])
    assert len(challenges) == 1


OTHER_MESSAGES = [
    messages.query("select 1"),
    messages.parse("", "select 1"),
    messages.bind("", ""),
    messages.execute(),
    messages.sync(),
    messages.terminate(),
    messages.typed(b"F", b"\0\0\0\1\0\0\0\0\0\0"),
    messages.typed(b"d", b"data"),
    messages.typed(b"p", b""),
    messages.typed(b"\0", b""),
    messages.startup({"user": "ann"}),
    messages.SSL_REQUEST,
]


@pytest.mark.parametrize("stage", ["offered", "challenged"])
@pytest.mark.parametrize("said", OTHER_MESSAGES, ids=lambda raw: ascii(raw[:1]))
async def test_anything_else_ends_the_login(stage, said):
    login = Login()
    await login.talk.hear()
    if stage == "challenged":
        login.talk.say(sasl(SCRAM, b"n,,n=,r=clientnonce"))
        await login.talk.hear()
    login.talk.say(said + messages.query("select 1") * 3)
    assert isinstance(await login.result, ClientProtocolError | LoginRefused)
    assert login.talk.heard() == []


@pytest.mark.parametrize("length", [-1, 0, 3, 1025, 2**31 - 1, 2**32 - 1])
async def test_lengths_of_sasl_messages(length):
    login = Login()
    await login.talk.hear()
    login.talk.say(b"p" + (length % 2**32).to_bytes(4))
    assert isinstance(await login.result, ClientProtocolError)


async def test_leaving_halfway():
    login = Login()
    await login.talk.hear()
    login.talk.hang_up()
    assert isinstance(await login.result, ConnectionLost)


async def test_tls_may_be_demanded():
    strict = door("host all all all trust", "local all all trust", requires_tls=True)
    refused = await Login(at=strict).result
    assert isinstance(refused, LoginRefused)
    assert refused.reason == "tls"
    assert isinstance(await Login(tls_peer(), at=strict).result, Identity)
    assert isinstance(await Login(UNIX, at=strict).result, Identity)


async def test_after_too_many_failures_proofs_wait():
    clock = [0.0]
    slow = door(throttle=Throttle(3), clock=lambda: clock[0])
    for _ in range(3):
        login = Login(at=slow)
        await scram(login, WRONG_KEYS)
        assert isinstance(await login.result, LoginRefused)
    async with Login(at=slow) as login:
        await scram(login)  # even a right proof: nobody learns by it that it is right
        assert not login.result.done()
        assert login.talk.heard() == []
    assert slow.throttle.wait_seconds("192.0.2.7", "ann", 20.0) == 0


async def test_no_secret_is_ever_shown(caplog):
    caplog.set_level("DEBUG")
    for keys in (KEYS, WRONG_KEYS):
        login = Login()
        await scram(login, keys)
        shown = repr(await login.result) + repr(door()) + repr(login.talk.channel.peer)
        for secret in (KEYS.salt, KEYS.client_key, KEYS.server_key):
            assert repr(secret)[2:10] not in shown + caplog.text
