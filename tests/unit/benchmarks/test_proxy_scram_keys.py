"""The client's side of SCRAM proves what a server checks by its verifier."""

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest

from benchmarks.measure import WrongAnswer
from benchmarks.proxy.scram_keys import ITERATIONS, ScramKeys, ScramTalk

KEYS = ScramKeys.of("pencil", b"sixteen bytes ok")


def challenge(iterations=ITERATIONS, salt=KEYS.salt):
    return b"r=clientserver,s=%b,i=%d" % (b64encode(salt), iterations)


def test_proof_and_signature_fit_the_verifier():
    stored, server_key = (b64decode(k) for k in KEYS.verifier.rpartition("$")[2].split(":"))
    talk = ScramTalk(KEYS, b"client")
    assert talk.first() == b"n,,n=,r=client"
    final = talk.proof(challenge())
    unproved, _, proof = final.partition(b",p=")
    assert unproved == b"c=biws,r=clientserver"
    signed = b",".join((b"n=,r=client", challenge(), unproved))
    mask = hmac.digest(stored, signed, "sha256")
    client_key = bytes(a ^ b for a, b in zip(b64decode(proof), mask, strict=True))
    assert hashlib.sha256(client_key).digest() == stored
    talk.check_server(b"v=" + b64encode(hmac.digest(server_key, signed, "sha256")))


def test_verifier_has_the_form_of_postgres():
    head, iterations, rest = KEYS.verifier.replace(":", "$", 1).split("$", 2)
    assert (head, int(iterations)) == ("SCRAM-SHA-256", ITERATIONS)
    assert rest.startswith(b64encode(KEYS.salt).decode() + "$")


@pytest.mark.parametrize("wrong", [challenge(iterations=1), challenge(salt=b"another")])
def test_a_server_with_another_verifier_is_wrong(wrong):
    with pytest.raises(WrongAnswer):
        ScramTalk(KEYS, b"client").proof(wrong)


def test_a_wrong_signature_is_refused():
    talk = ScramTalk(KEYS, b"client")
    talk.proof(challenge())
    with pytest.raises(WrongAnswer, match="signature"):
        talk.check_server(b"v=" + b64encode(bytes(32)))
