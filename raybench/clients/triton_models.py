"""Which models a Triton has."""

from collections.abc import Iterable
from contextlib import closing

from raybench.clients.base import ClientError
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.triton_client import TritonClient
from raybench.clients.triton_service import TritonService, is_unready, triton_service
from raybench.config import ECHO, MULTI


def models_there(
    url: str, names: Iterable[str], credentials: ConnectionCredentials = NO_CREDENTIALS
) -> dict[str, bool] | None:
    """By name whether the Triton at a url has such a model, ready or not; None where it does not say."""
    with closing(triton_service(url, credentials)) as service:
        try:
            return {name: _is_there(service, name) for name in names}
        except CallError:
            return None


def model_names(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> list[str]:
    """All that the Triton at a url has; none where it does not say."""
    with closing(triton_service(url, credentials)) as service:
        try:
            return sorted({each.name for each in service.ask("RepositoryIndex").models})
        except CallError:
            return []


def echo_layout(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> str | None:
    """The layout for which the Triton at a url has its `echo`; None where it does not say."""
    with closing(triton_service(url, credentials)) as service:
        try:
            parameters = service.ask("ModelConfig", name=ECHO).config.parameters
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


def _is_there(service: TritonService, name: str) -> bool:
    """Whether Triton knows a model, loaded or not."""
    try:
        service.ask("ModelMetadata", name=name)
    except CallError as error:
        if error.status != "NOT_FOUND" and not is_unready(error):
            raise
        return is_unready(error)
    return True
