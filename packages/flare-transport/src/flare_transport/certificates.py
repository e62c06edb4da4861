"""Certificates of cells, and an authority that issues them.

A certificate contains the name of its cell three times:

- as the URI ``flare://cell/<name>``, which listeners read in the connector's certificate;
- as a DNS name made by :func:`identity_host`, which connectors let their TLS library verify, because it compares no
  other kind of name. An authority must therefore issue it to that cell only;
- as the common name, for people.

All keys are on the curve P-256, which gRPC's TLS library supports, unlike Ed25519.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from flare_transport.address import check_name, speaks_for
from flare_transport.authentication import Credentials
from flare_transport.errors import AuthenticationError, TransportError

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import verification
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    raise TransportError("certificates need cryptography; pip install 'flare-transport[grpc]'") from error

URI_PREFIX = "flare://cell/"
IDENTITY_DOMAIN = "cell.flare.internal"
BACKDATED = datetime.timedelta(minutes=5)  # for sites whose clocks are slow
_MAX_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class Authority:
    """Certificate and key of an authority that issues certificates to cells; both in PEM."""

    certificate: bytes
    private_key: bytes = field(repr=False)


def make_authority(name: str, *, valid_days: int = 3650) -> Authority:
    """Make an authority that can issue certificates to cells, but not to other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), valid_days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Authority(_pem(builder.sign(key, hashes.SHA256())), _private_pem(key))


def issue(authority: Authority, name: str, *, valid_days: int = 365) -> Credentials:
    """Make a key and a certificate for a cell.

    Use this only where the authority may know the key; otherwise the cell calls :func:`make_request`.

    Args:
        authority: issuer of the certificate.
        name: of the cell.
        valid_days: period of validity from now on, in days.
    """
    private_key, request = make_request(name)
    return Credentials(
        certificate=sign_request(authority, request, name=name, valid_days=valid_days),
        private_key=private_key,
        authority=authority.certificate,
    )


def make_request(name: str) -> tuple[bytes, bytes]:
    """Return a new private key, to be kept secret, and a request for a certificate with that name; both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(check_name(name)))
    return _private_pem(key), builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sign_request(authority: Authority, request: bytes, *, name: str, valid_days: int = 365) -> bytes:
    """Issue a certificate for the key of a request; return it in PEM.

    Only the key is taken from the request. The caller must have verified that the requester owns ``name``.

    Raises:
        AuthenticationError: the request is invalid, not signed with its key, or its key is not on P-256.
    """
    try:
        asked = x509.load_pem_x509_csr(request)
        key, is_signed = asked.public_key(), asked.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthenticationError(f"{name}: this is not a certificate request ({error})") from error
    # The signature shows that the requester has the private key.
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise AuthenticationError(f"{name}: the request is not signed with a key on P-256; make it with make_request")
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = serialization.load_pem_private_key(authority.private_key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        _builder(_subject(check_name(name)), issuer.subject, key, valid_days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(name)), critical=False)
    )
    return _pem(builder.sign(signer, hashes.SHA256()))


def identity_host(name: str) -> str:
    """Return the DNS name that represents a cell: unique, although DNS names ignore case.

    Example:
        >>> identity_host("Site_1.job-7")
        '_53ite_5f1.job-7.cell.flare.internal'
    """
    return re.sub(r"[^a-z0-9.-]", lambda match: f"_{ord(match[0]):02x}", name) + f".{IDENTITY_DOMAIN}"


def cell_name(uris: Sequence[str]) -> str:
    """Return the name of the cell that owns a certificate with these URIs.

    Raises:
        AuthenticationError: the names do not identify exactly one cell.
    """
    names = {unquote(uri.removeprefix(URI_PREFIX)) for uri in uris if uri.startswith(URI_PREFIX)}
    if len(names) != 1:
        raise AuthenticationError(f"the certificate names {len(names)} cells, expected one: {sorted(names)}")
    return names.pop()


def check_credentials(credentials: Credentials, name: str) -> None:
    """Check that a cell can authenticate with these credentials.

    Raises:
        AuthenticationError: it cannot, with the reason.
    """
    try:
        certificate = x509.load_pem_x509_certificate(credentials.certificate)
        key = serialization.load_pem_private_key(credentials.private_key, None)
        x509.load_pem_x509_certificates(credentials.authority)
        owned_key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthenticationError(f"the credentials of {name} are not valid PEM ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise AuthenticationError(
            f"the key of {name} is not on the curve P-256, the only one that gRPC always supports"
        )
    if key.public_key() != owned_key:
        raise AuthenticationError(f"the certificate and the private key of {name} do not belong together")
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise AuthenticationError(
            f"the certificate of {name} is valid from {certificate.not_valid_before_utc} to "
            f"{certificate.not_valid_after_utc}, and it is {now:%Y-%m-%d %H:%M:%S} now; renew it or set the clock"
        )
    _check_owner(certificate, name)


def verified_key(chain: bytes, authority: bytes, name: str) -> ec.EllipticCurvePublicKey:
    """Verify that a certificate is trusted and valid for a name; return its public key.

    Args:
        chain: the certificate, followed by intermediate certificates, if any; in PEM.
        authority: certificates of the trusted authorities; in PEM.
        name: of a cell.
    Raises:
        AuthenticationError: it is not.
    """
    try:
        first, *others = x509.load_pem_x509_certificates(chain)
        store = verification.Store(x509.load_pem_x509_certificates(authority))
        verification.PolicyBuilder().store(store).build_client_verifier().verify(first, others)
        key = first.public_key()
    except (ValueError, UnsupportedAlgorithm, verification.VerificationError) as error:
        raise AuthenticationError(f"the certificate of {name} is not trusted here ({error})") from error
    _check_owner(first, name)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise AuthenticationError(f"the key of {name} is not on the curve P-256")
    return key


def _check_owner(certificate: x509.Certificate, name: str) -> None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise AuthenticationError(f"cannot decode the names in a certificate ({error})") from error
    owner = cell_name(uris)
    if not speaks_for(owner, name):
        raise AuthenticationError(f"the certificate belongs to {owner}, which may not speak for {name}")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid_days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=valid_days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_MAX_COMMON_NAME])])


def _names(name: str) -> list[x509.GeneralName]:
    return [
        x509.UniformResourceIdentifier(URI_PREFIX + quote(name, safe="")),
        x509.DNSName(identity_host(name)),
    ]


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
