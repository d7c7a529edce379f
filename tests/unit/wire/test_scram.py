import ast
import base64
import inspect
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient as OtherClient
from scramp import ScramMechanism

from shardrouter.errors import (
    BackendProtocolError,
    BackendRefused,
    ClientProtocolError,
    LoginRefused,
)
from shardrouter.wire import scram, scram_secrets
from shardrouter.wire.scram import SCRAM, SCRAM_PLUS, ScramClient, ScramServer
from shardrouter.wire.scram_secrets import derive_keys, mock_verifier, verifier_of

PROOF = base64.b64encode(b"x" * 32)
SALT = base64.b64encode(b"salt" * 4)
BINDING = b"hash of a certificate"
KEYS = derive_keys("pencil", b"0123456789abcdef", 4096)
WRONG_KEYS = derive_keys("crayon", b"0123456789abcdef", 4096)
VERIFIER = verifier_of(KEYS)
REFUSALS = (ClientProtocolError, LoginRefused)


def initial(mechanism, data):
    return mechanism.encode() + b"\0" + len(data).to_bytes(4) + data


def server(binding=None, verifier=VERIFIER):
    return ScramServer(verifier, b"servernonce", binding)


def started(binding=None):
    """Return a server that has sent its first message, and the nonce of both."""
    ours = server(binding)
    ours.first(initial(SCRAM, b"n,,n=,r=clientnonce"))
    return ours, b"clientnonceservernonce"


def talk(ours, client, keys=KEYS):
    client.read_challenge(ours.first(initial(client.mechanism, client.first())))
    return ours.final(client.answer(keys))


@pytest.mark.parametrize("binding", [None, BINDING])
def test_both_sides_agree(binding):
    ours = server(binding)
    client = ScramClient(ours.mechanisms, b"clientnonce", binding)
    client.check(talk(ours, client))
    assert client.mechanism == (SCRAM if binding is None else SCRAM_PLUS)
    assert ours.client_key == KEYS.client_key


def test_a_wrong_password_gets_no_answer():
    ours = server()
    assert talk(ours, ScramClient([SCRAM], b"clientnonce"), WRONG_KEYS) is None
    assert ours.client_key == b""


def test_an_unknown_user_takes_the_same_steps():
    mock = server(verifier=mock_verifier(b"s" * 32, "nobody"))
    real = server()
    answers = [s.first(initial(SCRAM, b"n,,n=,r=clientnonce")) for s in (mock, real)]
    assert [len(answer) for answer in answers] == [len(answers[0])] * 2
    assert [answer.count(b",") for answer in answers] == [2, 2]
    assert (
        talk(server(verifier=mock_verifier(b"s" * 32, "nobody")), ScramClient([SCRAM], b"c"))
        is None
    )


# scramp plays the other side


@pytest.mark.parametrize("binding", [None, BINDING])
def test_scramp_as_client(binding):
    ours = server(binding)
    bound = None if binding is None else ("tls-server-end-point", binding)
    other = OtherClient(list(ours.mechanisms), "ann", "pencil", channel_binding=bound)
    first = other.get_client_first().encode()
    other.set_server_first(ours.first(initial(other.mechanism_name, first)).decode())
    final = ours.final(other.get_client_final().encode())
    assert final is not None
    other.set_server_final(final.decode())
    assert ours.client_key == KEYS.client_key


@pytest.mark.parametrize("binding", [None, BINDING])
def test_scramp_as_server(binding):
    chosen = ScramMechanism(SCRAM if binding is None else SCRAM_PLUS)
    salt, stored, key, count = ScramMechanism(SCRAM).make_auth_info("pencil", 4096, KEYS.salt)
    bound = None if binding is None else ("tls-server-end-point", binding)
    other = chosen.make_server(lambda _: (salt, stored, key, count), channel_binding=bound)
    client = ScramClient([chosen.name], b"clientnonce", binding)
    client._bare = b"n=ann,r=clientnonce"  # scramp demands a name; Postgres does not read it
    other.set_client_first(client.first().decode())
    client.read_challenge(other.get_server_first().encode())
    other.set_client_final(client.answer(KEYS).decode())
    client.check(other.get_server_final().encode())


# what a client may send


