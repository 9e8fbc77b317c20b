"""How an already running Triton serves the models of a run: each under its own name, or all behind `saved_model`."""

from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.triton_models import echo_layout, model_names, models_there
from raybench.config import ECHO, MULTI, PER_MODEL, SAVED_MODEL, Benchmark, ConfigError

_MOST_NAMED = 20


def with_url_layout(benchmark: Benchmark, credentials: ConnectionCredentials) -> Benchmark:
    """The benchmark with the layout of its Triton by url, where the user named none: per-model, if it has every model
    under its own name.

    Raises ConfigError for a model that it does not have at all. A Triton that does not answer is left as it is: the
    error comes when its models are described.
    """
    urls = (url for server in benchmark.servers if server.kind == "triton" for url in server.replicas)
    url = next(urls, None)  # the others are to be like it
    if not url or benchmark.layout:
        return benchmark
    asked = [name for name in benchmark.all_models if name != ECHO]
    if not asked:
        return _with(benchmark, echo_layout(url, credentials) or MULTI)
    there = models_there(url, {*asked, SAVED_MODEL}, credentials)
    if there is None:
        return benchmark
    has_router, missing = there.pop(SAVED_MODEL), [name for name in asked if not there[name]]
    if missing and not has_router:
        raise ConfigError(_missing(url, missing[0], model_names(url, credentials)))
    return _with(benchmark, MULTI if missing else PER_MODEL)


def _with(benchmark: Benchmark, layout: str) -> Benchmark:
    return benchmark.model_copy(update={"layout": (layout,)})


def _missing(url: str, model: str, there: list[str]) -> str:
    listed = ", ".join(there[:_MOST_NAMED]) + (" and others" if len(there) > _MOST_NAMED else "")
    return f"model is {model}; Triton at {url} has no such model: choose one that it has ({listed or 'it has none'})"
