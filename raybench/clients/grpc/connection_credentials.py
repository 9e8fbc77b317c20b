"""Credentials for already running servers: TLS, and headers with every call. They are kept in memory only."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from string import Template

from raybench.clients.base import ClientError
from raybench.config import Benchmark, ConfigError, is_text
from raybench.config.credentials import SYSTEM


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files as bytes, so that workers on other hosts need none; `ca` None are the authorities of the host.

    `server_name` is the host that the server's certificate names, where it is not that of the url.
    """

    ca: bytes | None = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None

    def authorities(self) -> bytes:
        """Who is trusted; raises ClientError where this host has no file of them."""
        if self.ca is not None:
            return self.ca
        path = ssl.get_default_verify_paths().cafile
        if path is None:
            raise ClientError(
                "OpenSSL finds no certificate authorities on this host: set SSL_CERT_FILE, or name a file"
            )
        return Path(path).read_bytes()

    def context(self, protocol: str = "h2") -> ssl.SSLContext:
        """The same for Python, to speak `protocol` (RFC 7301).

        Raises ssl.SSLError for what is no PEM, or a key that is not the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols([protocol])
        context.load_verify_locations(cadata=self.authorities().decode("ascii", "ignore"))
        if self.certificate and self.key:
            with open(os.memfd_create("raybench"), "wb") as file:  # it takes a file's name only
                file.write(self.key + b"\n" + self.certificate)
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
        return context


@dataclass(frozen=True, kw_only=True)
class ConnectionCredentials:
    """TLS or none, headers with their values, and the secrets in them, each with what may be shown in its place."""

    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def redacted(self, text: str | None) -> str | None:
        """A server's message with the names of our secrets in place of their values."""
        for secret, name in self.secrets:
            text = text and text.replace(secret, name)
        return text


NO_CREDENTIALS = ConnectionCredentials()


def read_credentials(benchmark: Benchmark, environment: Mapping[str, str] = os.environ) -> ConnectionCredentials:
    """Read the files and variables that a benchmark names; raises ConfigError for the first that cannot be used."""
    used = {
        name: _value(key, name, environment)
        for key, template in benchmark.header.items()
        for name in Template(template).get_identifiers()
    }
    longest_first = sorted(used.items(), key=lambda item: -len(item[1]))
    return ConnectionCredentials(
        tls=_tls(benchmark),
        headers=tuple((key, Template(template).substitute(used)) for key, template in benchmark.header.items()),
        secrets=tuple((value, f"${name}") for name, value in longest_first),
    )


def _value(key: str, name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "")
    if not value:
        raise ConfigError(f"header {key} names the variable {name}, which is not set or empty: export it")
    if not (is_text(value) and value.isascii() and value == value.strip()):
        raise ConfigError(
            f"header {key} names the variable {name}, whose value gRPC does not allow: leave out line breaks, "
            "spaces at its ends, and what is not ASCII"
        )
    return value


def _tls(b: Benchmark) -> Tls | None:
    if b.tls_ca is None:
        return None
    tls = Tls(
        ca=None if b.tls_ca == SYSTEM else _pem("tls-ca", b.tls_ca, b"CERTIFICATE"),
        certificate=_pem("tls-cert", b.tls_cert, b"CERTIFICATE") if b.tls_cert else None,
        key=_pem("tls-key", b.tls_key, b"PRIVATE KEY") if b.tls_key else None,
        server_name=b.tls_server_name,
    )
    try:
        tls.context()
    except ClientError as error:
        raise ConfigError(f"tls-ca is {SYSTEM}; {error}") from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"tls-key is {b.tls_key}; it is not the key of {b.tls_cert}: name that") from error
        files = ", ".join(filter(None, (b.tls_ca, b.tls_cert, b.tls_key)))
        raise ConfigError(
            f"tls-ca is {b.tls_ca}; one of {files} cannot be used ({error.reason}): name PEM files"
        ) from error
    return tls


def _pem(flag: str, path: str, kind: bytes) -> bytes:
    try:
        if not S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise OSError(EINVAL, "it is not a file")
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} is {path}; it cannot be read ({error.strerror}): name a PEM file") from error
    if b"ENCRYPTED" in text:
        raise ConfigError(f"{flag} is {path}; it is encrypted, which gRPC does not read: name one that is not")
    if b"-----BEGIN " not in text or kind + b"-----" not in text:
        raise ConfigError(f"{flag} is {path}; it holds no {kind.decode().lower()}: name a PEM file that does")
    return text
