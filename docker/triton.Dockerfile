# Triton with what its python backend needs to serve SavedModels: the exporter's TensorFlow, and triton_models/.
# Built by compose.yaml, from the repository's root; the versions stand in .env.
ARG TRITON_TAG
FROM nvcr.io/nvidia/tritonserver:${TRITON_TAG}
ARG TRITON_VERSION
ARG TENSORFLOW_VERSION
ARG NUMPY_VERSION

USER 0
COPY docker/triton.lock /opt/raybench/
# --ignore-installed: pip cannot remove what the distribution installed, only lay its own before it.
RUN pip3 install --no-cache-dir --break-system-packages --ignore-installed --require-hashes \
      -r /opt/raybench/triton.lock \
    && test "${TRITON_SERVER_VERSION}" = "${TRITON_VERSION}" \
    && test "$(python3 -c 'import tensorflow, numpy; print(tensorflow.__version__, numpy.__version__)')" \
      = "${TENSORFLOW_VERSION} ${NUMPY_VERSION}"
COPY triton_models/saved_model /opt/raybench/triton_models/saved_model
COPY triton_models/echo /opt/raybench/triton_models/echo

USER 1000
