"""Does the client work through proxies, and what does it cost there? Each proxy of Debian, beside grpcio.

    python tests/interop/proxies.py [--only haproxy] [--calls 40] [--rounds 3] [--images 1,100]

A small gRPC server stands behind nginx, HAProxy and nghttpx (`make proxies` installs them), in plain text and over TLS,
with one stream a connection and with small windows. Every client sends so many requests of so many images of
224x224x3, one after the other, from a process of its own. Prints a Markdown table: failed calls, and the CPU time of
the client and the time a call, medians over the rounds. Exits 1 where a call failed.

What TLS costs raybench depends on the OpenSSL of this Python: since 3.1 it encrypts twice as fast on CPUs with AVX-512
(VAES; openssl/openssl#17239).
"""

import argparse
import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc

sys.path.append(str(Path(__file__).parents[1] / "support"))
from certificates import Authority

from raybench.clients.grpc.channel import OPTIONS
from raybench.clients.grpc.connection_credentials import ConnectionCredentials, Tls
from raybench.clients.grpc.unary import UnaryCalls
from raybench.processes import stop_supervised, supervised
from raybench.servers.server_process import free_ports

PATH, ANSWER = "/interop.Echo/Size", b"taken"
IMAGE_BYTES = 224 * 224 * 3
START_S, CALL_S, CLIENT_S, STOP_S = 20.0, 30.0, 120.0, 2.0
CLIENTS = ("raybench", "grpcio")


@dataclass(frozen=True)
class Place:
    """Where a proxy listens, what stands behind it, and the folder with its files."""

    port: int
    upstream: int
    folder: Path

    @property
    def pem(self) -> Path:
        return self.folder / "both.pem"


def nginx(listen: str, extra: str = "") -> Callable[[Place], list[str]]:
    """nginx in the foreground, with a folder of its own."""

    def command(place: Place) -> list[str]:
        config = f"""
            daemon off; master_process off; pid {place.folder}/nginx.pid; error_log {place.folder}/log;
            events {{ }}
            http {{
              access_log off; client_max_body_size 0; client_body_temp_path {place.folder}/body;
              {"".join(f"{kind}_temp_path {place.folder}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))}
              server {{
                listen 127.0.0.1:{place.port} {listen};
                ssl_certificate {place.pem}; ssl_certificate_key {place.pem};
                {extra}
                location / {{ grpc_pass grpc://127.0.0.1:{place.upstream}; }}
              }}
            }}"""
        (place.folder / "nginx.conf").write_text(config)
        return ["nginx", "-p", f"{place.folder}", "-e", f"{place.folder}/log", "-c", f"{place.folder}/nginx.conf"]

    return command


def haproxy(bind: str, tune: str = "") -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        config = f"""
global
    {tune}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen grpc
    bind 127.0.0.1:{place.port} {bind.format(pem=place.pem)}
    server upstream 127.0.0.1:{place.upstream} proto h2
"""
        (place.folder / "haproxy.cfg").write_text(config)
        return ["haproxy", "-db", "-f", str(place.folder / "haproxy.cfg")]

    return command


