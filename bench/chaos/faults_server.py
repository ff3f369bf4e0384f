"""Faults of the server: killed, away, frozen, out of memory, out of disk, without its scripts, pausing or hanging up."""

from __future__ import annotations

from .journal import Fault
from .lab import Lab, NotInjected, chance
from .schedule import Planned

INSIST_SECONDS = 30.0


async def insist(lab: Lab, *words: str | int) -> None:
    """A command that ends a fault: repeated until the server, slow as it may be, has taken it. OSError when it does not."""
    deadline = lab.clock.mono() + INSIST_SECONDS
    while True:
        try:
            await lab.server.node.ask(*words)
            return
        except OSError:
            if lab.clock.mono() > deadline:
                raise
            await lab.clock.sleep(0.05)


async def kill(lab: Lab, planned: Planned) -> None:
    """kill -9, and a start on the same append-only file after a while."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True)
        lab.single.node.kill()
        await lab.clock.sleep(planned.seconds)
        await lab.single.node.start()
        lab.book.end(fault, note=f"down for {planned.seconds:.2f} s")


async def freeze(lab: Lab, planned: Planned) -> None:
    """SIGSTOP, SIGCONT: connections stay open, nothing is answered, then everything at once."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True)
        lab.single.node.freeze()
        try:
            await lab.clock.sleep(planned.seconds)
        finally:
            lab.single.node.thaw()
        lab.book.end(fault)


async def client_kill(lab: Lab, planned: Planned) -> None:
    """CLIENT KILL of all, or of a random third."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind)
        chosen = chance(planned)
        listed = (await lab.server.node.ask("CLIENT", "LIST", "TYPE", "normal")).decode().splitlines()
        ids = [line.split()[0].removeprefix("id=") for line in listed]
        hit = ids if planned.draw < 0.3 else [one for one in ids if chosen.random() < 1 / 3]
        for one in hit:
            await lab.server.node.ask("CLIENT", "KILL", "ID", one)
        lab.book.end(fault, note=f"{len(hit)} of {len(ids)} connections")


async def client_pause(lab: Lab, planned: Planned) -> None:
    """CLIENT PAUSE, of writes or of everything."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True)
        mode = "WRITE" if planned.draw < 0.5 else "ALL"
        await lab.server.node.ask("CLIENT", "PAUSE", int(planned.seconds * 1000), mode)
        await lab.clock.sleep(planned.seconds)
        lab.book.end(fault, note=mode)


async def script_flush(lab: Lab, planned: Planned) -> None:
    """SCRIPT FLUSH."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind)
        await lab.server.node.ask("SCRIPT", "FLUSH")
        lab.book.end(fault)


async def maxmemory(lab: Lab, planned: Planned) -> None:
    """The server is at its memory limit: enqueues are refused, everything else goes on."""
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind, poor=True)
        await lab.server.node.ask("CONFIG", "SET", "maxmemory", 1)
        try:
            await lab.clock.sleep(planned.seconds)
        finally:
            await insist(lab, "CONFIG", "SET", "maxmemory", 0)
        lab.book.end(fault)


async def rewrite(lab: Lab) -> None:
    """What an operator does once the disk has room again (docs/operations.md): the file may have a hole where a write was short,
    since the server does not append to a file that it began in a rewrite, and would not start on it any more."""
    await insist(lab, "BGREWRITEAOF")
    deadline = lab.clock.mono() + INSIST_SECONDS
    while lab.clock.mono() < deadline:
        info = (await lab.server.node.ask("INFO", "persistence")).decode()
        if "aof_rewrite_in_progress:0" in info and "aof_rewrite_scheduled:0" in info:
            return
        await lab.clock.sleep(0.05)


async def disk_full(lab: Lab, planned: Planned) -> None:
    """No room for the append-only file: with everysec every write is refused, with always the server ends itself."""
    disk = lab.single.disk
    if disk.why_not:
        raise NotInjected(disk.why_not)
    async with lab.server_turn:
        fault = lab.book.begin(planned.i, planned.kind, server_away=True, poor=True)
        disk.fill()
        try:
            await lab.clock.sleep(planned.seconds)
        finally:
            disk.empty()
        if lab.server.node.is_up:
            await rewrite(lab)
            lab.book.end(fault, note="the server refused writes")
        else:
            await lab.server.node.start()
            lab.book.end(fault, note="the server ended and was started again")


async def fail_over(lab: Lab, planned: Planned) -> None:
    """The primary is killed, or frozen and comes back as one that does not know better; Sentinel makes another one."""
    servers = lab.watched
    begun: list[Fault] = []

    async def begin() -> None:
        crew = lab.crew.at_work
        costs = [await lab.crew.may_cost(member) for member in crew]
        pids = tuple(member.pid for member in crew)
        begun.append(lab.book.begin(planned.i, planned.kind, server_away=True, pids=pids, loses_lease=True, entitles=sum(costs)))

    async with lab.server_turn:
        try:
            seconds = await servers.fail_over(freeze=planned.kind == "failover-freeze", begin=begin)
        except TimeoutError as error:  # it was injected, and its end is the lab's trouble
            lab.book.end(begun[0], note=str(error))
            return
        lab.book.end(begun[0], note=f"another primary after {seconds:.1f} s")
