"""Plants: each bug that a naive engineer might have written, as replacements of text. `planted.py` puts them in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One replacement. `where` is a file below engine/store/lua, or a method as `module:Class.method`."""

    where: str
    old: str
    new: str


@dataclass(frozen=True)
class Plant:
    """A bug. `instead` says in a sentence what is done instead of what is right."""

    name: str
    instead: str
    edits: tuple[Edit, ...]


def _drop(where: str, old: str) -> Edit:
    return Edit(where, old, "")


PLANTS = [
    # --- the ten that the project asks for
    Plant(
        "no-fence",
        "a settle is taken whether or not the entry is still claimed",
        (
            Edit("step.lua", "unpack(ARGV, b, last)) == n then", "unpack(ARGV, b, last)) >= 0 then"),
            Edit(
                "step.lua",
                "if call('XACK', P .. 'ready:' .. tag, 'w', entry) == 0 then",
                "if call('XACK', P .. 'ready:' .. tag, 'w', entry) < 0 then",
            ),
        ),
    ),
    Plant(
        "ack-without-delete",
        "a settled entry is acknowledged and stays in the stream",
        (
            _drop("step.lua", "    call('XDEL', stream, unpack(ARGV, b, last))\n"),
            _drop("step.lua", "for tag, entries in pairs(acked) do call('XDEL', P .. 'ready:' .. tag, unpack(entries)) end\n"),
        ),
    ),
    Plant(
        "renewal-without-owner-check",
        "a renewal claims what it is told, whoever holds it",
        (Edit("renew.lua", "if mine[e] then", "if true then"),),
    ),
    Plant(
        "client-retries-on",
        "the client sends a request again by itself when its connection broke",
        (
            Edit(
                "engine.store.wire:Wire.call",
                "            self._door.doubt(self._round)\n            raise translate",
                "            self._door.doubt(self._round)\n            if sent:\n"
                "                return await self.call(*args, timeout=timeout, first=first, said=said)\n            raise translate",
            ),
        ),
    ),
    Plant(
        "xautoclaim-from-0-0",
        "each look for lost leases begins at the oldest entry",
        (
            Edit(
                "reclaim.lua",
                "local from, seen, young = cursors[tag] or '0-0', {}, {}",
                "local from, seen, young = '0-0', {}, {}",
            ),
        ),
    ),
    Plant(
        "unguarded-delconsumer",
        "a worker that leaves, or was silent, is deleted with what it has claimed",
        (
            Edit("heartbeat.lua", "if p.err or #p == 0 then", "if true then"),
            _drop("sweep_rest.lua", "    if not p.err and #p > 0 then return end\n"),
        ),
    ),
    Plant(
        "trimmed-work-stream",
        "the work stream is capped",
        (
            Edit(
                "enqueue.lua",
                "call('XADD', stream, at .. fmt(seq + i),",
                "call('XADD', stream, 'MAXLEN', '2', at .. fmt(seq + i),",
            ),
            Edit(
                "enqueue.lua", "call('XADD', P .. 'ready:' .. prio, id,", "call('XADD', P .. 'ready:' .. prio, 'MAXLEN', '2', id,"
            ),
        ),
    ),
    Plant(
        "remove-then-add-promotion",
        "a due job is taken out in one call and added in the next",
        (
            Edit(
                "engine.store.work:WorkVerbs.promote",
                '        moved, due, now = await self._run("promote", queue, limit)\n',
                "        now, moved, due = await self.now_ms(queue), 0, 0\n"
                '        for name in ("retrying", "scheduled"):\n'
                "            key = prefix(queue) + name\n"
                '            for job_id in await self.link.call("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit, queue=queue):\n'
                '                if await self.link.call("ZREM", key, job_id, queue=queue):\n'
                '                    moved += text(await self._run("hasten", queue, job_id)) == "done"\n',
            ),
        ),
    ),
    Plant(
        "group-recreated-at-the-end",
        "a group that is gone is made again at `$`",
        (
            Edit(
                "step.lua",
                "try('XGROUP', 'CREATE', P .. 'ready:' .. tag, 'w', '0', 'MKSTREAM')",
                "try('XGROUP', 'CREATE', P .. 'ready:' .. tag, 'w', '$', 'MKSTREAM')",
            ),
        ),
    ),
    Plant(
        "reader-cancelled-on-stop",
        "a stop cancels the claim that is under way",
        (
            Edit(
                "engine.services.pool:Pool._step",
                "        answer = await self._caller.send(settles, want)\n",
                "        reader = asyncio.ensure_future(self._caller.send(settles, want))\n"
                "        while not reader.done() and (settles.claims or not self._stopping):\n"
                "            await asyncio.wait([reader], timeout=0.001)\n"
                "        if not reader.done():\n"
                "            reader.cancel()\n"
                "            return\n"
                "        answer = await reader\n",
            ),
        ),
    ),
    # --- and for what is newer
    Plant(
        "lost-reply-taken-for-nothing",
        "a call whose reply was lost is taken for one that did nothing",
        (
            Edit(
                "engine.services.caller:Caller.send",
                "                    tries += 1\n",
                "                    return None\n",
            ),
        ),
    ),
    Plant(
        "settled-before-asking",
        "after an outage a worker settles without asking who answers",
        (Edit("engine.services.caller:Caller.send", "                    if tries:\n", "                    if False:\n"),),
    ),
    Plant(
        "hand-over-forgotten",
        "who ends does not pass its key on",
        (_drop("step.lua", "if #gone_keys > 0 then handovers(gone_keys) end\n"),),
    ),
    Plant(
        "key-given-away-at-retry",
        "a job in backoff passes its key on",
        (
            Edit(
                "step.lua",
                "      add('retried', 1)\n",
                "      add('retried', 1)\n      if key ~= '' then gone_keys[#gone_keys + 1] = key end\n",
            ),
        ),
    ),
    Plant(
        "line-served-from-its-end",
        "the last of a long line is next",
        (Edit("parts/line.lua", "try('ZPOPMIN', P .. 'line:' .. key, ROOM)", "try('ZPOPMAX', P .. 'line:' .. key, ROOM)"),),
    ),
    Plant(
        "rung-never-cleared",
        "the bell is taken for rung for ever",
        (
            Edit("step.lua", "fmt(no) .. '|', 'rung', '0')", "fmt(no) .. '|')"),
            _drop("step.lua", "if want > 0 and (meta[7] == '1' or rang) then call('HSET', P .. 'meta', 'rung', '0') end\n"),
        ),
    ),
    Plant(
        "number-before-settles",
        "the call's number is written before its settles",
        (
            Edit(
                "step.lua",
                "local h = tonumber(ARGV[9])\n",
                "local h = tonumber(ARGV[9])\ncall('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|')\n",
            ),
        ),
    ),
    Plant(
        "old-copies-obeyed",
        "a call older than the last one is done",
        (
            _drop("step.lua", "  if no < last then return { 'stale', {}, {}, T, paused, 0, 0, epoch, '' } end\n"),
            Edit(
                "step.lua",
                "and no > (tonumber(string.match(meta[4] or '0', '^%d+')) or 0) then",
                "and no ~= (tonumber(string.match(meta[4] or '0', '^%d+')) or 0) then",
            ),
        ),
    ),
    Plant(
        "numbers-never-kept",
        "a worker's call is done again when it is sent again",
        (
            Edit(
                "step.lua",
                "call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|', 'rung', '0')",
                "call('HSET', P .. 'meta', 'rung', '0')",
            ),
            _drop("step.lua", "      call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|')\n"),
            _drop("step.lua", "call('HSET', P .. 'meta', 'w:' .. me, fmt(no) .. '|' .. table.concat(lost, ','))\n"),
        ),
    ),
    Plant(
        "repeats-add-again",
        "an enqueue that is sent again adds again",
        (Edit("enqueue.lua", "  if no == last then ms,", "  if no == -1 then ms,"),),
    ),
    Plant(
        "dedup-key-not-kept",
        "a dedup key is looked for and never written down",
        (_drop("enqueue.lua", "    if dedup ~= '' then remember(dedup, id) end\n"),),
    ),
    Plant(
        "priorities-backwards",
        "the streams are served in their order from the end",
        (Edit("parts/ids.lua", "return rank(a) < rank(b)", "return rank(a) > rank(b)"),),
    ),
    Plant(
        "cancel-of-an-active-job-dropped",
        "the cancel of an active job is answered and not kept",
        (_drop("remove.lua", "    call('HSET', P .. 'flags', 'c' .. id, fmt(T))\n"),),
    ),
    Plant(
        "cancel-of-an-active-job-unread",
        "a retry or a release does not look whether somebody cancelled the job",
        (Edit("step.lua", "if flags and call('HDEL', P .. 'flags', 'c' .. id) == 1 and (verb", "if false and (verb"),),
    ),
    Plant(
        "end-not-announced",
        "who waits for a job's end is taken off the list and not told",
        (_drop("parts/endings.lua", "    try('XADD', P .. 'settled', 'MAXLEN', '~', '1000', '*', 'id', id, 'o', outcome)\n"),),
    ),
    Plant(
        "row-left-behind",
        "a completed job's row of `where` stays",
        (_drop("step.lua", "  if #moved > 0 then call('HDEL', P .. 'where', unpack(moved)) end\n"),),
    ),
    Plant(
        "a-stall-uses-an-attempt",
        "a lost lease counts as a failed attempt",
        (Edit("reclaim.lua", "local env = pack(a, s + 1,", "local env = pack(a + 1, s + 1,"),),
    ),
    Plant(
        "promoted-early",
        "whatever is scheduled is promoted when anything is due",
        (Edit("promote.lua", "P .. zset, '-inf', fmt(T), 'LIMIT'", "P .. zset, '-inf', '+inf', 'LIMIT'"),),
    ),
    Plant(
        "suspects-in-company",
        "a suspect is given to a worker that holds something",
        (Edit("step.lua", "      if held == 0 then\n", "      if held >= 0 then\n"),),
    ),
    Plant(
        "given-back-to-the-end",
        "a released job waits at the end of its priority",
        (
            Edit(
                "step.lua",
                "put(what == '1' and 's' or string.sub(FRONTS, prio, prio), id,",
                "put(what == '1' and 's' or tostring(prio), id,",
            ),
        ),
    ),
    Plant(
        "pause-overlooked",
        "a paused queue gives out jobs",
        (Edit("step.lua", "if want > 0 and paused < 0 and gate <= T then", "if want > 0 and gate <= T then"),),
    ),
    Plant(
        "own-leases-ignored",
        "whoever looks takes what is older than his own lease",
        (
            Edit(
                "reclaim.lua",
                "math.max(lease, ok and type(told) == 'table' and tonumber(told.lease_ms) or 0)",
                "lease",
            ),
        ),
    ),
]
