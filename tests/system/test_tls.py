"""TLS: who the server says it is gets checked unless somebody says in so many words that it need not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import ConfigError, Engine, Settings, StoreUnreachable
from tests.support.running import running
from tests.support.servers import redis_binary, tls

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed: the embedded server speaks no TLS"),
]


def engine_of(url: str, **settings: Any) -> Engine:
    engine = Engine(settings=Settings(redis_url=url, connect_timeout=2.0, **settings))

    @engine.queue("secure").handler("double")
    async def double(n: int) -> int:
        return n * 2

    return engine


async def works(engine: Engine) -> None:
    """A job there and back, through every connection that a worker has."""
    async with engine, running(engine):
        handle = await engine.client.enqueue("secure", "double", 21)
        assert await handle.result(timeout=10) == 42  # type: ignore[attr-defined]  # the engine's own handle can wait


async def refused(engine: Engine, why: str) -> None:
    """One sentence with the reason in it, and no password."""
    with pytest.raises(StoreUnreachable, match=why) as caught:
        await engine.__aenter__()
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_server_of_the_configured_authority_is_taken(tmp_path: Path) -> None:
    with tls(tmp_path) as server:
        await works(engine_of(server.url(), tls_ca=str(server.ca)))


async def test_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    with tls(tmp_path) as server:
        await refused(engine_of(server.url()), "CERTIFICATE_VERIFY_FAILED")
        await refused(engine_of(server.url(), tls_ca=str(server.foreign_ca)), "CERTIFICATE_VERIFY_FAILED")


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with tls(tmp_path) as server:
        await refused(engine_of(server.url("127.0.0.1"), tls_ca=str(server.ca)), "certificate is not valid for '127.0.0.1'")


async def test_a_server_that_asks_its_clients_takes_ours_with_its_certificate_and_no_other(tmp_path: Path) -> None:
    with tls(tmp_path, asks_clients=True) as server:
        mine: dict[str, str] = {"tls_ca": str(server.ca), "tls_cert": str(server.cert), "tls_key": str(server.key)}
        await works(engine_of(server.url(), **mine))
        with pytest.raises(StoreUnreachable):
            await engine_of(server.url(), tls_ca=str(server.ca)).__aenter__()
        foreign = {**mine, "tls_cert": str(server.foreign_cert), "tls_key": str(server.foreign_key)}
        with pytest.raises(StoreUnreachable):
            await engine_of(server.url(), **foreign).__aenter__()


async def test_checks_are_switched_off_only_in_so_many_words(tmp_path: Path) -> None:
    with tls(tmp_path) as server:
        careless = server.url() + "?ssl_cert_reqs=none&ssl_check_hostname=false"
        with pytest.raises(ConfigError, match="ENGINE_TLS_INSECURE_I_KNOW"):
            engine_of(careless)
        await works(engine_of(careless, tls_insecure=True))


async def test_a_server_without_tls_is_no_server_with_it_and_the_other_way_round(tmp_path: Path) -> None:
    with tls(tmp_path) as server:
        plain = server.url().replace("rediss://", "redis://")
        with pytest.raises(StoreUnreachable) as caught:
            await engine_of(plain).__aenter__()
        assert "s3cret" not in str(caught.value)


async def test_an_old_version_of_tls_is_refused(tmp_path: Path) -> None:
    import ssl

    from redis.asyncio.connection import SSLConnection

    context = SSLConnection(host="localhost", port=1).ssl_context.get()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
