# The command in a container: `docker build -t seedream-jobs .`, then as docs/scale.md says. For an image that is the same
# at every build, pin the base: --build-arg BASE=python:3.11-slim-bookworm@sha256:DIGEST
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/seedream-jobs
ENV PATH=/opt/seedream-jobs/bin:$PATH
COPY requirements/base.txt requirements/base.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${BASE}
# git tells what a revision says and what is ignored.
RUN apt-get update \
    && apt-get install -y --no-install-recommends git=1:2.39.* \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 seedream
COPY --from=build /opt/seedream-jobs /opt/seedream-jobs
ENV PATH=/opt/seedream-jobs/bin:$PATH
USER 1000:1000
WORKDIR /campaign
ENTRYPOINT ["seedream-jobs"]
CMD ["--help"]
