"""Every load with the signature that it calls and the number of items that it sends, as its models need them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from raybench.config import ECHO, EXPORTED, Benchmark, ConfigError, LoadSettings
from raybench.driver.endpoints import Endpoint, Signatures, endpoints, signature_here, starts_here
from raybench.inputs.batch_axis import has_item_axis, items_of_a_request
from raybench.models.default_signature import default_signatures
from raybench.models.named_folders import models_conf_with
from raybench.models.saved_models import ModelConfig, Signature, read_models_conf

ModelsThere = Mapping[str, ModelConfig]  # by name, of a models.conf


@contextmanager
def models_conf_of(benchmark: Benchmark) -> Iterator[Path]:
    """The path of a run's models.conf: the user's, with the models that were named by folders."""
    folders = {name: folder for name, folder in benchmark.saved_models.items() if name in benchmark.all_models}
    with models_conf_with(benchmark.models_conf, folders) as path:
        yield path.resolve()


def models_there(models_conf: Path) -> ModelsThere:
    """The models of a models.conf, none where there is no such file; raises ConfigError where it cannot be read."""
    if not models_conf.exists():
        return {}
    try:
        return {entry.name: entry for entry in read_models_conf(models_conf)}
    except ValueError as error:
        raise ConfigError(str(error)) from error


def as_on_disk(benchmark: Benchmark) -> Benchmark:
    """The benchmark as a run resolves it, as far as models are on disk: no server is asked, and nothing is exported."""
    is_asked = any(server.url and not server.is_in_process for server in benchmark.servers)
    with models_conf_of(benchmark) as models_conf:
        there = models_there(models_conf)
        benchmark = with_signatures(benchmark, there, lambda _: None if is_asked else EXPORTED)
        here = [each for each in endpoints(benchmark) if starts_here(each) and each.model in there]
        return with_batch_sizes(benchmark, {each: signature_here(each, models_conf, there) for each in here})


def with_signatures(benchmark: Benchmark, there: ModelsThere, otherwise: Callable[[str], str | None]) -> Benchmark:
    """The benchmark with a signature in every load: as asked, else that of the model on disk, or what `otherwise` says
    of a model that is not.

    Raises ConfigError where a user has to choose.
    """
    asked = dict.fromkeys(model for load in benchmark.loads if not load.signature for model in load.model)
    try:
        on_disk = default_signatures({name: there[name] for name in asked if name in there})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found = {name: EXPORTED if name == ECHO else on_disk.get(name) or otherwise(name) for name in asked}
    if benchmark.mix and len(set(found.values())) > 1:
        shown = ", ".join(f"{name}: {signature}" for name, signature in found.items())
        raise ConfigError(f"mix is true; its models have different signatures ({shown}): choose one with --signature")
    return benchmark.by_model(lambda load, model: {"signature": load.signature or found[model] or None})


def with_batch_sizes(benchmark: Benchmark, signatures: Signatures) -> Benchmark:
    """The benchmark with a number of items in every load: as asked, or as its models need it.

    Raises ConfigError where a model takes another number.
    """

    def chosen(load: LoadSettings, model: str) -> dict[str, int | None]:
        of_model = {e: s for e, s in signatures.items() if (e.model, e.signature) == (model, load.signature or "")}
        items = load.batch_size or _usual_items(load, of_model.values())
        for endpoint, signature in of_model.items():
            _check_batch(items, endpoint, signature)
        return {"batch_size": items if of_model or benchmark.mix else load.batch_size}  # a mix has one number

    found = benchmark.by_model(chosen)
    if benchmark.mix and len(found.loads) > len(benchmark.loads):
        raise ConfigError("mix is true; its models take different numbers of items: name models that take the same")
    return found


def _usual_items(load: LoadSettings, signatures: Iterable[Signature]) -> int:
    """The only number that a model takes, or the usual one, as far as it takes so many."""
    there = list(signatures)
    needed = [items for each in there if (items := items_of_a_request(each))]
    return min(needed or [load.items, *(each.most_items for each in there if each.most_items)])


def _check_batch(items: int, endpoint: Endpoint, signature: Signature) -> None:
    needed, most = items_of_a_request(signature), signature.most_items
    if needed and items != needed:
        why = f"takes {needed} items per request" if has_item_axis(signature) else "takes no batch"
        raise ConfigError(f"batch-size is {items}; model {endpoint.model} {why}: give {needed}, or leave it out")
    if most and items > most:
        raise ConfigError(
            f"batch-size is {items}; model {endpoint.model} takes at most {most} items per request (max_batch_size): "
            "give fewer"
        )
