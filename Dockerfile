# One image for migrate, serve, worker and the demo world; Debian-based, because some wheels exist for glibc only.
FROM python:3.12-slim-bookworm AS build
WORKDIR /srv
COPY requirements/installer.lock requirements/run.lock requirements/
RUN python -m venv .venv \
 && .venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements/installer.lock \
 && .venv/bin/uv pip sync --require-hashes --no-cache --compile-bytecode --python .venv/bin/python requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY memory memory
COPY tools tools
COPY graphs graphs
COPY app app
RUN .venv/bin/uv pip install --no-deps --no-cache --compile-bytecode --python .venv/bin/python .

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --home-dir /srv countersign
WORKDIR /srv
COPY --from=build /srv/.venv /srv/.venv
ENV PATH=/srv/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
ENTRYPOINT ["countersign"]
CMD ["serve"]
