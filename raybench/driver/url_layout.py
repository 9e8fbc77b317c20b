"""How a Triton that runs already has the models of a run: each under its own name, or all behind `saved_model`."""

from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.triton_models import model_names, models_there
from raybench.config import ECHO, MULTI, PER_MODEL, Benchmark, ConfigError

_SAVED_MODEL = "saved_model"
_MOST_NAMED = 20


def with_url_layout(benchmark: Benchmark, credentials: ConnectionCredentials) -> Benchmark:
    """The benchmark with the layout of its Triton by url, where the user named none.

    Raises ConfigError where it has some of the models under their own names and others not. One that does not answer is
    left as it is: who describes its models has the sentence.
    """
    url = benchmark.url.get("triton")
    if not url or "triton" not in benchmark.server or benchmark.layout:
        return benchmark
    asked = [name for name in benchmark.all_models if name != ECHO]
    there = models_there(url, (*asked, _SAVED_MODEL), credentials)
    if there is None:
        return benchmark
    own = [name for name in asked if there[name]]
    others = [name for name in asked if not there[name]]
    if others and (own or not there[_SAVED_MODEL]):
        raise ConfigError(_missing(url, own, others, credentials, is_routing=there[_SAVED_MODEL]))
    layout = PER_MODEL if own or not there[_SAVED_MODEL] else MULTI
    return benchmark.model_copy(update={"layout": (layout,)})


def _missing(
    url: str, own: list[str], others: list[str], credentials: ConnectionCredentials, *, is_routing: bool
) -> str:
    if own and is_routing:
        return (
            f"model is {others[0]}; Triton at {url} has {', '.join(own)} under its own name and may have {others[0]} "
            f"behind {_SAVED_MODEL}: measure them in runs of their own, or choose by --layout"
        )
    there = model_names(url, credentials)
    listed = ", ".join(there[:_MOST_NAMED]) + (" and others" if len(there) > _MOST_NAMED else "")
    return f"model is {others[0]}; Triton at {url} has no such model: name one that it has ({listed or 'it has none'})"
