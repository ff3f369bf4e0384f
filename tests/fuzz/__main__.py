"""Fuzz: looks for inputs that break a reader, guided by what they reach; `python -m tests.fuzz envelope --seconds 60`.

Needs atheris (`pip install atheris`), which the suite does not: what was found is kept in `corpus/` and replayed there. An input
that breaks a reader is printed as base64 and kept too: mend the reader, then the suite holds it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import load, save
from tests.fuzz.seeds import SEEDS

LONGEST = 400
"""Bytes of an input at most."""


def hunt(target: str, options: list[str]) -> None:
    """One process of libFuzzer; never returns. The first option is the program that it may start anew, as merging does."""
    import atheris  # only who hunts has it

    with atheris.instrument_imports(include=["engine"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup(options, TARGETS[target])
    atheris.Fuzz()


def run(target: str, seconds: int) -> int:
    """Hunt for so long, then keep what reaches something that nothing shorter does; libFuzzer's exit code."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as room:
        found, kept, broken = (Path(room) / name for name in ("found", "kept", "broken"))
        for folder in (found, kept, broken):
            folder.mkdir()
        for number, data in enumerate([*SEEDS.get(target, []), *load(target)]):
            (found / f"{number:05d}").write_bytes(data)
        itself = Path(room) / "hunt"
        itself.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz {target} --hunt -- "$0" "$@"\n')
        itself.chmod(0o700)
        limits = [f"-max_len={LONGEST}", "-timeout=10", f"-artifact_prefix={broken}/"]
        code = subprocess.run([itself, str(found), f"-max_total_time={seconds}", *limits], check=False).returncode
        subprocess.run([itself, "-merge=1", str(kept), str(found), *limits], check=False)
        breaks = [path.read_bytes() for path in broken.iterdir()]
        save(target, [path.read_bytes() for path in kept.iterdir()] + breaks)
    return code


def main() -> int:
    """Exit code 0 when nothing was found to break."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("target", nargs="?", choices=sorted(SEEDS), help="one reader; all of them when left out")
    parser.add_argument("--seconds", type=int, default=60, help="how long each is hunted (60)")
    parser.add_argument("--hunt", action="store_true", help=argparse.SUPPRESS)
    args, rest = parser.parse_known_args()
    if args.hunt:
        hunt(args.target, [word for word in rest if word != "--"])
    targets = [args.target] if args.target else sorted(SEEDS)
    return max(run(target, args.seconds) for target in targets)


if __name__ == "__main__":
    sys.exit(main())