@pytest.mark.parametrize("length", [-1, 0, 3, 4, 2**31 - 1, 2**32 - 1, 18, 20])
def test_an_inner_length_that_does_not_fit(length):
    data = b"n,,n=,r=clientnonce"
    body = SCRAM.encode() + b"\0" + (length % 2**32).to_bytes(4) + data
    with pytest.raises(ClientProtocolError, match="malformed SASLInitialResponse"):
        server().first(body)


@pytest.mark.parametrize("body", [b"", SCRAM.encode(), SCRAM.encode() + b"\0", b"\0\0\0\0"])
def test_a_cut_initial_response(body):
    with pytest.raises(ClientProtocolError):
        server().first(body)


@pytest.mark.parametrize("mechanism", ["", "PLAIN", "SCRAM-SHA-1", SCRAM_PLUS, "\u00e9"])
def test_a_mechanism_that_was_not_offered(mechanism):
    data = b"p=tls-server-end-point,,n=,r=a"
    body = mechanism.encode() + b"\0" + len(data).to_bytes(4) + data
    with pytest.raises(ClientProtocolError, match="invalid SASL"):
        server().first(body)


@pytest.mark.parametrize(
    ("binding", "mechanism", "data", "sqlstate"),
    [
        (BINDING, SCRAM, b"y,,n=,r=a", "28000"),  # somebody took -PLUS out of our offer
        (BINDING, SCRAM_PLUS, b"n,,n=,r=a", "08P01"),
        (BINDING, SCRAM_PLUS, b"y,,n=,r=a", "28000"),
        (BINDING, SCRAM, b"p=tls-server-end-point,,n=,r=a", "08P01"),
        (BINDING, SCRAM_PLUS, b"p=tls-unique,,n=,r=a", "08P01"),
        (None, SCRAM, b"p=tls-server-end-point,,n=,r=a", "08P01"),
        (None, SCRAM, b"x,,n=,r=a", "08P01"),
        (None, SCRAM, b"n,a=admin,n=,r=a", "0A000"),
        (None, SCRAM, b"n,,m=ext,n=,r=a", "0A000"),
        (None, SCRAM, b"n,,n=", "08P01"),
        (None, SCRAM, b"n,,r=a,n=", "08P01"),
        (None, SCRAM, b"n,,n=,r=", "08P01"),
        (None, SCRAM, b"n,,n=,r=a\xff", "08P01"),
        (None, SCRAM, b"n,,n=,r=a b", "08P01"),
        (None, SCRAM, b"", "08P01"),
        (None, SCRAM, b",,,,,,,", "08P01"),
    ],
)
def test_first_messages_that_are_refused(binding, mechanism, data, sqlstate):
    with pytest.raises(REFUSALS) as caught:
        server(binding).first(initial(mechanism, data))
    assert caught.value.sqlstate == sqlstate


def test_a_client_without_binding_may_come_where_plus_is_offered():
    assert talk(server(BINDING), ScramClient([SCRAM], b"clientnonce")) is not None


def test_binding_to_another_certificate_fails():
    client = ScramClient([SCRAM_PLUS], b"clientnonce", b"hash of another certificate")
    with pytest.raises(LoginRefused, match="channel binding check failed"):
        talk(server(BINDING), client)


def final(channel=b"biws", nonce=b"clientnonceservernonce", proof=PROOF):
    return b"c=" + channel + b",r=" + nonce + b",p=" + proof


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c=biws",
        b"c=biws,p=" + base64.b64encode(b"x" * 32),
        final(channel=base64.b64encode(b"y,,")),
        final(channel=b""),
        final(nonce=b"clientnonce"),
        final(nonce=b"clientnonceservernoncf"),
        final(proof=b""),
        final(proof=b"????"),
        final(proof=base64.b64encode(b"x" * 31)),
        final(proof=base64.b64encode(b"x" * 33)),
        final() + b",x=1",
    ],
)
def test_final_messages_that_are_refused(data):
    ours, _ = started()
    with pytest.raises(REFUSALS):
        ours.final(data)


def test_a_final_message_without_a_first_one_is_refused():
    with pytest.raises(REFUSALS):
        server().final(final(nonce=b"servernonce"))


@given(st.binary(max_size=200))
def test_any_client_bytes_are_refused(data):
    for binding in (None, BINDING):
        with pytest.raises(REFUSALS):
            server(binding).first(data)
    ours, _ = started()
    with pytest.raises(REFUSALS):
        ours.final(data)


