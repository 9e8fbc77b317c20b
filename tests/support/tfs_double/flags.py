"""The command line of tensorflow_model_server, as far as the double knows it; no TensorFlow in here."""

import os
import sys

# tensorflow_serving/model_servers/main.cc at tag 2.20.0, those of use here
KNOWN = {
    "port", "grpc_socket_path", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms", "enable_batching",
    "batching_parameters_file", "enable_per_model_batching_parameters", "model_config_file",
    "model_config_file_poll_wait_seconds", "num_load_threads", "max_num_load_retries", "load_retry_interval_micros",
    "file_system_poll_wait_seconds", "tensorflow_session_parallelism", "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "per_process_gpu_memory_fraction",
    "grpc_channel_arguments", "grpc_max_threads", "enable_model_warmup", "monitoring_config_file",
    "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled", "enable_grpc_healthcheck_service",
    "enable_serialization_as_tensor_content",
}  # fmt: skip
VERSION, TENSORFLOW = "double-2.20.0", "2.20.0"


def read(words: list[str], known: set[str]) -> dict[str, str]:
    """Values by flag; ends the process as the real one does for --help and --version.

    What it does not know it prints, with its usage, and goes on without.
    """
    if "--version" in words:
        print(f"TensorFlow ModelServer: {VERSION}\nTensorFlow Library: {TENSORFLOW}")
        sys.exit(0)
    if "--help" in words:
        print_usage(known)
        sys.exit(255)
    found, unknown = {}, []
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if name in known and word.startswith("--"):
            found[name] = value or "true"
        else:
            unknown.append(word)
    if unknown:
        print(f"unknown argument: {unknown[0]}", flush=True)
        print_usage(known)
    return found


def print_usage(known: set[str]) -> None:
    print("usage:", *(f"\t--{name}=\tstring" for name in sorted(known)), sep="\n", flush=True)


def fail(why: str) -> None:
    """End the process, from whichever thread, as a server that cannot start does."""
    print(f"Failed to start server. Error: {why}", flush=True)
    os._exit(255)
