"""The flags of a benchmark."""

from collections.abc import Callable
from typing import Any

import click

from raybench import config
from raybench.config import ConfigError, credentials


def benchmark_flags(command: Callable[..., Any], number: type = int) -> Callable[..., Any]:
    """The flags of a benchmark; None where one is not given, so that the YAML's value stands.

    `number` is the type of --workers, --concurrency and --batch-size: a search takes lists of them, as text.
    """
    options = [
        click.option("--workers", type=number, help="Ray actors that send.  [4]"),
        click.option("--concurrency", type=number, help="Lanes per worker: requests in flight in each.  [1]"),
        click.option(
            "--request-rate", help="Open loop: requests a second, such as 50,100: each a cell.  [closed loop]"
        ),
        click.option("--request-distribution", help="poisson or constant gaps between due times.  [poisson]"),
        click.option("--max-in-flight", type=int, help="Most requests in flight in an open loop.  [64 per worker]"),
        click.option(
            "-s", "--server", multiple=True, help="triton, tfserving, local or fake; repeatable.  [local, triton]"
        ),
        click.option("--url", multiple=True, help="KIND=HOST:PORT of a server that runs already; repeatable."),
        click.option("--tls-ca", help="PEM file of who signed for the servers by url, or system: TLS.  [plain text]"),
        click.option("--tls-cert", help="PEM file with our certificate, for a server that asks for one."),
        click.option("--tls-key", help="PEM file with the key of --tls-cert."),
        click.option("--tls-server-name", help="Host that the server's certificate names.  [that of the url]"),
        click.option(
            "-H",
            "--header",
            multiple=True,
            help="KEY=VALUE for every call to a server by url, where $NAME is an environment variable; repeatable.",
        ),
        click.option("--instances", help="Triton instances, such as 1,2: each a server of its own.  [1]"),
        click.option("-m", "--model", multiple=True, help="ARCHITECTURE-VARIANT; repeatable.  [efficientnetb0-no-opt]"),
        click.option("--mix", is_flag=True, default=None, help="Send round robin over the models in one trial."),
        click.option("--models", help="Folder with models.conf.  [models]"),
        click.option("--signature", help="Signature to call; predict_jpegs takes JPEG files.  [predict_images]"),
        click.option("-b", "--batch-size", type=number, help="Images a request.  [8]"),
        click.option("--request-count", type=int, help="Requests of a trial, over all workers.  [100]"),
        click.option("--duration", type=float, help="Seconds of a trial, instead of a count."),
        click.option(
            "--warmup-request-count", type=int, help="Exactly so many requests before the window.  [until steady]"
        ),
        click.option("--warmup-timeout", type=float, help="Seconds after which warm-up ends, steady or not.  [5]"),
        click.option("--stability-percentage", type=float, help="How far apart steady windows lie, percent.  [10]"),
        click.option("--rounds", type=int, help="How often every cell is measured.  [1]"),
        click.option("--baseline", help="Server that the others are compared with.  [local, else the first]"),
        click.option("--seed", type=int, help="Seed of images and order.  [0]"),
        click.option("--images", help="photos, noise, or a folder.  [photos]"),
        click.option(
            "--feed", help="stream: images are read while they are sent, for more than memory holds.  [preload]"
        ),
        click.option(
            "--memory-budget", help="Most of images that all workers hold, such as 512MiB.  [1GiB, of more only a part]"
        ),
        click.option("--jpeg-quality", type=int, help="Of the files that predict_jpegs takes, up to 100.  [90]"),
        click.option("--shared-memory", help="system: images reach a Triton on this host without the network.  [none]"),
        click.option("--timeout", type=float, help="Deadline of one request, seconds.  [60]"),
        click.option(
            "--heartbeat-timeout", type=float, help="Seconds without a sign of a worker after which it is lost.  [10]"
        ),
        click.option("--on-loss", help="continue or stop where a worker or a node is lost.  [continue]"),
        click.option("--address", help="Ray cluster to join.  [one of our own]"),
        click.option("--wait-for-workers", type=float, help="Seconds that a Ray cluster has to find their CPUs.  [0]"),
        click.option(
            "--server-node", help="Node of the cluster where servers start: a resource that it has.  [this host]"
        ),
        click.option("--server-bind", help="Address that servers we start listen on.  [127.0.0.1]"),
        click.option("--out", help="Where results folders go.  [results]"),
        click.option("--name", help="Name of the run.  [run]"),
        click.option("--ui", type=click.Choice(config.UI_KINDS), help="Live bars, plain lines or none.  [live]"),
        click.option("--max-error-rate", type=float, help="Exit 5 above this share of failed requests.  [0]"),
        click.option(
            "--threshold", multiple=True, help="Exit 99 where a row misses it, such as p(99)<50ms; repeatable."
        ),
        click.option("--verify/--no-verify", default=None, help="Compare sampled answers with TensorFlow's.  [on]"),
        click.option(
            "--calibrate/--no-calibrate",
            default=None,
            help="Send the same load to a model that does nothing: what the client can do.  [where we start Triton]",
        ),
        click.option("--tolerance", type=float, help="Largest difference of an answer.  [by precision: 1e-4 or 2e-2]"),
        click.option("--strict", is_flag=True, default=None, help="Exit 3 where a trial is degraded or unstable."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def parse(flags: dict[str, Any]) -> dict[str, Any]:
    """Flags whose text holds several values, as values."""
    parsed = dict(flags)
    parsed["instances"] = _numbers(flags, "instances", int)
    parsed["request_rate"] = _numbers(flags, "request_rate", float)
    pairs = [text.partition("=") for text in flags["url"]]
    if wrong := [kind for kind, equals, url in pairs if not (equals and url)]:
        raise ConfigError(f"url is {wrong[0]}; write KIND=HOST:PORT")
    parsed["url"] = {kind: url for kind, _, url in pairs}
    if len(parsed["url"]) < len(pairs):
        raise ConfigError(f"url is {', '.join(flags['url'])}; name each server once")
    parsed["header"] = credentials.headers(flags["header"])
    return parsed


def _numbers(flags: dict[str, Any], name: str, kind: type) -> tuple[Any, ...] | None:
    """The numbers of a flag such as 1,2; None where it is not given."""
    if flags[name] is None:
        return None
    try:
        return tuple(kind(number) for number in flags[name].split(","))
    except ValueError as error:
        raise ConfigError(f"{name.replace('_', '-')} is {flags[name]}; give numbers such as 1,2") from error