def nghttpx(tls: bool, *flags: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        frontend = f"--frontend=127.0.0.1,{place.port}" + ("" if tls else ";no-tls")
        files = [str(place.pem), str(place.pem)] if tls else []
        backend = f"--backend=127.0.0.1,{place.upstream};;proto=h2"
        return ["nghttpx", "--conf=/dev/null", "--workers=1", frontend, backend, *flags, *files]

    return command


@dataclass(frozen=True)
class Proxy:
    """A set-up of a proxy: how it is started, and whether it wants TLS."""

    program: str
    command: Callable[[Place], list[str]]
    is_tls: bool = False


PROXIES = {
    "nginx": Proxy("nginx", nginx("http2")),
    "nginx, 1 stream": Proxy("nginx", nginx("http2", "http2_max_concurrent_streams 1;")),
    "nginx, TLS": Proxy("nginx", nginx("ssl http2"), is_tls=True),
    "HAProxy": Proxy("haproxy", haproxy("proto h2")),
    "HAProxy, 1 stream, windows of 1024 bytes": Proxy(
        "haproxy", haproxy("proto h2", "tune.h2.initial-window-size 1024\n    tune.h2.max-concurrent-streams 1")
    ),
    "HAProxy, TLS": Proxy("haproxy", haproxy("ssl crt {pem} alpn h2"), is_tls=True),
    "nghttpx": Proxy("nghttpx", nghttpx(False)),
    "nghttpx, TLS, 1 stream": Proxy("nghttpx", nghttpx(True, "--frontend-http2-max-concurrent-streams=1"), is_tls=True),
}


@contextmanager
def upstream() -> Iterator[int]:
    """The port of a gRPC server in a process of its own, which answers whatever it is asked."""
    process = subprocess.Popen(supervised([sys.executable, __file__, "--serve"]), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        stop_supervised(process, STOP_S)


@contextmanager
def running(proxy: Proxy, upstream_port: int, authority: Authority) -> Iterator[str]:
    """The url of a proxy that serves, in a folder and a process group of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(free_ports(1)[0], upstream_port, Path(folder))
        place.pem.write_bytes(b"".join(authority.signed("proxy", "localhost").pem))
        with (place.folder / "out").open("wb") as out:
            process = subprocess.Popen(supervised(proxy.command(place)), stdout=out, stderr=out)
        try:
            _wait_until_it_listens(place, process)
            yield f"{'localhost' if proxy.is_tls else '127.0.0.1'}:{place.port}"
        finally:
            stop_supervised(process, STOP_S)


def _wait_until_it_listens(place: Place, process: subprocess.Popen) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", place.port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args} does not serve: {(place.folder / 'out').read_text()}")


@dataclass(frozen=True)
class Outcome:
    """What became of some calls of one client."""

    failed: list[str]
    cpu_ms: float  # of the client, a call
    wall_ms: float  # a call


def measure(client: str, url: str, ca: Path | None, images: int, calls: int) -> Outcome:
    """Calls from a process of its own, so that its CPU time is the client's."""
    command = [sys.executable, __file__, "--client", client, url, str(ca or ""), str(images), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_S, check=False)
    assert done.returncode == 0, done.stderr
    return Outcome(**json.loads(done.stdout))


def _serve() -> None:
    def answer(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        return ANSWER

    class Handler(grpc.GenericRpcHandler):
        def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(4), handlers=(Handler(),), options=OPTIONS)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def _send(client: str, url: str, ca: str, images: str, calls: str) -> None:
    """What a client's process does: a few calls to warm up, and those that count."""
    body, failed = os.urandom(int(images) * IMAGE_BYTES), list[str]()
    gc.disable()  # as it is in a worker while it sends
    with ExitStack() as stack:
        call = _raybench(url, ca, stack) if client == "raybench" else _grpcio(url, ca, stack)
        failed += filter(None, (call(body) for _ in range(3)))
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        failed += filter(None, (call(body) for _ in range(int(calls))))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    print(json.dumps({"failed": failed, "cpu_ms": cpu_s / int(calls) * 1e3, "wall_ms": wall_s / int(calls) * 1e3}))


def _raybench(url: str, ca: str, stack: ExitStack) -> Callable[[bytes], str | None]:
    credentials = ConnectionCredentials(tls=Tls(ca=Path(ca).read_bytes()) if ca else None)
    method = stack.enter_context(closing(UnaryCalls(url, credentials))).method(PATH)

    def call(body: bytes) -> str | None:
        reply = method(body, CALL_S)
        return None if reply.body == ANSWER else f"{reply.status}: {reply.error}"

    return call


def _grpcio(url: str, ca: str, stack: ExitStack) -> Callable[[bytes], str | None]:
    tls = grpc.ssl_channel_credentials(Path(ca).read_bytes()) if ca else None
    made = grpc.secure_channel(url, tls, options=OPTIONS) if tls else grpc.insecure_channel(url, options=OPTIONS)
    method = stack.enter_context(closing(made)).unary_unary(PATH)

    def call(body: bytes) -> str | None:
        try:
            return None if method(body, timeout=CALL_S) == ANSWER else "another answer"
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    return call


def _matrix(options: argparse.Namespace) -> bool:
    """Print the table; whether no call failed."""
    print(f"TLS of raybench: {ssl.OPENSSL_VERSION}; grpcio brings its own\n")
    print(
        "| through | images | "
        + " | ".join(f"{name}: CPU, time, failed" for name in CLIENTS)
        + " | CPU ratio | time ratio |"
    )
    print("|---" * (4 + len(CLIENTS)) + "|")
    failures = 0
    with tempfile.TemporaryDirectory() as folder, upstream() as port:
        authority = Authority(Path(folder))
        for name, proxy in {"nothing": None, **PROXIES}.items():
            if options.only and options.only not in name:
                continue
            if proxy and not shutil.which(proxy.program):
                print(f"| {name}: not installed: make proxies |")
                continue
            with ExitStack() as stack:
                url = stack.enter_context(running(proxy, port, authority)) if proxy else f"127.0.0.1:{port}"
                ca = authority.certificate if proxy and proxy.is_tls else None
                for images in map(int, options.images.split(",")):
                    calls = options.calls * (10 if images < 10 else 1)
                    seen: dict[str, list[Outcome]] = {client: [] for client in CLIENTS}
                    for _ in range(options.rounds):
                        for client in CLIENTS:
                            seen[client].append(measure(client, url, ca, images, calls))
                    cpu_ms = {client: median(each.cpu_ms for each in all_) for client, all_ in seen.items()}
                    wall_ms = {client: median(each.wall_ms for each in all_) for client, all_ in seen.items()}
                    failed = {client: sum(len(each.failed) for each in all_) for client, all_ in seen.items()}
                    failures += failed["raybench"]
                    cells = " | ".join(
                        f"{cpu_ms[client]:.2f} ms, {wall_ms[client]:.2f} ms, {failed[client]}" for client in CLIENTS
                    )
                    ratios = " | ".join(f"{each['raybench'] / each['grpcio']:.2f}" for each in (cpu_ms, wall_ms))
                    print(f"| {name} | {images} | {cells} | {ratios} |", flush=True)
    return failures == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="set-ups with this in their name")
    parser.add_argument("--calls", type=int, default=40, help="of 100 images; of 1 image 10 times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", default="1,100")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve()
    elif options.client:
        _send(*options.client)
    else:
        sys.exit(not _matrix(options))


if __name__ == "__main__":
    main()
