"""Which models a Triton has."""

from collections.abc import Iterable
from contextlib import closing

from raybench.clients.base import ClientError
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.grpc.kserve import ask, is_unready
from raybench.clients.triton_client import TritonClient
from raybench.config import ECHO, MULTI


def models_there(
    url: str, names: Iterable[str], credentials: ConnectionCredentials = NO_CREDENTIALS
) -> dict[str, bool] | None:
    """By name whether the Triton at a url has such a model, ready or not; None where it does not say."""
    with closing(Channel(url, credentials)) as channel:
        try:
            return {name: _is_there(channel, name) for name in names}
        except CallError:
            return None


def model_names(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> list[str]:
    """All that the Triton at a url has; none where it does not say."""
    with closing(Channel(url, credentials)) as channel:
        try:
            return sorted({each.name for each in ask(channel, "RepositoryIndex").models})
        except CallError:
            return []


def echo_layout(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> str | None:
    """The layout for which the Triton at a url has its `echo`; None where it does not say."""
    with closing(Channel(url, credentials)) as channel:
        try:
            parameters = ask(channel, "ModelConfig", name=ECHO).config.parameters
        except CallError:
            return None
    return parameters["layout"].string_value or MULTI


def names_behind_saved_model(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> list[str]:
    """The SavedModels that raybench's backend answers for in the Triton at a url; none where it does not say."""
    with closing(TritonClient(url, model="", signature="", credentials=credentials)) as client:
        try:
            about = client.about()
        except (ClientError, ValueError):
            return []
    return sorted(about.get("signatures", {}))


def _is_there(channel: Channel, name: str) -> bool:
    """Whether Triton knows a model, loaded or not."""
    try:
        ask(channel, "ModelMetadata", name=name)
    except CallError as error:
        if error.status != "NOT_FOUND" and not is_unready(error):
            raise
        return is_unready(error)
    return True
