"""Bad input: one sentence with the field, the value and the remedy, exit 2, before anything starts or is written."""

import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import grpc
import numpy as np
import pyarrow as pa
import pytest
from certificates import Authority
from click.testing import CliRunner
from helpers import IMAGES, LOGITS, entry, listed, saved_model
from pyarrow import parquet
from real_parts import raybench, small_disk

from raybench import cli
from raybench.cli import measure_and_report
from raybench.cli.measuring_process import Outcome, Reached, Tell
from raybench.servers import wheel
from raybench.telemetry import host_limits

FREE_BYTES = 8 * 2**30
Talk = Callable[[socket.socket, threading.Event], object]
LONG = "x" * 5000
DEEP = "workers: " + "[" * 20_000
LAUGHS = "name: &a [x, x]\n" + "".join(f"model: &{b} [*{a}, *{a}]\n" for a, b in ("ab", "bc", "cd"))


@dataclass(frozen=True)
class Row:
    """Arguments, what the sentence must say, the files that are there; `{port}` is where `listener` listens."""

    arguments: str | list[str]
    said: list[str]
    files: dict[str, str | bytes | Callable[[Path], object]] = field(default_factory=dict)
    listener: str = ""


def run(flags: str, *said: str, **more: Any) -> Row:
    return Row(f"run {flags}", list(said), **more)


def flag(name: str, value: str, *said: str) -> Row:
    """A value that holds what a shell would split."""
    return Row(["run", name, value], list(said))


def yaml(text: str | bytes | Callable[[Path], object], *said: str) -> Row:
    return Row("run nightly.yaml", ["nightly.yaml", *said], {"nightly.yaml": text})


def wrong_value(text: str, *said: str) -> Row:
    return Row("run nightly.yaml", list(said), {"nightly.yaml": text})


def models_conf(text: str | bytes, *said: str, flags: str = "run -s local --models given -m a") -> Row:
    """In `given` there are also a model `tiny` with the version 1 alone, and a file `f`."""
    return Row(flags, list(said), {"given/models.conf": text})


def listener(name: str, *said: str, flags: str = "run -s triton --url triton=127.0.0.1:{port}") -> Row:
    return Row(flags, [*said], listener=name)


def tiny(policy: str = "", base_path: str = "tiny") -> str:
    return listed(entry("tiny", policy, base_path))


FLOAT, COMPLEX = 1, 8
SIGNATURES = (
    ("predict_images", [IMAGES], [LOGITS]),
    ("odd", [("wave", COMPLEX, (-1, 4))], [LOGITS]),
    ("free", [("x", FLOAT, (-1, -1))], [LOGITS]),
    ("single", [("x", FLOAT, (3, 2))], [LOGITS]),
    ("four", [("x", FLOAT, (4, 8, 8, 3))], [LOGITS]),
    ("rows", [("ids", 9, (-1, 3)), ("text", 7, (-1,))], [LOGITS]),  # INT64 and BYTES
)
BY_URL = "-s triton --url triton=127.0.0.1:1"


def pair(path: Path) -> None:
    """A SavedModel that may be called by two signatures."""
    saved_model(path.parent, *((name, [IMAGES], [LOGITS]) for name in ("one", "other")))


NO_TRITON = ("url triton=127.0.0.1:", "no Triton answers", "name the gRPC port")
SERVE = "serve triton --port 0 --models given"
TINY = "run -s local --models given -m tiny"

YAML = {
    "unknown key": yaml("workers: 2\nwrokers: 4", "line 2", "'wrokers'", "did you mean workers", "the keys are"),
    "wrong type": yaml("# load\n\nworkers: four", "line 3", "workers is 'four'", "a whole number"),
    "a truth for a number": yaml("workers: true", "line 1", "workers is True", "a whole number"),
    "a fraction": yaml("workers: 2.5", "line 1", "workers is 2.5", "a whole number"),
    "nothing for a number": yaml("workers:", "line 1", "workers is None", "a whole number"),
    "a number for a truth": yaml("strict: 1", "line 1", "strict is 1", "true or false"),
    "text for a time": yaml("timeout: soon", "line 1", "timeout is 'soon'", "a number"),
    "a number for text": yaml("name: 7", "line 1", "name is 7", "takes text"),
    "text in a list of numbers": yaml("instances: [1, two]", "line 1", "instances is 'two'", "a whole number"),
    "a url for the mapping of urls": yaml("url: 127.0.0.1:8001", "url is '127.0.0.1:8001'", "{triton: HOST:PORT}"),
    "an empty list": wrong_value("model: []", "model is ", "at least one"),
    "headers that are no mapping": yaml("header: [a]", "line 1", "header", "{authorization: Bearer $TOKEN}"),
    "a key that gRPC does not take": wrong_value("header: {a b: c}", "header has a key", "letters, digits"),
    "no url": wrong_value("url: {triton: ''}", "url is triton=", "KIND=HOST:PORT"),
    "an open bracket": yaml("workers: [", "line 1", "while parsing a flow node", "'<stream end>'"),
    "a list for a number": yaml("workers: [1, 2]", "line 1", "workers is [1, 2]", "a whole number"),
    "a mapping for text": yaml("images: {folder: x}", "line 1", "images is {'folder': 'x'}", "takes text"),
    "nested wrongly": yaml("run:\n  workers: 4", "line 1", "key 'run' is unknown", "the keys are"),
    "indented wrongly": yaml("workers: 4\n  rounds: 2", "line 2", "mapping values are not allowed"),
    "a list": yaml("- workers: 4", "holds no mapping", "workers: 4"),
    "empty": yaml("", "holds no mapping", "workers: 4"),
    "a tab": yaml("workers:\n\t4", "line 2", r"'\t'"),
    "the same key twice": yaml("workers: 1\nrounds: 1\nworkers: 2", "line 3", "'workers'", "line 1", "leave one out"),
    "both spellings of a key": yaml("batch-size: 1\nbatch_size: 2", "line 2", "'batch_size'", "leave one out"),
    "the same url twice": yaml("url: {triton: 'h:1', triton: 'h:2'}", "line 1", "'triton'", "leave one out"),
    "anchors that explode": yaml(LAUGHS, "line 2", "aliases", "write the value out"),
    "an alias of itself": yaml("model: &a [*a]", "line 1", "aliases", "write the value out"),
    "a merge": yaml("url: {fake: ''}\n<<: {workers: 2}", "line 2", "merges", "write the value out"),
    "a tag": yaml("name: !!python/object:os.system x", "line 1", "tags", "write the value out"),
    "two documents": yaml("workers: 2\n---\nworkers: 3", "line 2", "single document"),
    "deep nesting": yaml(DEEP, "nested too deeply", "write it flat"),
    "5 MB": yaml("# a comment\n" * 420_000, "5040000 bytes", "at most 65536"),
    "a long value": yaml(f"name: {LONG}", "line 1", "longer than 1000", "shorten"),
    "no date": yaml("name: 2026-02-30", "day is out of range"),
    "UTF-16": yaml("workers: 4".encode("utf-16"), "UTF-8"),
    "a NUL byte": yaml(b"workers: 4\0", "#x0000"),
    "a NUL in text": wrong_value('out: "a\\0b"', "out is 'a\\x00b'", "control characters"),
    "a line break in text": wrong_value('images: "a\\nb"', "images is 'a\\nb'", "line breaks"),
    "half a surrogate pair": wrong_value('models: "\\ud800"', "models is '\\ud800'", "control characters"),
    "not a number": wrong_value("timeout: .nan", "timeout is nan", "seconds above 0"),
    "a folder": yaml(Path.mkdir, "is a directory"),
    "a pipe": yaml(os.mkfifo, "it is not a file", "workers: 4"),
    "missing": run("absent.yaml", "absent.yaml", "No such file"),
    "below a file": run("file/b.yaml", "file/b.yaml", "Not a directory", files={"file": ""}),
    # what a fuzzer found
    "a timestamp that is none": yaml("n: !!timestamp 1e400", "line 1", "tags"),
    "a truth that is none": yaml("!!bool = : 1x", "line 1", "tags"),
    "an endless hexadecimal": yaml(f"0x{'f' * 4000}: 1", "line 1", "longer than 1000", "shorten"),
    "an endless handle of a tag": yaml(f"!{LONG}!a b", "line 1", "while parsing a node, found undefined tag"),
    "a minute that overflows": yaml(f"timeout: 1{':59' * 200}.5", "too large"),
    "rounds without end": wrong_value("rounds: 1000000000", "rounds is 1000000000", "at most 1000"),
    "a broken url": wrong_value("url: {triton: 'a\n\n  b'}", "url is 'triton=a\\nb'", "KIND=HOST:PORT"),
}  # fmt: skip

