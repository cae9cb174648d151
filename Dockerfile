# The command line without a window, on CPUs:
#   docker build -t defectstrain .
#   docker run --rm -v "$PWD:/data" defectstrain run region_1.dm4 --out results
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /source
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}
# On Linux, PyPI's torch brings several GB for GPUs; PyTorch's own index has the build without.
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints-lock.txt /opt/
COPY --from=build /wheels /opt/wheels
RUN python -m pip install --no-cache-dir -c /opt/constraints-lock.txt \
      --extra-index-url "${TORCH_INDEX}" "${TORCH}" /opt/wheels/*.whl \
    && useradd --create-home --uid 1000 user
USER 1000
WORKDIR /data
ENTRYPOINT ["defectstrain"]
CMD ["--help"]
