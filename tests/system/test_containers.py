"""The same jobs on the servers people run: official images, where a Docker daemon answers; elsewhere these say that they skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import Engine, Settings
from tests.support.laws import assert_conserved
from tests.support.running import running

docker = pytest.importorskip("docker", reason="the docker client comes with testcontainers")


def why_not() -> str:
    """'' when a daemon answers, else why not."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return "no Docker daemon: neither DOCKER_HOST nor /var/run/docker.sock is there"
    try:
        client = docker.from_env(timeout=3)
        try:
            client.ping()
        finally:
            client.close()
    except docker.errors.DockerException as error:
        return f"no Docker daemon answers: {str(error)[:80]}"
    return ""


REASON = why_not()
pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.skipif(bool(REASON), reason=REASON or "a Docker daemon answers")]


@pytest.mark.parametrize("image", ["redis:7.0", "redis:7.4", "redis:8", "valkey/valkey:7.2", "valkey/valkey:8"])
async def test_an_official_image_carries_the_engine(image: str) -> None:
    from testcontainers.redis import RedisContainer

    with RedisContainer(image) as server:
        url = f"redis://{server.get_container_host_ip()}:{server.get_exposed_port(6379)}/0"
        engine = Engine(settings=Settings(redis_url=url))

        @engine.queue("container", attempts=2).handler("double", ordering_key=lambda n: str(n % 3))
        async def double(number: int) -> int:
            return number * 2

        async with engine, running(engine):
            handles = await double.enqueue_many(range(50))
            late = await double.enqueue(21, delay=0.2)
            assert [await handle.result(timeout=20) for handle in handles] == [n * 2 for n in range(50)]
            assert await late.result(timeout=20) == 42
            await assert_conserved(engine.connection.store, "container")
