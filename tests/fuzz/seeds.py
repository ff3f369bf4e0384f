"""Seeds: for each target a few inputs as they really come, from which the hunt begins."""

from __future__ import annotations

import msgspec

_BODY = msgspec.msgpack.encode(("greet", {"n": 1}))
_STORY = msgspec.msgpack.encode(("greet", 1, 3, 30.0, 60_000, True, [(1, 1000, 2000, "retry", "OSError: no", "w1")]))
_RECORD = msgspec.msgpack.encode(("w1", [("7-7", "greet", 1, 1000, 5), ("8-8", "greet", 2, 1000, 5, "9-9", [])]))

SEEDS: dict[str, list[bytes]] = {
    "envelope": [b"1;0;5;;0;0;" + _BODY, b"2;1;9;7-7;1;11;k100,worker;" + _STORY, b"rubbish", b""],
    "body": [_BODY, _STORY],
    "row": [b"1;0;5;;0;0;" + _BODY, _RECORD, b"1795000000000;" + msgspec.msgpack.encode({"host": "h", "pid": 1}), b"7-7"],
    "entry": [b"1795000000000-17", b"0-0", b"-", b"x"],
    "duration": [b"10s", b"1h30m", b"500ms", b"2.5", b"7d", b"-1", b"1e9"],
    "when": [b"2026-11-23T09:00:00-03:00", b"2026-11-23T09:00:00Z", b"2026-11-23 09:00", b"9999-12-31T23:59:59-23:59"],
    "url": [
        *(b"redis://app:s3cretpw@redis.example:6379/0", b"rediss://h/1?ssl_ca_certs=/ca.pem", b"unix:///run/redis.sock?db=2"),
        *(b"redis+sentinel://a:1,b:2/main/3", b"redis+cluster://u:p@[::1]:7000,h2", b"redis://h:99999", b"redis://:pw@h"),
    ],
    "setting": [b"\x0510s", b"\x0a256KiB", b"\x00redis://h", b"\x05disk", b"\x17worker-1"],
    "names": [b"messages", b"messages/1763791234567-4", b"send/mail:now", b"{x}", b"a*", b"\xff", b"\x00"],
    "command_line": [b"run\0--app\0x:y", b"50/s", b"3/m", b'{"n":1}', b"10s", b"--app=x:y\0--\0--debug"],
    "masking": [
        b"+5511987654321",
        b"token=abcdef",
        b"Bearer eyJhbGciOi",
        b"call 11 98765-4321 now",
        b"redis://u:p@h",
        b"password is hunter2",
        b"senha x9y, ok",
        *(
            b"token=b'pw1'",
            b"redis://app:pw1/0",
            b"auth app pw1pw1",
            b"user a on >pw1 ~*",
            b"redis-cli -a pw1",
            b"requirepass pw1",
        ),
        *(b"tel 98765 4321", b"5511 98765 4321", b"005511987654321", b"+55  11  98765 - 4321"),
    ],
}
