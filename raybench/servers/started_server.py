"""What a Triton and a TensorFlow Serving that we started have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raybench.config import ConfigError
from raybench.models.saved_models import ModelConfig
from raybench.servers.served_models import resolve_models
from raybench.servers.server_process import ServerError, ServerProcess, check_bind, require_free
from raybench.servers.start_times import StartTimes

OLD_SERVE = "the old models keep serving"


class ServerOptions(Protocol):
    """The options that every server has: models of a models.conf (None: all), and where it listens (port 0: any)."""

    @property
    def models_conf(self) -> Path: ...

    @property
    def models(self) -> tuple[str, ...] | None: ...

    @property
    def bind(self) -> str: ...

    @property
    def grpc_port(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class StartedServer(ABC):
    """Where a server that we started answers, what it is, its process, and what it was asked to serve.

    `launcher` is how it was started, `config` the settings that tell it from another of its kind.
    """

    grpc_url: str
    http_url: str
    metrics_url: str
    version: str
    launcher: str
    config: dict[str, str | int]
    process: ServerProcess
    is_ready: Callable[[], bool]
    options: ServerOptions
    start: StartTimes

    @property
    def pid(self) -> int | None:
        """Whose process tree's memory is the server's; None is not known."""
        return self.process.pid

    @property
    def urls(self) -> dict[str, str]:
        return {"grpc": self.grpc_url, "http": self.http_url, "metrics": self.metrics_url}

    def unservable(self) -> dict[str, str]:
        """Why models or signatures that it was asked to serve are not served, by name."""
        return {}

    def unmerged(self) -> dict[str, str]:
        """Why requests for a signature are never answered together, by model/signature."""
        return {}

    def reload(self) -> tuple[ModelConfig, ...]:
        """Load what models.conf and its SavedModels say now, while the old models answer until the new ones are ready.

        Returns the models now served; raises ServerError, one sentence, where others are, with which those are.
        """
        try:
            models = resolve_models(self.options.models_conf, self.options.models)
        except ServerError as error:
            raise ServerError(f"{error}; {OLD_SERVE}") from error
        self._load(models)
        return models

    @abstractmethod
    def _load(self, models: tuple[ModelConfig, ...]) -> None:
        """Have the server serve these models alone; raises ServerError, with what is served, where it does not."""


def check_options(options: ServerOptions) -> None:
    """Raise ConfigError for what no server here could serve, before one is started."""
    check_bind(options.bind)
    try:
        resolve_models(options.models_conf, options.models)
    except ServerError as error:
        raise ConfigError(str(error)) from error
    require_free(options.bind, options.grpc_port)