@given(
    st.lists(st.sampled_from([b"n", b"y", b",", b"r=", b"n=", b"a=", b"p=", b"x", b"="])).map(
        b"".join
    )
)
def test_anything_like_a_first_message_is_answered_or_refused(data):
    try:
        answer = server().first(initial(SCRAM, data))
    except REFUSALS:
        return
    assert answer.startswith(b"r=")


# what a node may send


def challenge(nonce=b"clientnonceX", salt=SALT, count=b"4096"):
    return b"r=" + nonce + b",s=" + salt + b",i=" + count


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"r=clientnonceX",
        challenge(nonce=b"clientnonce"),  # adds nothing of its own
        challenge(nonce=b"other"),
        challenge(nonce=b"clientnonce" + b"x" * 65536),
        challenge(nonce=b"clientnonce\xff"),
        challenge(salt=b""),
        challenge(salt=b"??"),
        challenge(salt=base64.b64encode(b"x" * 2000)),
        challenge(count=b"0"),
        challenge(count=b"-1"),
        challenge(count=b"+1"),
        challenge(count=b""),
        challenge(count=b"1e3"),
        challenge(count=b"1000000000"),
        challenge(count=b"9" * 60000),
        b"s=AAAA,r=clientnonceX,i=1",
        b"m=x,r=clientnonceX,s=AAAA,i=1",
    ],
)
def test_a_hostile_challenge_is_refused_at_once(data):
    client = ScramClient([SCRAM], b"clientnonce")
    began = time.process_time()
    with pytest.raises(BackendProtocolError):
        client.read_challenge(data)
    assert time.process_time() - began < 0.5


def test_a_challenge_may_carry_extensions():
    client = ScramClient([SCRAM], b"clientnonce")
    assert client.read_challenge(challenge() + b",x=1") == (b"salt" * 4, 4096)


@pytest.mark.parametrize(
    "data", [b"", b"v=", b"v=AAAA", b"v=" + base64.b64encode(b"x" * 32), b"x=1"]
)
def test_a_node_that_does_not_know_the_verifier_is_found_out(data):
    client = ScramClient([SCRAM], b"clientnonce")
    talk(server(), client)
    with pytest.raises(BackendProtocolError, match="signature"):
        client.check(data)


def test_an_empty_signature_before_any_answer_is_wrong():
    with pytest.raises(BackendProtocolError):
        ScramClient([SCRAM], b"clientnonce").check(b"v=")


def test_a_node_may_say_that_the_proof_is_wrong():
    with pytest.raises(BackendRefused):
        ScramClient([SCRAM], b"clientnonce").check(b"e=invalid-proof")


def test_a_node_must_offer_scram():
    with pytest.raises(BackendRefused):
        ScramClient(["PLAIN"], b"clientnonce", BINDING)


@given(st.binary(max_size=200))
def test_any_node_bytes_are_refused(data):
    client = ScramClient([SCRAM], b"clientnonce")
    with pytest.raises(BackendProtocolError):
        client.read_challenge(data)


def test_the_binding_flag_tells_what_we_could_do():
    assert ScramClient([SCRAM], b"n").first().startswith(b"n,,")
    assert ScramClient([SCRAM], b"n", BINDING).first().startswith(b"y,,")
    assert ScramClient([SCRAM, SCRAM_PLUS], b"n").first().startswith(b"n,,")
    assert ScramClient([SCRAM, SCRAM_PLUS], b"n", BINDING).first().startswith(b"p=")


def test_nothing_secret_is_shown():
    client = ScramClient([SCRAM], b"clientnonce")
    ours = server()
    talk(ours, client)
    assert repr(ours) == "ScramServer()"
    assert repr(client) == "ScramClient(SCRAM-SHA-256)"


def test_secrets_are_compared_in_constant_time():
    """No ``==`` between bytes that an attacker chooses and bytes that are secret."""
    secret = re.compile(r"key|proof|signature|binding|verifier|attribute")
    for module in (scram, scram_secrets):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            plain = [
                isinstance(op, ast.Is | ast.IsNot | ast.Lt | ast.LtE | ast.In) for op in node.ops
            ]
            if all(plain) or any(isinstance(side, ast.Call) for side in sides):
                continue
            assert not secret.search(ast.unparse(node)), ast.unparse(node)
