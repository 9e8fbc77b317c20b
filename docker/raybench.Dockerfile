# raybench and Ray, for the head and the workers. Built by compose.yaml, from the repository's root; the versions stand
# in .env. Nothing of requirements.lock that only development needs, and no Triton of the wheel: triton_server is there.
ARG PYTHON_TAG
FROM python:${PYTHON_TAG} AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > uv.lock \
    && pip install --no-cache-dir --require-hashes -r uv.lock \
    && python -m venv --without-pip /opt/raybench \
    && uv pip install --no-cache --compile-bytecode --python /opt/raybench/bin/python --require-hashes \
      --constraint requirements.lock --requirement pyproject.toml
COPY raybench raybench
COPY triton_models triton_models
RUN uv build --no-cache --wheel --require-hashes --build-constraints requirements.lock --out-dir /wheels . \
    && uv pip install --no-cache --python /opt/raybench/bin/python --offline --no-deps /wheels/*.whl

FROM python:${PYTHON_TAG}
ARG RAY_VERSION
COPY --from=build /opt/raybench /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH HOME=/tmp
RUN test "$(python -c 'import ray; print(ray.__version__)')" = "${RAY_VERSION}" \
    && useradd --uid 1000 --home-dir /tmp --no-create-home raybench \
    && mkdir -p /raybench/models /raybench/results \
    && chown raybench:raybench /raybench/results
WORKDIR /raybench
USER 1000
