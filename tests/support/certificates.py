"""Certificates for tests: one authority, one node at 127.0.0.1, signed now for an hour."""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFE = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files, and the node's certificate as DER."""

    key: Path
    cert: Path
    ca: Path
    der: bytes

    def server_context(self) -> ssl.SSLContext:
        """TLS for a listener that demands a certificate of our authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.cert, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """TLS for a client that shows its certificate."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

    def files(self) -> dict[str, str]:
        """The paths as text."""
        return {"key": str(self.key), "cert": str(self.cert), "ca": str(self.ca)}


def make_certificates(directory: Path, *, authority_name: str = "test authority") -> Certificates:
    """Write a new authority and a node's key and certificate into `directory`."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _builder(authority_name, authority_name, authority_key.public_key())
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    node_key = ec.generate_private_key(ec.SECP256R1())
    node = _builder("test node", authority_name, node_key.public_key())
    loopback = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    node = node.add_extension(x509.SubjectAlternativeName([loopback]), False)
    signed = node.sign(authority_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    found = Certificates(
        directory / "key.pem",
        directory / "cert.pem",
        directory / "ca.pem",
        signed.public_bytes(serialization.Encoding.DER),
    )
    found.key.write_bytes(
        node_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    found.cert.write_bytes(signed.public_bytes(pem))
    found.ca.write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    return found


def _builder(
    subject: str, issuer: str, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
    )
