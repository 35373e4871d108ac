"""The certificates by which this server stands in for a host, so as to put headers into what is said to it.

A sandbox with such a rule trusts the server's authority, and no other program does. Its key, and those of the
certificates, are made when they are first needed and are in memory only.
"""

from __future__ import annotations

import functools
import importlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

# Longer than a server lives: a sandbox is told once whom to trust.
_OWN_LIFE = timedelta(days=3650)
# A host's is made anew when half of this is over; and is from before it, for a sandbox's clock is this machine's, which
# may be set back.
_LIFE, _BEFORE = timedelta(days=90), timedelta(days=1)
_MOST_CONTEXTS = 256


def _now() -> datetime:
    return datetime.now(UTC)


@functools.cache
def _is_importable() -> bool:
    """Whether it can be imported: of another system, or half installed, it is found and cannot."""
    try:
        importlib.import_module("cryptography.x509")
    except ImportError:
        return False
    return True


class Authority:
    """An authority of a server's own, which takes the package `cryptography`.

    Args:
        now: Gives the time.
    """

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        # Each with the time from which on it is made anew.
        self._contexts: dict[str, tuple[ssl.SSLContext, datetime]] = {}
        self._making = threading.Lock()

    @property
    def available(self) -> bool:
        """Whether the package is there, and works; takes some milliseconds at first."""
        return _is_importable()

    @property
    def certificate(self) -> str:
        """Its own certificate, in PEM; takes some milliseconds at first."""
        from cryptography.hazmat.primitives.serialization import Encoding

        with self._making:
            return self._own[1].public_bytes(Encoding.PEM).decode("ascii")

    def context_for(self, name: str) -> ssl.SSLContext:
        """Gives what a server needs to be taken for a host; takes some milliseconds at first.

        Args:
            name: The host's name.
        """
        with self._making:
            made = self._contexts.get(name)
            if made is None or self._now() >= made[1]:
                if len(self._contexts) >= _MOST_CONTEXTS:
                    self._contexts.clear()
                made = self._contexts[name] = (self._make_context(name), self._now() + _LIFE / 2)
            return made[0]

    @cached_property
    def _own(self) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("e2b-magic: this machine's embedded server")
        begun = _begun(name, name, key.public_key(), self._now(), _OWN_LIFE).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = _usage(key_cert_sign=True)
        return key, begun.add_extension(usage, critical=True).sign(key, hashes.SHA256())

    def _make_context(self, name: str) -> ssl.SSLContext:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        authority_key, authority = self._own
        key = ec.generate_private_key(ec.SECP256R1())
        # The name is where it is looked for today; the subject has room for 64 characters alone.
        certificate = (
            _begun(_named("e2b-magic"), authority.subject, key.public_key(), self._now(), _LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .add_extension(_usage(digital_signature=True), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with ExitStack() as files:
            context.load_cert_chain(
                files.enter_context(_file(certificate.public_bytes(Encoding.PEM))), files.enter_context(_file(private))
            )
        return context


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    from cryptography import x509

    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _BEFORE,
        not_valid_after=now + life,
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@contextmanager
def _file(contents: bytes) -> Iterator[str]:
    """Gives the path of a file in memory: OpenSSL reads keys from files alone."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.pwrite(descriptor, contents, 0)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
