"""Check-up of the server: which of its settings, or what state it is in, puts jobs at risk. Looks, changes nothing.

None of these is mended by `--fix`: a setting of the server is everybody's who uses it, and belongs in its configuration file.
"""

from __future__ import annotations

from ..durations import format_duration
from ..store.server import ServerInfo
from .finding import Finding, Level, of_server

SLOW_PING_MS = 10.0
"""What the whole design counts on is a server within 10 ms."""

SKEW_MS, BAD_SKEW_MS = 1_000, 60_000
"""Between the server's clock and ours: `at=` is judged by ours, due times by the server's; a minute makes `at=` refuse."""

LAG_SECONDS = 10
"""A replica that has not said for so long how far it is: the default of min-replicas-max-lag."""

BEHIND_BYTES = 16 * 1024**2
"""What a replica may lag: as much would be lost with the primary. A few thousand jobs."""

FIXED_IN = {
    "redis": {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
"""Release line -> the first patch without CVE-2025-49844 (a script breaks out of the sandbox). Lines after these never had it;
7.0 got no release of its own, only distributions' packages, whose version does not tell."""


def server_findings(info: ServerInfo, missing_rights: list[str] | None = None) -> list[Finding]:
    """What the server's own description gives away. `missing_rights`: commands that our user may not call; None: not asked."""
    found = [_durability(info), *_writing(info), *_memory(info), *_replication(info), *_clients(info)]
    if missing_rights:
        what = f"this user may not call {', '.join(missing_rights)}: jobs that need it will fail"
        found.append(of_server("problem", what, "give it the rights that `engine doctor --acl worker` prints"))
    skew = abs(info.clock_ahead_ms)
    if skew > SKEW_MS:
        side = "ahead of" if info.clock_ahead_ms > 0 else "behind"
        what = f"its clock is {format_duration(skew / 1000)} {side} this machine's"
        found.append(of_server("problem" if skew > BAD_SKEW_MS else "warning", what, "run a time service (NTP) on both machines"))
    if info.ping_ms > SLOW_PING_MS:
        what = f"a PING takes {info.ping_ms:.1f} ms, over {SLOW_PING_MS:.0f} ms"
        found.append(of_server("warning", what, "move the workers closer to it, or look for slow commands with SLOWLOG GET"))
    found += _version(info)
    return found


def _durability(info: ServerInfo) -> Finding:
    if info.durability == "memory":
        what = "durability class memory: when it stops, every job is lost"
        mend = "CONFIG SET appendonly yes, then appendfsync everysec or always, and in its configuration file"
        if info.is_aof_on:
            what = "durability class memory: appendfsync is no, so a crash of the machine may lose half a minute of jobs"
            if info.skips_fsync_on_rewrite and info.appendfsync != "no":
                what = (
                    "durability class memory: no-appendfsync-on-rewrite is yes, so a crash of the machine while the file is "
                    "rewritten loses jobs"
                )
                mend = "CONFIG SET no-appendfsync-on-rewrite no, and in its configuration file"
        return of_server("problem", what, mend)
    survives = {
        "process": "survives kill -9, a power loss costs up to 2 s",
        "disk": "survives a power loss",
        "replicated": f"survives the loss of the machine; cut off from its replicas, it loses up to {info.loss_seconds} s of "
        "acknowledgements (none with ENGINE_DURABILITY=replicated, which waits for a replica)",
    }[info.durability]
    guess = " (it would not say its appendfsync, everysec is assumed)" if info.is_aof_on and info.appendfsync is None else ""
    return of_server("ok", f"durability class {info.durability}: {survives}{guess}")


def _writing(info: ServerInfo) -> list[Finding]:
    """Whether it can write its files."""
    found = []
    if info.is_aof_on and not info.last_write_ok:
        found.append(of_server("problem", "it can't write its append-only file", "free disk space; it goes on by itself then"))
    if info.is_aof_on and not info.last_rewrite_ok:
        what = "its last rewrite of the append-only file failed: the file grows until the disk is full"
        found.append(of_server("warning", what, "look in its log, free disk space or memory, then BGREWRITEAOF"))
    if info.is_aof_on and not info.rewrites_aof:
        what = "auto-aof-rewrite-percentage is 0: its append-only file grows for ever"
        found.append(of_server("warning", what, "CONFIG SET auto-aof-rewrite-percentage 100, and in its configuration file"))
    if not info.last_snapshot_ok:
        stops = info.stops_writes_without_snapshot
        what = "its last RDB snapshot failed" + (", so it refuses every write (stop-writes-on-bgsave-error)" if stops else "")
        mend = (
            "free disk space or memory, then BGSAVE; with the append-only file on, snapshots can be left out: CONFIG SET save ''"
        )
        found.append(of_server("problem" if stops else "warning", what, mend))
    return found


def _memory(info: ServerInfo) -> list[Finding]:
    found = []
    if info.policy and info.policy != "noeviction":
        what = f"maxmemory-policy is {info.policy}: at its memory limit it deletes jobs without a word"
        level: Level = "problem" if info.maxmemory else "warning"
        found.append(of_server(level, what, "CONFIG SET maxmemory-policy noeviction, and in its configuration file"))
    if not info.maxmemory:
        what = "it has no maxmemory: a backlog that grows ends with the machine's memory instead of refused enqueues"
        return [*found, of_server("note", what, "CONFIG SET maxmemory to what it may have, and in its configuration file")]
    share = info.used_memory / info.maxmemory
    fill: Level = "problem" if share > 0.9 else "warning" if share > 0.75 else "ok"
    what = f"{share:.0%} of its maxmemory is used ({info.used_memory:,} of {info.maxmemory:,} bytes)"
    mend = "raise maxmemory, clean what is finished (engine clean), or find who fills it; at the limit, enqueue is refused"
    return [*found, of_server(fill, what, mend if fill != "ok" else "")]


def _replication(info: ServerInfo) -> list[Finding]:
    found = []
    if info.role != "master":
        found.append(
            of_server("problem", "it is a read-only replica", "connect to its primary, or through Sentinel (redis+sentinel://)")
        )
    wanted = info.min_replicas_to_write or 0
    if wanted > info.connected_replicas:
        what = f"min-replicas-to-write is {wanted} and {info.connected_replicas} are connected: it refuses every write"
        found.append(
            of_server("problem", what, "bring the replicas back; lower min-replicas-to-write only if you accept the loss")
        )
    if info.connected_replicas and not wanted and info.min_replicas_to_write is not None:
        what = (
            "min-replicas-to-write is 0: cut off from its replicas it goes on, and what it took then is lost when one is promoted"
        )
        found.append(of_server("note", what, "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 2"))
    if 0 < wanted < info.connected_replicas:
        what = f"{wanted} of {info.connected_replicas} replicas must have a write: a failover may choose one that has it not"
        mend = f"CONFIG SET min-replicas-to-write {info.connected_replicas}, where losing nothing counts more than going on"
        found.append(of_server("note", what, mend))
    return found + _lagging(info, wanted)


def _lagging(info: ServerInfo, wanted: int) -> list[Finding]:
    """Replicas that do not keep up: a problem once fewer do than must have each write. Then the server refuses what comes, or
    goes on and loses more than its class says."""
    found = []
    silent = min(LAG_SECONDS, info.lag_seconds or LAG_SECONDS)
    late = [one for one in info.replicas if one.lag_seconds > silent or one.behind_bytes > BEHIND_BYTES or one.state != "online"]
    spoiled = ""
    if info.lag_seconds and (keeping := len(info.replicas) - len(late)) < wanted:
        spoiled = f"; {keeping} of the {wanted} that must have each write keep up, so class replicated can't hold what it says"
    for one in late:
        what, mend = f"is {one.state or 'not online'}", "wait for its copy, or look in its log"
        if one.state == "online":
            what = f"is {one.behind_bytes:,} bytes behind and was last heard {one.lag_seconds} s ago"
            mend = "what it has not got would be lost with the primary: look at its network and disk"
        found.append(of_server("problem" if spoiled else "warning", f"replica {one.where} {what}{spoiled}", mend))
    return found


def _clients(info: ServerInfo) -> list[Finding]:
    if not info.maxclients or info.connected_clients < 0.8 * info.maxclients:
        return []
    what = f"{info.connected_clients:,} of {info.maxclients:,} connections are taken; a worker that comes then is refused"
    return [of_server("warning", what, "raise maxclients, or look who holds them with CLIENT LIST")]


def _version(info: ServerInfo) -> list[Finding]:
    found = []
    line, patch = info.version_numbers, _patch(info.version)
    fixed = FIXED_IN[info.flavour].get(line)
    if fixed is not None and patch < fixed:
        what = f"{info.flavour} {info.version} has CVE-2025-49844: whoever may send scripts can run code on the server"
        found.append(of_server("warning", what, f"update to {line[0]}.{line[1]}.{fixed} or later"))
    found.append(of_server("ok", f"{info.flavour} {info.version}, {info.mode}, {info.role}, answers in {info.ping_ms:.2f} ms"))
    return found


def _patch(version: str) -> int:
    parts = version.split(".")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0
