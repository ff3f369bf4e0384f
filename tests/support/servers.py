"""Servers: real Redis processes in odd arrangements: TLS, a primary with replica and Sentinel, a cluster of three."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import trustme

from tests.support.running import eventually


def free_ports(n: int) -> list[int]:
    """So many ports that are free now; with 10,000 on top they are free too (a cluster's bus wants them)."""
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < n:
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            if port < 55_000:
                found.append(port)
            else:
                other = 20_000 + port % 20_000
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", other)) != 0 and other not in found:
                        found.append(other)
    return found


def redis_binary() -> str | None:
    """Debian's redis-server, or None."""
    return shutil.which("redis-server")


@contextmanager
def server(
    directory: Path, port: int, *options: str, config: str | None = None, sentinel: bool = False, program: str = "redis-server"
) -> Iterator[int]:
    """One server on loopback; `config` is the text of its configuration file."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [program]
    if config is not None:
        path = directory / "redis.conf"
        path.write_text(config)
        command.append(str(path))
    command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), *options]
    if sentinel:
        command.append("--sentinel")
    log = (directory / "log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_port(port if port else int(options[options.index("--tls-port") + 1]), process)
        yield port
    finally:
        process.kill()
        process.wait(10)
        log.close()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens there."""

    def listens() -> bool:
        assert process.poll() is None, f"redis-server ended with {process.returncode}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(listens, f"a server listens on port {port}")


@contextmanager
def sentinel_set(directory: Path, sentinel_password: str = "") -> Iterator[str]:
    """A primary, a replica and one Sentinel, which may want a password; the URL asks Sentinel, without it."""
    primary, replica, watch = free_ports(3)
    with ExitStack() as stack:
        stack.enter_context(server(directory / "primary", primary, "--appendonly", "yes", "--save", ""))
        stack.enter_context(server(directory / "replica", replica, "--replicaof", "127.0.0.1", str(primary)))
        config = f"sentinel monitor mymaster 127.0.0.1 {primary} 1\nsentinel down-after-milliseconds mymaster 1000\n"
        config += "sentinel failover-timeout mymaster 3000\n"
        if sentinel_password:
            config += f'requirepass "{sentinel_password}"\n'
        stack.enter_context(server(directory / "sentinel", watch, config=config, sentinel=True))
        yield f"redis+sentinel://127.0.0.1:{watch}/mymaster"


@contextmanager
def cluster(directory: Path, program: str = "redis-server") -> Iterator[str]:
    """Three primaries with all slots between them."""
    ports = free_ports(3)
    with ExitStack() as stack:
        for port in ports:
            options = ("--cluster-enabled", "yes", "--save", "", "--appendonly", "yes")
            stack.enter_context(server(directory / str(port), port, *options, program=program))
        nodes: list[Any] = [redis.Redis(port=port) for port in ports]
        share = 16384 // 3 + 1
        for i, node in enumerate(nodes):
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", i * share, min((i + 1) * share, 16384) - 1)
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        eventually(lambda: all(is_joined(raw_info(node)) for node in nodes), "the cluster came together", timeout=20)
        for node in nodes:
            node.close()
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)


def move_slot(url: str, slot: int, *, at_once: bool = False) -> None:
    """Move a slot of the cluster, which has keys, to another node while clients go on asking for it: key by key, or `at_once`, as
    Valkey 9 does."""
    ports = [int(host.partition(":")[2]) for host in url.rpartition("//")[2].split(",")]
    nodes: list[Any] = [redis.Redis(port=port, decode_responses=True) for port in ports]
    names = [node.execute_command("CLUSTER", "MYID") for node in nodes]
    old = next(n for n, node in enumerate(nodes) if node.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot))
    new = (old + 1) % len(nodes)
    if at_once:
        nodes[old].execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", names[new])
        eventually(lambda: "success" in str(nodes[old].execute_command("CLUSTER", "GETSLOTMIGRATIONS")), "the slot has moved")
        for node in nodes:
            node.close()
        return
    nodes[new].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
    nodes[old].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[new])
    while keys := nodes[old].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
        nodes[old].execute_command("MIGRATE", "127.0.0.1", ports[new], "", 0, 5000, "KEYS", *keys)
    for at in (new, old, 3 - new - old):
        nodes[at].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[new])
    for node in nodes:
        node.close()


def is_joined(info: bytes) -> bool:
    """Whether a node knows all three, and all slots are covered."""
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


def raw_info(node: Any) -> bytes:
    """CLUSTER INFO as bytes, whatever redis-py makes of it."""
    found = node.execute_command("CLUSTER", "INFO")
    if isinstance(found, dict):
        return "\n".join(f"{k}:{v}" for k, v in found.items()).encode()
    return bytes(found)


@dataclass(frozen=True, slots=True)
class Secure:
    """A server that speaks TLS only, and what its clients need."""

    port: int
    ca: Path
    cert: Path
    key: Path
    """A client's certificate and key, of the same authority"""
    foreign_ca: Path
    """Of another authority"""
    foreign_cert: Path
    foreign_key: Path

    def url(self, host: str = "localhost") -> str:
        """Its address. The server's certificate is for `localhost`, and for no other name."""
        return f"rediss://:s3cret@{host}:{self.port}/0"


@contextmanager
def tls(directory: Path, *, asks_clients: bool = False) -> Iterator[Secure]:
    """A server with a certificate of an authority of its own; `asks_clients`: it wants one of its clients too."""
    (port,) = free_ports(1)
    directory.mkdir(parents=True, exist_ok=True)
    authority, foreign = trustme.CA(), trustme.CA()
    secure = Secure(port, *(directory / f"{name}.pem" for name in ("ca", "cert", "key", "ca2", "cert2", "key2")))
    server_cert, server_key = directory / "server.pem", directory / "server.key"
    for issuer, ca, cert, key, name in (
        (authority, secure.ca, server_cert, server_key, "localhost"),
        (authority, secure.ca, secure.cert, secure.key, "worker.example"),
        (foreign, secure.foreign_ca, secure.foreign_cert, secure.foreign_key, "worker.example"),
    ):
        made = issuer.issue_cert(name)
        issuer.cert_pem.write_to_path(ca)
        made.private_key_pem.write_to_path(key)
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    options: Sequence[str] = (
        *("--tls-port", str(port), "--tls-cert-file", str(server_cert), "--tls-key-file", str(server_key)),
        *("--tls-ca-cert-file", str(secure.ca), "--tls-auth-clients", "yes" if asks_clients else "no"),
        *("--save", "", "--requirepass", "s3cret"),
    )
    with server(directory / "data", 0, *options):
        yield secure
