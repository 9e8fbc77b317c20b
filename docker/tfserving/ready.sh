#!/bin/bash
# ready.sh [PORT]: whether TensorFlow Serving answers. Its CPU image has no curl and no Python, but bash can speak TCP.
# The server opens its ports when all models of models.conf are loaded.
set -euo pipefail
exec 3<> "/dev/tcp/127.0.0.1/${1:-8501}"
printf 'GET /monitoring/prometheus/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 5 _ status _ <&3
[[ $status == 200 ]]
