import hashlib
import ssl
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from scramp.core import CBindData

from shardrouter.wire.certificate import binding_of, end_of

END = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)


def certificate(key, algorithm, end=END):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(datetime(1990, 1, 1, tzinfo=UTC))
        .not_valid_after(end)
    )
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("key", [RSA, EC], ids=["rsa", "ecdsa"])
@pytest.mark.parametrize("algorithm", ["sha224", "sha256", "sha384", "sha512"])
def test_the_hash_is_that_of_the_signature(key, algorithm):
    der = certificate(key, getattr(hashes, algorithm.upper())())
    assert binding_of(der) == hashlib.new(algorithm, der).digest()
    assert binding_of(der) == bytes(CBindData.from_der(der))


def test_a_signature_without_a_hash_of_its_own_has_no_binding():
    der = certificate(ed25519.Ed25519PrivateKey.generate(), None)
    assert binding_of(der) is None
    assert end_of(der) == END


@pytest.mark.parametrize("year", [1995, 2031, 2049, 2051, 2999])
def test_the_end_is_read_in_both_forms_of_time(year):
    end = END.replace(year=year)
    assert end_of(certificate(EC, hashes.SHA256(), end)) == end


def test_a_certificate_of_an_authority():
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())
    assert binding_of(der) is not None
    assert end_of(der) is not None


SOUND = certificate(EC, hashes.SHA256())


@given(st.binary(max_size=100), st.integers(0, 400))
def test_broken_certificates_have_no_binding(noise, cut):
    binding_of(noise)
    end_of(noise)
    assert binding_of(SOUND[:cut][:-1]) is None
    end_of(SOUND[:cut] + noise)
