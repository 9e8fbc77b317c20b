"""What a Ray needs of this host, or of its address, known before it is started or joined."""

import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty

from raybench.clients.grpc.channel import DESCRIBE_TIMEOUT_S, CallError, Channel
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.probe import GRPC, TLS, what_answers
from raybench.config import ConfigError
from raybench.servers.server_process import free_ports
from raybench.servers.wheel import UnsupportedReason

RAY_REMEDY = "give the address that `ray start` printed, or none: raybench then starts its own Ray"
_ADDRESS = re.compile(r"(ray://)?([^/]+:\d+)/?")
_CHECK_ALIVE, _CLUSTER_INFO = "/ray.rpc.NodeInfoGcsService/CheckAlive", "/ray.rpc.RayletDriver/ClusterInfo"
_CONNECT_S = 5.0
_LONGEST_SOCKET = 107  # bytes of a path: unix(7)
# The longest that Ray 2.60 makes: of the dashboard's process for metrics. A pid has up to 7 digits.
_SOCKET = "ray/session_YYYY-mm-dd_HH-MM-SS_microS_1234567/sockets/dash_MetricsHead"
_LONGEST_FOLDER = _LONGEST_SOCKET - len(f"/{_SOCKET}")
_NEEDED_BYTES, _PORTS, _TOKEN_BYTES = 2**20, 3, 32


def check_address(address: str) -> None:
    """Raise ConfigError where no Ray answers that would let us in; Ray itself asks for minutes, or for ever."""
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"address is {address}; that is a dashboard's, for ray job submit -- raybench run: {RAY_REMEDY}"
        )
    found = _ADDRESS.fullmatch(address)
    if not found:
        return  # such as auto: Ray looks for one on this host
    if (there := what_answers(found[2])) not in (GRPC, TLS):
        raise ConfigError(f"address is {address}; no Ray answers: there is {there}; {RAY_REMEDY}")
    if there == GRPC and (refusal := _refusal(found[2], _CLUSTER_INFO if found[1] else _CHECK_ALIVE)):
        raise ConfigError(f"address is {address}; {refusal}")


def _refusal(url: str, method: str) -> str | None:
    """Why a Ray there would not take us, and the remedy, by one call with a deadline; None where it would."""
    with closing(Channel(url, ConnectionCredentials(headers=tuple(_token().items())))) as channel:
        try:
            channel.ask(method, Empty(), Empty)
        except CallError as error:
            return _meaning(error.status)
    return None


def _meaning(status: str) -> str | None:
    if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return f"no Ray answers within {DESCRIBE_TIMEOUT_S:.0f} s, though something listens there; {RAY_REMEDY}"
    if status == "UNIMPLEMENTED":
        return f"no Ray answers: there is {GRPC}; {RAY_REMEDY}"
    if status == "UNAUTHENTICATED":
        token = "RAY_AUTH_TOKEN to what `ray get-auth-token` prints on its head"
        return f"that Ray wants a token, and yours is not the right one: set RAY_AUTH_MODE to token and {token}"
    return None  # it is a Ray, whatever it makes of such a call


def _token() -> dict[str, str]:
    """The header with the token that Ray would send for this user; none where there is none, or shall be none."""
    if not _wants_token():
        return {}
    return dict(_loader().get_token_for_http_header(ignore_auth_mode=True))


def make_token() -> bool:
    """Make a token for a Ray that we start where Ray itself could not write one into HOME; whether it was made."""
    if not _wants_token() or _token() or not _why_not_writable(_home()):
        return False
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(_TOKEN_BYTES)
    _loader().reset_cache()
    return True


def _loader() -> Any:
    from ray import _raylet  # late: doctor looks at hosts without Ray too

    return _raylet.AuthenticationTokenLoader.instance()  # type: ignore[attr-defined]


def _wants_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"


def _home() -> Path:
    """Where Ray keeps a user's token."""
    return Path.home() / ".ray"


def temporary_folder() -> tuple[str, str]:
    """The variable that names the folder of Ray's temporary files, and the folder."""
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    return name, os.environ.get(name, "/tmp")


def ray_folder() -> str:
    """Where a Ray that we start has its files, as any Ray of this user."""
    return str(Path(temporary_folder()[1]) / "ray")


def host_problem() -> UnsupportedReason | None:
    """Why no Ray, and no server, could start on this host; None where nothing is known against it."""
    return folder_problem() or ports_problem()


def folder_problem() -> UnsupportedReason | None:
    """What is wrong with the folder of Ray's temporary files."""
    name, folder = temporary_folder()
    remedy = f"set {name} to another folder, such as /tmp"
    return next((UnsupportedReason(f"{name} is {folder!r}{why}", remedy) for why in _flaws(folder)), None)


def ports_problem() -> UnsupportedReason | None:
    """Why no free ports are found or reached on loopback; else None."""
    try:
        free_ports(_PORTS)
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_CONNECT_S).close()
    except OSError as error:
        problem = f"no ports are free on 127.0.0.1 ({error.strerror or error})"
        return UnsupportedReason(problem, "stop the programs that hold them, or bring the interface up")
    return None


def _flaws(folder: str) -> Iterator[str]:
    if not Path(folder).is_absolute():
        yield ", which is relative, and Ray's processes run in other folders"
    if not folder.isascii():
        yield ", and Ray allows only ASCII letters there"
    if len(folder.rstrip("/")) > _LONGEST_FOLDER:
        yield f", and Ray's sockets allow at most {_LONGEST_FOLDER} letters there"
    if why := _why_not_writable(Path(folder) / "ray"):
        yield f", and Ray cannot write there ({why})"


def _why_not_writable(folder: Path) -> str | None:
    """Of a folder, or of what it would be made in."""
    try:
        above = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=above) as probe:
            probe.write(bytes(_NEEDED_BYTES))
            probe.flush()
    except OSError as error:
        return error.strerror or str(error)
    return None
