"""The command line of tensorflow_model_server, as far as the double knows it; no TensorFlow in here."""

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
VERSION = "double-2.20.0"


def read(words: list[str], known: set[str]) -> dict[str, str]:
    """Values by flag; ends the process as the real one does for --help, --version, and what it does not know."""
    if words == ["--version"]:
        print(f"ModelServer: {VERSION}")
        sys.exit(0)
    if words == ["--help"]:
        end_with_usage(known)
    found = {}
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in known or not word.startswith("--") or not value:
            print(f"unknown argument: {word}", flush=True)
            end_with_usage(known)
        found[name] = value
    if "batching_parameters_file" in found and found.get("enable_batching") != "true":
        fail("batching_parameters_file is set without enable_batching")
    return found


def end_with_usage(known: set[str]) -> None:
    print("usage:", *(f"\t--{name}=\tstring" for name in sorted(known)), sep="\n", flush=True)
    sys.exit(255)


def fail(why: str) -> None:
    print(f"Failed to start server. Error: {why}", flush=True)
    sys.exit(255)
