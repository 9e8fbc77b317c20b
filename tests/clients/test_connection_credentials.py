"""What opens a server by url: read from files and the environment, whole or refused, and never shown."""

from pathlib import Path

import pytest
from certificates import Authority
from helpers import RAY_CLUSTER

from raybench import config
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls, read_credentials
from raybench.config import Benchmark, ConfigError
from raybench.results import results_folder
from raybench.servers import header_leak_warning

SECRET = "5Ecr3t"


def asked(**changes: object) -> Benchmark:
    """A benchmark of an already running Triton."""
    return config.load(None, {"server": ("triton",), "url": {"triton": "127.0.0.1:1"}, **changes})


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("Bearer $TOKEN", f"Bearer {SECRET}"),
        ("${TOKEN}", SECRET),
        ("demo", "demo"),
        ("a $TENANT, for 5$$", "a blue, for 5$"),
    ],
)
def test_variables_are_filled_in(template: str, value: str) -> None:
    """$NAME and ${NAME} are the environment's, $$ is a dollar, and what is no secret may stand as it is."""
    credentials = read_credentials(asked(header={"x-a": template}), {"TOKEN": SECRET, "TENANT": "blue"})
    assert credentials.headers == (("x-a", value),)


def test_headers_of_a_yaml(tmp_path: Path) -> None:
    """A YAML has headers by key; the flag's replace them, as those of url do."""
    file = tmp_path / "run.yaml"
    file.write_text("url: {triton: 'h:1'}\nserver: triton\nheader: {authorization: Bearer $TOKEN, x-tenant: demo}\n")
    assert config.load(file, {}).header == {"authorization": "Bearer $TOKEN", "x-tenant": "demo"}
    assert config.load(file, {"header": {"x-tenant": "other"}}).header == {"x-tenant": "other"}


def test_results_keep_names(tmp_path: Path) -> None:
    """The benchmark.yaml of a run has names of variables and files, by which --resume opens the server again."""
    asks = asked(header={"x-token": "$TOKEN"}, tls_ca="ca.pem", tls_server_name="far.example", out=str(tmp_path))
    folder = results_folder.create(asks, ["raybench", "run"], ray_cluster=RAY_CLUSTER)
    assert config.load(folder / "benchmark.yaml", {}) == asks


@pytest.mark.parametrize("value", ["", f"{SECRET}\n", f" {SECRET}", f"{SECRET}\x00", "é"])
def test_a_variable_that_cannot_be_sent_is_refused_unseen(value: str) -> None:
    """A variable that is empty, ends in a line break, or is not ASCII is told by its name before anything is sent."""
    with pytest.raises(ConfigError, match=r"^header x-token names the variable TOKEN, ") as refused:
        read_credentials(asked(header={"x-token": "$TOKEN"}), {"TOKEN": value})
    assert SECRET not in str(refused.value)


def test_what_is_said_has_no_secret_in_it() -> None:
    """What a server says again of its headers is shown with the variables' names, one within another too."""
    environment = {"USER": "me", "TOKEN": f"{SECRET}-me", "SHORT": SECRET}
    credentials = read_credentials(asked(header={"x-a": "$USER", "x-token": "$TOKEN", "x-key": "$SHORT"}), environment)
    assert credentials.redacted(f"{SECRET}-me is not {SECRET} of me") == "$TOKEN is not $SHORT of $USER"
    assert credentials.redacted(None) is None
    assert read_credentials(asked(), environment).redacted("as it is") == "as it is"


def test_it_has_nothing_to_show(tmp_path: Path) -> None:
    """Shown, as in a traceback, it tells neither a header's value nor a key."""
    signed = Authority(tmp_path).signed("client")
    files = {"tls_ca": "system", "tls_cert": str(signed.certificate), "tls_key": str(signed.key)}
    credentials = read_credentials(asked(header={"x-token": "$TOKEN"}, **files), {"TOKEN": SECRET})
    assert credentials.tls
    assert credentials.tls.key == signed.key.read_bytes()
    assert SECRET not in repr(credentials)
    assert "PRIVATE" not in repr(credentials)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    """A certificate and a key that do not belong together are told before a server refuses them."""
    authority = Authority(tmp_path)
    ours, other = authority.signed("ours"), authority.signed("other")
    files = {"tls_ca": str(authority.certificate), "tls_cert": str(ours.certificate), "tls_key": str(other.key)}
    with pytest.raises(ConfigError, match=r"^tls-key is .*other.key; it is not the key of .*ours.pem: name that$"):
        read_credentials(asked(**files))


def test_the_authorities_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--tls-ca system` trusts whom the host trusts, where OpenSSL looks; a host that trusts nobody is told."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    assert Tls(ca=None).authorities() == authority.certificate.read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
    with pytest.raises(
        ConfigError, match=r"^tls-ca is system; OpenSSL finds no certificate authorities .*: set SSL_CERT_FILE"
    ):
        read_credentials(asked(tls_ca="system"))


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({}, True),
        ({"url": {"triton": "localhost:1"}}, False),
        ({"url": {"triton": "[::1]:1"}}, False),
        ({"tls_ca": "system"}, False),
        ({"header": {}}, False),
    ],
)
def test_headers_in_plain_text_are_told(changes: dict[str, object], is_told: bool) -> None:
    """Headers that leave this host without TLS get a warning, for who is on the way can read them."""
    benchmark = asked(**{"url": {"triton": "far.example:1"}, "header": {"x-token": "$TOKEN"}, **changes})
    (server,) = benchmark.servers
    assert (header_leak_warning(server, benchmark) is not None) == is_told


def test_nothing_opens_a_plain_server() -> None:
    """Without flags a server is reached as ever: in plain text, without headers."""
    assert read_credentials(asked()) == ConnectionCredentials()
