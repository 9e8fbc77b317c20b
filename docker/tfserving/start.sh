#!/bin/bash
# start.sh MODELS_CONF FLAG...: TensorFlow Serving on a copy of MODELS_CONF whose base paths are absolute.
# raybench writes base paths relative to the file; TensorFlow Serving refuses those. Addresses such as gs:// stay.
set -euo pipefail
conf=$1
shift
if [[ ! -r $conf ]]; then
  echo "$conf cannot be read; write it with: raybench export" >&2
  exit 2
fi
folder=$(cd "$(dirname "$conf")" && pwd | sed 's/[&#\\]/\\&/g')
key='\bbase_path[[:space:]]*:[[:space:]]*["'\'']'
resolved=$(mktemp)
sed -E -e "s#($key)#\1$folder/#g" -e "s#($key)$folder/(/|[A-Za-z][A-Za-z0-9+.-]*://)#\1\2#g" "$conf" > "$resolved"
exec tensorflow_model_server --model_config_file="$resolved" "$@"
