# One image for every role: `engine run` (a worker) by default; any other command of `engine` instead.
#   docker build -t engine . && docker run -e REDIS_URL=redis://host:6379/0 engine run --queue messages
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY handlers handlers
COPY web web
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[web]'

FROM python:3.11-slim
# Own user; no embedded server in production: ENGINE_ENV makes a missing REDIS_URL an error instead.
RUN useradd --create-home --uid 10001 engine
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 ENGINE_ENV=production
USER engine
WORKDIR /home/engine
# exec form: SIGTERM reaches the worker, which drains within ENGINE_DRAIN_TIMEOUT (25 s; give the container 30)
ENTRYPOINT ["engine"]
CMD ["run"]
