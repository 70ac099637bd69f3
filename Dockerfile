# The image of a Dataflow (or any Beam) worker that runs teachers: docs/dataflow.md says how to build and use it.
# The Python and Beam versions must be those of the machine that starts the job.
ARG PYTHON=3.11
ARG BEAM=2.77.0
FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam

FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
ARG PYTHON=3.11
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1 PATH=/opt/venv/bin:$PATH

RUN apt-get update \
    && apt-get install --yes --no-install-recommends software-properties-common \
    && add-apt-repository --yes ppa:deadsnakes/ppa \
    && apt-get install --yes --no-install-recommends python${PYTHON} python${PYTHON}-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python${PYTHON} -m venv /opt/venv

WORKDIR /opt/mergedistill
COPY constraints.txt setup.cfg pyproject.toml README.md ./
COPY recipe recipe
COPY vocab vocab
COPY targets targets
COPY pipeline pipeline
COPY student student
# torch first, with CUDA: its index has builds that the package index has not.
RUN pip install --no-cache-dir --extra-index-url ${TORCH_INDEX} -c constraints.txt torch \
    && pip install --no-cache-dir -c constraints.txt '.[gcp,s3]'

# Beam's entry point starts one worker process a core; it looks for the interpreter on PATH.
COPY --from=beam /opt/apache/beam /opt/apache/beam
ENTRYPOINT ["/opt/apache/beam/boot"]