FLAGS = {
    "unknown server kind": run("-s torchserve", "server is torchserve", "triton, tfserving, local, fake"),
    "unknown flag": run("--wrokers 4", "--wrokers", "--workers"),
    "unknown command": Row("rum", ["rum", "did you mean run"]),
    "unknown flag of the program": Row("--verbos", ["--verbos", "--version"]),
    "too many arguments": run("a.yaml b.yaml", "b.yaml"),
    "workers of zero": run("--workers 0", "workers is 0", "1 or more"),
    "negative concurrency": run("--concurrency -1", "concurrency is -1", "1 or more"),
    "rounds of zero": run("--rounds 0", "rounds is 0", "1 or more"),
    "requests of zero": run("--request-count 0", "request-count is 0", "1 or more"),
    "batches of zero": run("-b 0", "batch-size is 0", "1 or more"),
    "no deadline": run("--timeout 0", "timeout is 0.0", "above 0"),
    "endless seconds": run("--duration inf", "duration is inf", "at most 1000000"),
    "a negative warm-up": run("--warmup-request-count -1", "warmup-request-count is -1", "0 or more"),
    "a negative seed": run("--seed -1", "seed is -1", "0 or more"),
    "no instances": run("--instances 1,0", "instances is 1, 0", "1 or more"),
    "the same instances twice": run("--instances 2,2", "instances is 2, 2", "once"),
    "a model twice": run("-m a -m a", "model is a, a", "once"),
    "more than all": run("--max-error-rate 1.1", "max-error-rate is 1.1", "between 0 and 1"),
    "less than none": run("--max-error-rate -0.1", "max-error-rate is -0.1", "between 0 and 1"),
    "an unknown progress": run("--ui curses", "'--ui'", "'curses'", "'plain'"),
    "workers that are no number": run("--workers four", "--workers", "four", "integer"),
    "a million workers": run(f"--workers {10**9}", "workers is 1000000000", "at most 10000"),
    "endless batches": run(f"-b {10**9}", "batch-size is 1000000000", "at most 10000"),
    "endless lanes": run(f"--concurrency {10**7}", "concurrency is 10000000", "at most 1000"),
    "endless requests": run(f"--request-count {10**18}", "request-count is 1", "at most 1000000000"),
    "an endless seed": run(f"--seed {10**30}", "seed is 1", "at most 4294967295"),
    "endless digits": run(f"--seed {'9' * 4000}", "seed is '999", "at most 4294967295"),
    "more digits than a number has": run(f"--seed {'9' * 5000}", "--seed", "integer"),
    "an endless time": run("--timeout 1e300", "timeout is 1e+300", "at most 1000000"),
    "no time": run("--duration nan", "duration is nan", "above 0"),
    "no share": run("--max-error-rate nan", "max-error-rate is nan", "between 0 and 1"),
    "instances that are no numbers": run("--instances 1,two", "instances is 1,two", "such as 1,2"),
    "instances without end": run("--instances 1000000", "instances is 1000000", "at most 1000"),
    "a count and a time": run("--request-count 100 --duration 5", "duration is 5.0", "leave out"),
    "a rate and lanes": run("--request-rate 5 --concurrency 2", "request-rate is 5.0", "leave it out", "concurrency"),
    "no rate": run("--request-rate 0", "request-rate is 0.0", "above 0"),
    "a rate that is no number": run("--request-rate 5,fast", "request-rate is 5,fast", "such as 1,2"),
    "not a number for a rate": run("--request-rate nan", "request-rate is nan", "above 0"),
    "a rate twice": run("--request-rate 5,5", "request-rate is 5.0, 5.0", "once"),
    "an endless rate": run("--request-rate 1e6 --duration 1e6", "request-rate is 1000000.0", "10000000", "shorten"),
    "an unknown distribution": run("--request-rate 5 --request-distribution gamma", "request-distribution is gamma",
                                   "constant, poisson"),
    "a cap without a rate": run("--max-in-flight 5", "max-in-flight is 5", "request-rate"),
    "a distribution without a rate": run("--request-distribution constant", "request-distribution is constant",
                                         "request-rate"),
    "fewer lanes than workers": run("--request-rate 5 --workers 4 --max-in-flight 3", "max-in-flight is 3",
                                    "1 to 1000 per worker"),
    "fewer requests than workers": run("--request-rate 5 --workers 4 --request-count 3", "request-count is 3",
                                       "4 workers"),
    "an unknown memory": run("--shared-memory rdma", "shared-memory is rdma", "none, system, cuda"),
    "memory without Triton": run("--shared-memory system -s local -s fake", "shared-memory is system", "-s triton"),
    "memory of another host": run("--shared-memory system --url triton=203.0.113.1:8001", "shared-memory is system",
                                  "203.0.113.1:8001 is not on this host"),
    "a GPU of another host": run("--shared-memory cuda --url triton=203.0.113.1:8001", "shared-memory is cuda",
                                 "203.0.113.1:8001 is not on this host", "run on its host"),
    "nobody to calibrate with": run("--calibrate -s local", "calibrate is true", "-s triton"),
    "a quality above all": run("--signature predict_jpegs --jpeg-quality 101", "jpeg-quality is 101", "at most 100"),
    "a percentage of zero": run("--stability-percentage 0", "stability-percentage is 0.0", "above 0"),
    "no time to warm up": run("--warmup-timeout 0", "warmup-timeout is 0.0", "above 0"),
    "no time for a sign of life": run("--heartbeat-timeout 0.5", "heartbeat-timeout is 0.5", "1 or more"),
    "an unknown way out of a loss": run("--on-loss retry", "on-loss is retry", "continue, stop"),
    "more in flight than requests": run("--workers 4 --request-count 3", "request-count is 3", "4 workers x 1"),
    "instances of a server by url": run("--url triton=h:1 --instances 2", "instances is 2", "leave out one"),
    "a url of TensorFlow in process": run("--url local=h:1", "url is h:1", "no url"),
    "a certificate without its key": run(f"{BY_URL} --tls-ca system --tls-cert c", "tls-cert is c", "give tls-key too"),
    "a key without its certificate": run(f"{BY_URL} --tls-ca system --tls-key k", "tls-key is k", "give tls-cert too"),
    "a certificate without an authority": run(f"{BY_URL} --tls-cert c --tls-key k", "tls-cert is c", "tls-ca"),
    "a name without an authority": run(f"{BY_URL} --tls-server-name h", "tls-server-name is h", "tls-ca", "system"),
    "a name that no host has": run(f"{BY_URL} --tls-ca system --tls-server-name a:b", "tls-server-name is a:b", "host"),
    "TLS to a server of ours": run("-s local -s triton --tls-ca system", "tls-ca is system", "starts triton", "--url"),
    "TLS to none": run("-s local -s fake --tls-ca system", "tls-ca is system", "an already running server", "--url"),
    "an authority that is not there": run(f"{BY_URL} --tls-ca ca", "tls-ca is ca", "No such file", "name a PEM file"),
    "an authority that is a folder": run(f"{BY_URL} --tls-ca ca", "tls-ca is ca", "it is not a file", "name a PEM file",
                                         files={"ca": Path.mkdir}),
    "a long authority": run(f"{BY_URL} --tls-ca {LONG}", "tls-ca is xxx", "File name too long", "name a PEM file"),
    "an authority that is none": run(f"{BY_URL} --tls-ca ca", "tls-ca is ca", "no certificate", "name a PEM file",
                                     files={"ca": "hello"}),
    "an authority that is broken": run(f"{BY_URL} --tls-ca ca", "tls-ca is ca", "cannot be used", "name PEM files",
                                       files={"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
    "a locked key": run(f"{BY_URL} --tls-ca system --tls-cert c --tls-key k", "tls-key is k", "encrypted", "name one",
                        files={"c": "-----BEGIN CERTIFICATE-----", "k": "-----BEGIN ENCRYPTED PRIVATE KEY-----"}),
    "a header to a server of ours": run("-s triton -H x-tenant=demo", "header x-tenant", "starts triton", "--url"),
    "a header to none": run("-s fake -H x-tenant=demo", "header x-tenant", "an already running server", "--url"),
    "a header with capitals": run(f"{BY_URL} -H Authorization=$T", "header Authorization", "write authorization"),
    "a header of gRPC": run(f"{BY_URL} -H grpc-timeout=1S", "header grpc-timeout", "set by gRPC itself"),
    "a header that gRPC drops": run(f"{BY_URL} -H user-agent=me", "header user-agent", "set by gRPC itself"),
    "a binary header": run(f"{BY_URL} -H trace-bin=1", "header trace-bin", "-bin"),
    "a header twice": run(f"{BY_URL} -H a=1 -H a=2", "header a is given twice", "once"),
    "a header without a value": run(f"{BY_URL} -H authorization", "header is not KEY=VALUE", "-H 'authorization="),
    "a header without a variable's name": run(f"{BY_URL} -H x=5$", "header x", "$NAME", "$$"),
    "a header that is not ASCII": run(f"{BY_URL} -H x=ä", "header x", "printable ASCII"),
    "a header of no variable": run(f"{BY_URL} -H authorization=$RAYBENCH_NONE", "header authorization",
                                   "RAYBENCH_NONE, which is not set", "export it"),
    "a server twice": run("-s fake -s fake", "server is fake, fake", "once"),
    "a url twice": run("--url triton=h:1 --url triton=h:2", "triton=h:1, triton=h:2", "once"),
    "echo for TensorFlow": run("-m echo -s local", "model is echo", "-s triton"),
    "a name with a line break": flag("--name", "a\nb", "name is 'a\\nb'", "line breaks"),
    "a name with NUL": flag("--name", "a\0b", "name is 'a\\x00b'", "control characters"),
    "an escape in a signature": flag("--signature", "\x1b[2J", "signature is '\\x1b[2J'", "control characters"),
    "a long name": run(f"--name {LONG}", "name is 'xxx", "at most 80"),
    "a long signature": run(f"--signature {'ä' * 30}", "signature is ä", "at most 80"),
    "a path for a model": run("-m ../../etc/passwd", "model is ../../etc/passwd", "no saved_model.pb"),
    "two models in one": run("-m a,b", "model is a,b", "without commas"),
    "an empty model": flag("-m", "", "model is ''", "printable text"),
    "an empty out": flag("--out", "", "out is ''", "give text"),
    "a long out": run(f"--out {LONG} -s fake", "out is xxx", "File name too long", "another folder"),
    "an out that is a file": run("-s fake --out file/results", "out is file/results", "Not a directory", "another",
                                 files={"file": ""}),
    "an out that leads nowhere": run("-s fake --out link", "out is link", "another folder",
                                     files={"link": lambda path: path.symlink_to("absent")}),
    "an out that cannot be written": run("-s fake --out /proc/results", "out is /proc/results", "another folder"),
    "models that are a file": run("--models file", "models is file", "folder", files={"file": ""}),
    "a long models": run(f"--models {LONG}", "models is 'xxx", "folder"),
    "an address that is no host's": run("--server-bind 203.0.113.1", "server-bind is 203.0.113.1", "of this machine"),
    "an address that is no name": run("--server-bind a..b", "server-bind is a..b", "of this machine"),
    "a negative wait": run("--wait-for-workers -1", "wait-for-workers is -1.0", "seconds"),
    "a node without a name": flag("--server-node", "", "server-node is ''", "give text"),
    "a dashboard for a cluster": run("-s fake --address http://10.0.0.5:8265", "address is http://10.0.0.5:8265",
                                     "that is a dashboard's", "ray job submit", "`ray start` printed"),
    "more workers than memory": run("-s fake --workers 10000 --request-count 20000 -b 1",
                                    "workers is 10000", "600000 MiB", "8192 MiB are free", "use fewer"),
    "an unknown feed": run("--feed ftp", "feed is ftp", "preload, stream"),
    "a stream of what is there": run("--feed stream --shared-memory system", "feed is stream", "shared memory", "one"),
    "a shape without sizes": run("--shape ids", "shape is ids", "NAME:D,D"),
    "a shape of words": run("--shape ids:a,b", "shape is ids:a,b", "such as ids:16"),
    "a size of nothing": run("--shape ids:0", "shape is ids:0", "1 or more"),
    "a shape twice": run("--shape ids:1 --shape ids:2", "shape is ids:2", "once"),
    "a shape beyond memory": run("--shape ids:99999,99999", "shape is ids:99999,99999", "at most"),
    "a range of one": run("--range x:5", "range is x:5", "two numbers"),
    "a range upside down": run("--range x:5,1", "range is x:5,1", "above the low one"),
    "a range that is no number": run("--range x:0,nan", "range is x:0,nan", "two numbers"),
    "no letters": run("--string-length 0", "string-length is 0", "1 or more"),
    "a budget that is no size": run("--memory-budget lots", "memory-budget is lots", "such as 512MiB"),
    "a budget of nothing": run("--memory-budget 0MiB", "memory-budget is 0MiB", "such as 512MiB"),
    "an endless budget": run(f"--memory-budget {'9' * 4000}GiB", "memory-budget is '999", "such as 512MiB"),
    "images beyond their budget": run("-s fake --memory-budget 64MiB --request-count 100", "memory-budget is 64MiB",
                                      "100 requests", "115 MiB", "--feed stream"),
    "images of a rate beyond their budget": run("-s fake --memory-budget 64MiB --request-rate 10 --duration 10",
                                                "100 requests", "115 MiB", "--feed stream"),
    "a batch beyond its budget": run("-s fake --workers 4 --memory-budget 4MiB --duration 5", "4 requests", "5 MiB",
                                     "fewer"),
    "a stream beyond its budget": run("-s fake --workers 4 --memory-budget 16MiB --feed stream",
                                      "memory-budget is 16MiB", "4 requests in flight", "23 MiB", "give more"),
    "an open stream beyond its budget": run("-s fake --workers 4 -b 100 --feed stream --request-rate 5",
                                            "memory-budget is 1GiB", "256 requests in flight", "fewer in flight"),
    "a budget beyond memory": run("-s fake --feed stream --memory-budget 9GiB", "memory-budget is 9GiB",
                                  "8192 MiB are free", "less"),
    "larger batches than memory": run("-s fake --workers 4 -b 10000", "batch-size is 10000", "40000 items",
                                     "fewer items"),
}  # fmt: skip

PICTURES = {
    "images that are no folder": run("--images file", "images is file", "folder", files={"file": ""}),
    "images that are not there": run("--images absent", "images is absent", "'photos', 'noise'"),
    "a long images": run(f"--images {LONG}", "images is 'xxx", "folder"),
    "an empty folder": run("-s fake --images empty", "input is empty", "put images in it",
                           files={"empty": Path.mkdir}),
    "a folder without images": run("-s fake --images notes", "input is notes", "a.jpg in it is not a file",
                                   files={"notes/a.txt": "", "notes/a.jpg": Path.mkdir}),
}  # fmt: skip

MODELS = {
    "models.conf does not parse": models_conf("model_config_list {", "given/models.conf", "cannot be read", "1:"),
    "models.conf is binary": models_conf(b"\xff\xfe\0", "given/models.conf", "cannot be read"),
    "models.conf with a control character": models_conf("a\x1b[2J\n\0", "given/models.conf", "cannot be read"),
    "models.conf is a folder": Row("run -s local --models given", ["given/models.conf", "directory"],
                                   {"given/models.conf": Path.mkdir}),
    "models.conf with an unknown field": models_conf("models: 1", "given/models.conf", "models"),
    "models.conf names a model twice": models_conf(listed(entry("a"), entry("a")), "'a' is named twice", "one entry"),
    "models.conf names two in one": models_conf(listed(entry("a,b")), "'a,b'", "without commas"),
    "models.conf in UTF-16": models_conf(listed(entry("a")).encode("utf-16"), "given/models.conf", "save it as UTF-8"),
    "models.conf names a bucket": models_conf(listed(entry("a", base_path="s3://b/a")), "model 'a'", "s3://", "copy"),
    "models.conf of another platform": models_conf(listed('config { name: "a" base_path: "a" model_platform: "x" }'),
                                                   "model 'a' is of platform 'x'", "'tensorflow'"),
    "a version in two folders": Row("run -s local --models given -m a", ["model a", "1 twice, 001 and 1", "remove one"],
                                    {"given/models.conf": listed(entry("a")), "given/a/1/saved_model.pb": b"",
                                     "given/a/001/saved_model.pb": b""}),
    "models.conf names no folder": models_conf(listed(entry("a", base_path="")), "'a' has no base_path", "name its"),
    "models.conf names NUL": models_conf(listed(entry("a", base_path="\\0")), "no base_path", "'\\x00'", "name its"),
    "models.conf names a missing folder": models_conf(listed(entry("a")), "model a", "given/a", "base_path"),
    "models.conf names a file": models_conf(listed(entry("a", base_path="f")), "model a", "given/f", "base_path"),
    "models.conf names a long path": models_conf(listed(entry("a", base_path="x" * 300)), "model a", "base_path"),
    "models.conf is empty": models_conf("", "model is a", "no models", "ARCHITECTURE-no-opt"),
    "a version that is not there": models_conf(tiny("model_version_policy { specific { versions: 7 } }"),
                                               "model tiny", "version 7", "[1]", flags=TINY),
    "no version": models_conf(tiny("model_version_policy { specific {} }"), "'tiny' serves no version", flags=TINY),
    "the latest -1 versions": models_conf(tiny("model_version_policy { latest { num_versions: -1 } }"),
                                          "'tiny' serves the latest -1", "1 or more", flags=TINY),
    "unknown model": models_conf(tiny(), "model is tyni", "has tiny", "ARCHITECTURE-no-opt",
                                 flags="run -s local --models given -m tyni"),
    "unknown architecture": models_conf(tiny(), "model is resnet51-no-opt", "has tiny", "resnet50",
                                        flags="run -s local --models given -m resnet51-no-opt"),
    "a shape of no input": models_conf(tiny(), "shape is nope:3", "no input is called nope", "choose from",
                                       flags=f"{TINY} --shape nope:3"),
    "a range of no input": models_conf(tiny(), "range is nope:0,1", "no input is called nope", "choose from",
                                       flags=f"{TINY} --range nope:0,1"),
    "a range that pixels do not have": models_conf(tiny(), "it takes images UINT8", "--range says 0,256", "0 to 255",
                                                   flags=f"{TINY} --range images:0,256"),
    "strings for pixels": models_conf(tiny(), "string-data is hello", "no input takes strings", "leave it out",
                                      flags=f"{TINY} --string-data hello"),
    "unknown signature": models_conf(tiny(), "signature is predict_jpegs", "tiny has four, free, odd, predict_images, ",
                                     flags=f"{TINY} --signature predict_jpegs"),
    "a quality of pixels": models_conf(tiny(), "jpeg-quality is 75", "no signature of this run takes JPEG", "leave it",
                                       flags=f"{TINY} --jpeg-quality 75"),
    "a type that nobody sends": models_conf(tiny(), "signature is odd", "model tiny it takes wave DT_8", "cannot send",
                                            flags=f"{TINY} --signature odd"),
    "a size that is free": models_conf(tiny(), "signature is free", "x FP32 [-1, -1]", "--shape x:16",
                                       flags=f"{TINY} --signature free"),
    "a batch of what takes none": models_conf(tiny(), "batch-size is 2", "model tiny takes no batch", "leave it out",
                                              flags=f"{TINY} --signature single -b 2"),
    "another number of images": models_conf(tiny(), "batch-size is 2", "takes 4 items per request", "give 4",
                                            flags=f"{TINY} --signature four -b 2"),
    "a signature to choose": run("-s local -m ./pair", "model is pair", "signatures one, other", "--signature",
                                 files={"pair/saved_model.pb": pair}),
    "a plan without a signature": run("-s local -m ./pair --dry-run", "model is pair", "signatures one, other",
                                      files={"pair/saved_model.pb": pair}),
    "a folder that is not there": run("-s local -m ./absent", "model is ./absent", "no saved_model.pb", "name the"),
    "a folder without a SavedModel": run("-s local -m mine=./empty", "model is ./empty", "no saved_model.pb",
                                         files={"empty": Path.mkdir}),
    "a plan of a folder that is not there": run("-m ./absent --dry-run", "model is ./absent", "no saved_model.pb"),
    "two folders of one name": run("-m a/m -m b/m", "model is b/m", "a/m would be called m too", "-m NAME=b/m"),
    "a folder called echo": run("-m ./echo", "model is echo", "raybench has a model of that name", "-m NAME=./echo"),
    "a folder with a comma": run("-m ./a,b", "model is a,b", "without commas"),
    "a folder's name with a comma": run("-m a,b=./m", "model is a,b", "without commas"),
    "folders that are a list": yaml("saved_models: [./m]", "line 1", "saved_models is ['./m']", "{NAME: FOLDER}"),
    "a folder that is empty text": wrong_value("model: m\nsaved_models: {m: ''}", "saved-models is m: ''", "folder"),
    "a folder in the way of an export": run("-s local --models given", "model is efficientnetb0-no-opt", "move it",
                                            files={"given/efficientnetb0-no-opt": Path.mkdir}),
}  # fmt: skip

GOOD = {"ids": [1, 2, 3], "text": ["a"]}
FILES = "run -s local --models given -m tiny --signature rows"


def steps(*data: object, **more: object) -> str:
    """perf_analyzer's JSON."""
    return json.dumps({"data": list(data), **more})


def arrays(**columns: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        np.savez(path, **columns)

    return write


def parquet_table(**columns: list[Any]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        parquet.write_table(pa.table(columns), path)

    return write


def source(name: str, content: str | bytes | Callable[[Path], object], *said: str, flags: str = "") -> Row:
    """A file that is named by --input."""
    return named(f"--input {name} {flags}", f"input is {name}", *said, files={name: content})


def named(flags: str, *said: str, files: dict[str, Any] | None = None) -> Row:
    """Flags for a signature that takes ids INT64 [-1, 3] and text BYTES [-1]."""
    return Row(f"{FILES} {flags}", list(said), {"given/models.conf": tiny(), **(files or {})})


INPUTS = {
    "inputs that are not there": run("--input absent.npz", "input is absent.npz", "it does not exist", "random, zero"),
    "inputs of no known kind": source("notes.txt", "hello", "does not say what it holds", ".parquet", "folder"),
    "inputs at a scheme of nobody": run("--input nobody://bucket/a.csv", "input is nobody://bucket/a.csv",
                                        "cannot be read", "nobody"),
    "a password in the address of inputs": run("--input s3://me:pw@bucket/a.csv", "input is s3://...;", "password",
                                               "environment"),
    "a secret in the address of inputs": run("--input ids=https://host/a.csv?v=1&X-Amz-Signature=0f",
                                             "input is https://host/a.csv?...;", "X-Amz-Signature", "environment"),
    "inputs by both names": run("--input noise --images noise", "images is noise", "leave out one"),
    "an input that nobody takes": named("--input tokens=random", "input is tokens=random", "ids, text",
                                        "choose one of them"),
    "two sources for one input": named("--input ids=random --input ids=zero", "input is ids=random, ids=zero",
                                       "two sources", "NAME=SOURCE"),
    "two tables": named("--input a.csv --input ids=b.csv", "input is a.csv, ids=b.csv", "two tables", "join",
                        files={"a.csv": "ids", "b.csv": "ids"}),
    "an npz without an input's key": source("a.npz", arrays(ids=np.zeros((2, 3), int)), "no array text", "it has ids",
                                            "--input text=random"),
    "an npz of objects": source("a.npz", arrays(ids=np.array([None])), "allow_pickle", "save numbers or text"),
    "a file named npz that is text": source("a.npz", "hello", "not a readable array file", "save numbers or text"),
    "an npz of another rank": source("a.npz", arrays(ids=np.zeros((2, 2, 2), int), text=["a", "b"]),
                                     "none of its 2 rows fits", "ids has shape [2, 2], but an item has [3]"),
    "an npz whose arrays differ in length": source("a.npz", arrays(ids=np.zeros((2, 3), int), text=["a"]),
                                                   "different numbers of items", "ids 2, text 1"),
    "an npy without a name": source("a.npy", lambda path: np.save(path, np.zeros((2, 3))), "write --input ids=a.npy"),
    "steps that are no JSON": source("a.json", "{", "it is not JSON", ".jsonl"),
    "an empty JSON": source("a.json", "", "it is not JSON"),
    "a JSON without data": source("a.json", "{}", "no list 'data'", "perf_analyzer"),
    "no steps": source("a.json", steps(), "it has no rows"),
    "steps among streams": source("a.json", steps(GOOD, [GOOD]), "data mixes steps and streams"),
    "steps that are no objects": source("a.json", steps(1), "neither steps nor streams"),
    "a step of an unknown input": source("a.json", steps({**GOOD, "txet": ["a"]}), "it has txet", "ids, text"),
    "a step without an input": source("a.json", steps({"ids": [1, 2, 3]}), "its only row does not fit", "has no text"),
    "NaN for an integer": source("a.json", '{"data": [{"ids": [1, NaN, 3], "text": ["a"]}]}', "ids has nan",
                                 "INT64 takes whole numbers"),
    "a fraction for an integer": source("a.json", steps({**GOOD, "ids": [1, 2, 3.5]}), "ids has 3.5", "whole numbers"),
    "a number beyond its type": source("a.json", steps({**GOOD, "ids": [1, 2, 2**63]}), "ids has",
                                       "INT64 does not hold"),
    "a number for a text": source("a.json", steps({**GOOD, "text": [7]}), "text has 7, but it takes text"),
    "ragged rows": source("a.json", steps({**GOOD, "ids": [[1], [2, 3]]}), "ids is ragged"),
    "b64 of the wrong length": source("a.json", steps({**GOOD, "ids": {"b64": "AAAA"}}), "3 bytes", "INT64"),
    "b64 that is invalid": source("a.json", steps({**GOOD, "ids": {"b64": "A"}}), "b64 that does not decode"),
    "a shape of another rank": source("a.json", steps({**GOOD, "ids": {"content": [1, 2, 3], "shape": [1, 2, 3]}}),
                                      "ids has shape [1, 2, 3], but an item has [3]"),
    "validation of another length": source("a.json", steps(GOOD, validation_data=[]), "validation_data", "as data"),
    "validation of an unknown output": source("a.json", steps(GOOD, validation_data=[{"y": [1]}]),
                                              "validation_data has y", "logits"),
    "a table without a column": source("a.csv", "ids\n1\n", "it has no column text", "it has ids",
                                       "--input text=random"),
    "an empty table": source("a.csv", "", "cannot be read", "Empty CSV"),
    "rows that are all null": source("a.parquet", parquet_table(ids=[None, None], text=["a", "b"]),
                                     "none of its 2 rows fits", "row 0: ids is null"),
    "rows of another length": source("a.parquet", parquet_table(ids=[[1], [1, 2]], text=["a", "b"]),
                                     "none of its 2 rows fits", "ids has shape [1], but an item has [3]"),
    "a file named parquet that is text": source("a.parquet", "hello", "cannot be read", "Parquet"),
    "JSON Lines of no objects": source("a.jsonl", "[1]\n2\nx\n", "none of its 3 rows fits", "not a JSON object"),
    "no JSON Lines": source("a.jsonl", "\n", "it has no rows"),
    "a file named tfrecord that is text": source("a.tfrecord", "hello, this is no record", "not a TFRecord file"),
    "files of several kinds": named("--input both", "input is both", "several kinds", "separate them",
                                    files={"both/a.csv": "ids,text", "both/b.jsonl": "{}"}),
    "a raw file of another length": named("--input raw", "input is raw", "ids has 8 bytes", "takes 24 bytes",
                                          files={"raw/ids": bytes(8), "raw/text": "a"}),
    "a raw file of nobody": named("--input raw", "input is raw", "it has other", "ids, text",
                                  files={"raw/ids": bytes(24), "raw/text": "a", "raw/other": ""}),
    "an empty folder of inputs": source("nothing", Path.mkdir, "it is empty", "a raw file named like each input"),
}  # fmt: skip

OTHERS = {
    "serve without models.conf": Row("serve triton --port 0 --models absent", ["absent/models.conf", "No such file"]),
    "serve with a broken models.conf": models_conf("{", "given/models.conf", "cannot be read", flags=SERVE),
    "serve with an empty models.conf": models_conf("", "models is given", "no models", "export some", flags=SERVE),
    "serve a model that is not there": models_conf(tiny(), "model is b", "given/models.conf has tiny", "choose from",
                                                   flags=f"{SERVE} -m b"),
    "serve a folder that is not there": Row("serve triton --port 0 -m ./absent", ["model is ./absent", "no saved_mod"]),
    "serve two folders of one name": Row("serve tfserving -m a/m -m b/m", ["model is b/m", "a/m", "-m NAME=b/m"]),
    "serve a missing folder": models_conf(listed(entry("a")), "model a", "base_path", flags=SERVE),
    "serve at no address": models_conf(tiny(), "server-bind is 203.0.113.1", "of this machine",
                                       flags=f"{SERVE} --server-bind 203.0.113.1"),
    "serve no instances": Row(f"{SERVE} --instances 0", ["--instances", "0", "1<=x"]),
    "serve a delay without merging": Row(f"{SERVE} --merge-max 1 --merge-delay 500",
                                         ["merge-delay is 500", "no server here merges", "2 or more"]),
    "serve TF Serving with a delay alone": Row("serve tfserving --merge-delay 5", ["merge-delay is 5", "2 or more"]),
    "serve TF Serving with merging twice": Row("serve tfserving --merge-max 8 --batching-file empty",
                                               ["merge-max is 8", "batching-file is empty", "leave out one"],
                                               {"empty": ""}),
    "a delay without merging": run("-s triton --merge-max 1 --merge-delay 500", "merge-delay is 500", "2 or more"),
    "mergers without merging": run("-s triton -s tfserving --merge-threads 2", "merge-threads is 2", "2 or more"),
    "serve at no port": Row(f"{SERVE} --port 70000", ["--port", "70000", "65535"]),
    "serve with NUL": Row(["serve", "triton", "--models", "a\0"], ["--models", "'a\\x00'", "printable"]),
    "serve TF Serving without models.conf": Row("serve tfserving --models absent", ["absent/models.conf", "No such"]),
    "serve nothing where others serve": listener("silence", "absent/models.conf", "No such file",
                                                 flags="serve triton --models absent --port {port}"),
    "serve where others serve": Row("serve triton --models given --port {port}", ["port is ", "name another"],
                                    {"given/models.conf": tiny()}, "silence"),
    "serve with no batching file": Row("serve tfserving --batching-file absent", ["--batching-file", "'absent'"]),
    "serve another": Row("serve torchserve", ["'torchserve'"]),
    "export an unknown architecture": Row("export resnet51", ["'resnet51'", "resnet50"]),
    "export an unknown variant": Row("export resnet50 --variants fp8", ["'fp8'", "no-opt, xla-amp"]),
    "export with a negative seed": Row("export resnet50 --seed -1", ["--seed", "-1", "0<=x"]),
    "export with an endless seed": Row(f"export resnet50 --seed {10**30}", ["--seed", "x<=4294967295"]),
    "export into a file": Row("export mobilenet --out file/x", ["out is file/x", "Not a directory", "another folder"],
                              {"file": ""}),
    "report nothing": Row("report absent", ["DIR", "'absent'", "does not exist"]),
    "report a file": Row("report file", ["DIR", "'file'", "is a file"], {"file": ""}),
    "report another folder": Row("report other", ["other", "not a results folder", "environment.json"],
                                 {"other": Path.mkdir}),
    "report half a file": Row("report other", ["other", "not a results folder"], {"other/environment.json": "{"}),
    "report an older schema": Row("report other", ["other", "an older schema"],
                                  {"other/environment.json": "{}", "other/trials/a.json": '{"schema_version": 0}'}),
    "report in an unknown format": Row("report other --format pdf", ["'pdf'", "'markdown'"], {"other": Path.mkdir}),
}  # fmt: skip

URLS = {
    "a url without a port": run("--url triton=localhost", "url is triton=localhost", "KIND=HOST:PORT"),
    "a url without a kind": run("--url 127.0.0.1:8001", "url is 127.0.0.1:8001", "KIND=HOST:PORT"),
    "a port that is none": run("--url triton=h:70000", "url is triton=h:70000", "KIND=HOST:PORT"),
    "a scheme": run("--url triton=ftp://h:8000", "url is triton=ftp://h:8000", "KIND=HOST:PORT"),
    "a protocol without its port": run("--url triton=h:8001 --protocol http", "protocol is http", "http://HOST:PORT"),
    "a protocol of another server": run("-s triton --protocol http-columns", "protocol is http-columns", "leave"),
    "a client of nothing": run("-s triton --protocol http --client grpcio", "client is grpcio", "--protocol grpc"),
    "a script that is none": run("--url fake=speed=9", "url fake=speed=9", "'speed=9'", "service_ms"),
    "an endless url": run(f"--url triton={LONG}:1", "url is 'triton=xxx", "KIND=HOST:PORT"),
    "an unknown host": run("-s triton --url triton=no-such-host.invalid:1", "url triton=no-such-host.invalid:1",
                           "nothing to connect to", "name the gRPC port"),
    "a host that cannot be": run("-s triton --url triton=a..b:1", "url triton=a..b:1", "nothing to connect to"),
    "a closed port": listener("closed", *NO_TRITON, "Connection refused"),
    "HTTP/1": listener("http", *NO_TRITON, "an HTTP server, not a gRPC one"),
    "TLS": listener("tls", "url triton=127.0.0.1:", "no Triton answers", "wants TLS", "--tls-ca"),
    "SSH": listener("ssh", *NO_TRITON, "'SSH-2.0-none'"),
    "silence": listener("silence", *NO_TRITON, "says nothing"),
    "hanging up": listener("hanging up", *NO_TRITON, "says nothing"),
    "noise": listener("noise", *NO_TRITON, "something that says"),
    "another gRPC server": listener("grpc", "url triton=127.0.0.1:", "it is not Triton", "name the gRPC port"),
    "Triton's HTTP port": listener("triton http", *NO_TRITON, "an HTTP server, not a gRPC one"),
    "an unknown model of Triton": listener("triton", "'tyni'", "scale",
                                           flags="run --url triton={port} -s triton -m tyni"),
    "an unknown signature of Triton": listener(
        "triton", "'predict'", "predict_images",
        flags="run --url triton={port} -s triton -m mobilenet-no-opt --signature predict"),
    "TF Serving at a closed port": listener(
        "closed", "url tfserving=127.0.0.1:", "no TF Serving answers", "refused", "name the gRPC port",
        flags="run -s tfserving --url tfserving=127.0.0.1:{port}"),
    "TF Serving at Triton": listener("triton", "url tfserving=", "it is not TF Serving", "name the gRPC port",
                                     flags="run -s tfserving --url tfserving={port}"),
    "Ray at a closed port": listener("closed", "address is 127.0.0.1:", "no Ray answers", "refused", "ray start",
                                     flags="run -s fake --address 127.0.0.1:{port}"),
    "Ray at another gRPC server": listener("grpc", "address is 127.0.0.1:", "no Ray answers", "another kind",
                                           flags="run -s fake --address 127.0.0.1:{port}"),
    "Ray at HTTP/2 and no more": listener("http2", "address is 127.0.0.1:", "no Ray answers within", "ray start",
                                          flags="run -s fake --address 127.0.0.1:{port}"),
    "Ray's client server at HTTP/2": listener("http2", "address is ray://127.0.0.1:", "no Ray answers within",
                                              flags="run -s fake --address ray://127.0.0.1:{port}"),
    "Triton at HTTP/2 and no more": listener("http2", "url triton=127.0.0.1:", "no Triton answers", "name the gRPC"),
    "Ray with a token": listener("token", "address is 127.0.0.1:", "wants a token", "RAY_AUTH_TOKEN", "get-auth-token",
                                 flags="run -s fake --address 127.0.0.1:{port}"),
    "Ray at an HTTP server": listener("http", "address is ray://127.0.0.1:", "no Ray answers", "HTTP", "ray start",
                                      flags="run -s fake --address ray://127.0.0.1:{port}"),
}  # fmt: skip

ROWS = YAML | FLAGS | PICTURES | INPUTS | MODELS | OTHERS | URLS


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Any:
    """The session's Triton where the row asks for it: started before `nothing_starts` forbids it."""
    row = request.node.callspec.params.get("row") if hasattr(request.node, "callspec") else None
    return request.getfixturevalue("triton") if row and row.listener.startswith("triton") else None


@pytest.fixture(autouse=True)
def nothing_starts(running: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """An empty folder, 8 GiB of memory, and neither Ray nor a server to be had."""

    def starts(*_: object, **__: object) -> NoReturn:
        pytest.fail("something was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("raybench.driver.session.connected", starts)
    monkeypatch.setattr("raybench.servers.triton_server.ServerProcess", starts)
    monkeypatch.setattr("raybench.servers.tfserving_server.ServerProcess", starts)
    monkeypatch.setattr("raybench.clients.grpc.channel.DESCRIBE_TIMEOUT_S", 3.0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=FREE_BYTES, total=FREE_BYTES))
    monkeypatch.setattr(host_limits, "cgroups", lambda _: iter(()))
    monkeypatch.setattr(cli, "install_signal_handlers", lambda: None)
    monkeypatch.setattr(measure_and_report, "measure_watched", in_place)  # pytest has threads, and is not to be forked


def in_place(work: Callable[[Tell], Outcome], *_: object, **__: object) -> tuple[Outcome, Reached]:
    """Measures in this process."""
    return work(lambda _: None), Reached()


def refusal(arguments: list[str]) -> str:
    """The one line that the command prints to stderr and exits with 2, having left no file."""
    before = there()
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2, result.output + repr(result.exception)
    *progress, line = result.stderr.splitlines()
    assert [line for line in progress if not re.match(r"\[ +\d|exporting |starting ", line)] == []
    assert line.startswith("Error: ")
    assert line.isprintable()
    assert len(line) < (1500 if max(map(len, arguments)) < 1000 else 6000)
    assert there() == before
    return line


def there() -> dict[Path, int]:
    """Every file below this folder, and when it was changed."""
    return {path: path.lstat().st_mtime_ns for path in Path().rglob("*")}


@pytest.mark.parametrize("row", [pytest.param(row, id=name.replace(" ", "-")) for name, row in ROWS.items()])
def test_bad_input(row: Row, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Wrong input is told in one sentence with field, value and remedy; nothing starts, and nothing is written."""
    saved_model(tmp_path / "given" / "tiny" / "1", *SIGNATURES)
    (tmp_path / "given" / "f").write_text("")
    for name, content in row.files.items():
        make(tmp_path / name, content)
    with listening(row.listener, request) as port:
        arguments = row.arguments.split() if isinstance(row.arguments, str) else row.arguments
        line = refusal([argument.replace("{port}", port) for argument in arguments])
    assert [part for part in row.said if part not in line] == [], line


SECRET = "5Ecr3t"
SPILLS = [
    ["-H", f"authorization=Bearer {SECRET}"],
    ["-H", f"authorization={SECRET}"],
    ["-H", f"authorization: Bearer {SECRET}"],
    ["-H", f"authorization:{SECRET}=="],
    ["-H", f"Authorization={SECRET}"],
    ["-H", f"{SECRET}=="],
    ["-H", f"Bearer {SECRET}=="],
    ["-H", f"x-api-key={SECRET}"],
    ["-H", f"cookie=id={SECRET}"],
    ["-H", f"x-user=Basic {SECRET}"],
    ["-H", f"authorization=Bearer {SECRET}$HOME"],
    ["-H", f"x-user={SECRET}$"],
    ["-H", f"grpc-x={SECRET}"],
    ["-H", "authorization=Bearer", SECRET],  # a variable without quotes
]


@pytest.mark.parametrize("flags", SPILLS, ids=" ".join)
def test_a_secret_on_the_command_line_is_refused_unseen(flags: list[str]) -> None:
    """A header's value that may be a secret is refused, for the results would keep it; and the refusal hides it."""
    line = refusal(["run", *BY_URL.split(), *flags])
    assert "header" in line
    assert SECRET not in line


@pytest.mark.parametrize("text", [f"{{authorization: {SECRET}}}", f"Bearer {SECRET}", f"[{SECRET}]", "{x-user: 57351}"])
def test_a_secret_in_a_yaml_is_refused_unseen(text: str) -> None:
    """So is one in a YAML."""
    Path("nightly.yaml").write_text(f"url: {{triton: 'h:1'}}\nserver: triton\nheader: {text}\n")
    line = refusal(["run", "nightly.yaml"])
    assert "header" in line
    assert SECRET not in line
    assert "57351" not in line


@pytest.mark.parametrize("command", ["run -s fake -s triton", "serve triton --port 0 --models given"])
@pytest.mark.parametrize(
    ("part", "found", "said"),
    [
        ("glibc_problem", ("glibc", "2.31"), ["glibc 2.31", "2.35 or newer", "newer system"]),
        ("glibc_problem", ("", ""), ["C library is unknown", "2.35 or newer", "newer system"]),
        ("numpy_problem", "2.1.0", ["numpy is 2.1.0", "pip install 'numpy<2'"]),
        ("numpy_problem", None, ["numpy is missing", "pip install 'numpy<2'"]),
        ("libpython_problem", None, ["no shared library", "libpython3.", "--enable-shared"]),
    ],
)
def test_unsupported_machine(
    part: str, found: Any, said: list[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which Triton's wheel would fail or garble data is refused, though other servers could run."""
    monkeypatch.setattr(wheel, "installed", lambda: Path("tritonserver"))
    for name, sound in (
        ("glibc_problem", ("glibc", "2.36")),
        ("numpy_problem", "1.26.4"),
        ("libpython_problem", Path("lib")),
    ):
        verdict = getattr(wheel, name)(found if name == part else sound)
        monkeypatch.setattr(wheel, name, lambda _, verdict=verdict: verdict)
    line = refusal(command.split())
    assert [word for word in ["server is triton", *said] if word not in line] == [], line


def test_the_memory_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container leaves of a host's memory is what a run may take, as doctor says too."""
    monkeypatch.setattr(host_limits, "cgroups", lambda _: iter([Path("box")]))
    monkeypatch.setattr(host_limits, "memory_left", lambda _: 64 * 2**20)
    assert "64 MiB are free" in refusal(["run", "-s", "fake", "-b", "500", "--workers", "1"])


def test_full_disk(tmp_path: Path) -> None:
    """A disk without room for a run's first megabyte is told before anything starts."""
    with small_disk(tmp_path / "small", "512k"):
        line = refusal(["run", "-s", "fake", "--out", "small/results"])
    assert "out is small/results" in line
    assert "No space left on device" in line
    assert "make room" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", 9], ["workers is 9", "8 free CPUs of 8", "at most 8"]),
        (["--images", "pictures"], ["images is pictures", "none of its 2 files", "broken.jpg", "name a folder"]),
    ],
)
def test_what_ray_knows(flags: list[object], said: list[str], ray_environment: dict[str, str], tmp_path: Path) -> None:
    """What only a cluster can tell, such as too few CPUs, is told before load is sent and a results folder is made."""
    for name in ("broken.jpg", "other.png"):
        make(tmp_path / "pictures" / name, b"no picture")
    done = raybench("run", "-s", "fake", *flags, cwd=tmp_path, env=ray_environment)
    assert done.code == 2, done.out
    line = done.err.splitlines()[-1]
    assert [part for part in said if part not in line] == [], line
    assert "Traceback" not in done.err
    assert not (tmp_path / "results").exists()


def make(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def listening(name: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a listener of that name is: a port, or HOST:PORT of a real Triton."""
    if name == "triton":
        yield request.getfixturevalue("triton").url
    elif name == "triton http":
        yield request.getfixturevalue("triton").http_url.rpartition(":")[2]
    elif name in ("grpc", "token"):
        server = grpc.server(ThreadPoolExecutor(1), handlers=[LetsNobodyIn()] if name == "token" else [])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield str(port)
        server.stop(0)
    elif name == "tls":
        with talking(tls(request.getfixturevalue("tmp_path_factory").mktemp("certificate"))) as port:
            yield port
    elif name in TALKS:
        with talking(TALKS[name]) as port:
            yield port
    else:  # a port that is ours for as long as we are bound to it, and nobody's to connect to
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            yield str(held.getsockname()[1])


@contextmanager
def talking(talk: Talk) -> Iterator[str]:
    """A TCP server that says to each client what `talk` says."""
    ended = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            talk(client, ended)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield str(server.getsockname()[1])
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()


class LetsNobodyIn(grpc.GenericRpcHandler):
    """What a Ray says to who has not its token."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
            return bytes(context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken"))

        return grpc.unary_unary_rpc_method_handler(refuse)


def settings(client: socket.socket, ended: threading.Event) -> None:
    client.sendall(b"\0\0\0\x04\0\0\0\0\0")  # an empty SETTINGS frame
    ended.wait()


def says(answer: bytes) -> Talk:
    def talk(client: socket.socket, _: threading.Event) -> None:
        client.recv(1000)
        client.sendall(answer)

    return talk


def banner(client: socket.socket, ended: threading.Event) -> None:
    client.sendall(b"SSH-2.0-none\r\n")
    ended.wait()


def tls(folder: Path) -> Talk:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signed = Authority(folder).signed("server", "localhost")
    context.load_cert_chain(signed.certificate, signed.key)

    def talk(client: socket.socket, _: threading.Event) -> None:
        with suppress(ssl.SSLError), context.wrap_socket(client, server_side=True) as secured:
            secured.recv(1000)

    return talk


TALKS: dict[str, Talk] = {
    "http": says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "ssh": banner,
    "noise": says(b"\x1b[2J\x00\xff\r\n\x07"),
    "http2": settings,
    "silence": lambda _, ended: ended.wait(),
    "hanging up": lambda client, _: client.close(),
}
