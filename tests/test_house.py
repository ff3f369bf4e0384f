"""The house: what the pages say of the code is true, and each room keeps the house's own rules. Unchecked headers drift."""

from __future__ import annotations

import ast
import itertools
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine
from engine import client
from engine.keys import SUFFIXES
from engine.store.redis_store import RedisStore
from engine.store.scripts import LUA, names

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [ROOT / room for room in ("engine", "handlers", "web", "bench", "tests")]
MOST_LINES = 400
"""A file of ours that grows beyond it has a second idea in it."""

SCRIPTS = names()
PARTS = sorted(path.stem for path in (LUA / "parts").glob("*.lua"))


def modules(*rooms: Path) -> Iterator[Path]:
    for room in rooms or ROOMS:
        yield from sorted(path for path in room.rglob("*.py") if "__pycache__" not in path.parts)


def here(path: Path) -> str:
    return str(path.relative_to(ROOT))


def split(name: str) -> tuple[str, str]:
    """Header and body of a script, or of a part (parts/name)."""
    lines = (LUA / f"{name}.lua").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#!lua")]
    end = next(i for i, line in enumerate(lines) if not line.startswith("--") or line.startswith("--@use"))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def without_comments(body: str) -> str:
    return "\n".join(re.sub(r"(?<![-'\"])--(?!\[).*", "", line) for line in body.splitlines())


# --- the public face -------------------------------------------------------------------------------------------------


def test_every_public_name_exists_is_sorted_and_says_what_it_is_for() -> None:
    assert engine.__all__ == sorted(engine.__all__)
    assert len(set(engine.__all__)) == len(engine.__all__)
    values = described_values()
    for name in set(engine.__all__) - {"__version__"}:
        thing = getattr(engine, name)
        said = thing.__doc__ if isinstance(thing, (type, types.FunctionType)) else name in values
        assert said, f"engine.{name} has no docstring"


def test_every_name_of_the_client_is_found_where_it_is_said_to_be() -> None:
    assert client.__all__ == sorted(client.__all__)
    for name in client.__all__:
        assert getattr(client, name).__name__ == name


def described_values() -> set[str]:
    """Names that are given a value at the top of a module, with a string below that says what it is."""
    found = set()
    for path in modules(ROOT / "engine"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, after in itertools.pairwise(body):
            says = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            if isinstance(node, ast.Assign) and says:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_every_module_opens_with_what_it_is_for() -> None:
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body:
            assert ast.get_docstring(tree), f"{here(path)} has no docstring"


def test_every_public_function_and_class_of_the_engine_says_what_it_does() -> None:
    silent = []
    for path in modules(ROOT / "engine"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            things = [node, *(node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [])]
            for thing in things:
                if isinstance(thing, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not thing.name.startswith("_"):
                    is_overload = any(isinstance(d, ast.Name) and d.id == "overload" for d in thing.decorator_list)
                    if not ast.get_docstring(thing) and not is_overload:
                        silent.append(f"{here(path)}:{thing.lineno} {thing.name}")
    assert not silent, silent


# --- rules of the house ----------------------------------------------------------------------------------------------


def test_no_file_of_the_engine_has_grown_too_long() -> None:
    long = [
        f"{here(p)} {n}" for p in modules(ROOT / "engine") if (n := len(p.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    ]
    assert not long, long


def test_every_exception_from_a_lint_or_type_rule_has_its_reason_on_the_line() -> None:
    noqa = re.compile(r"#\s*noqa(:\s*[A-Z]+[0-9]+(\s*,\s*[A-Z]+[0-9]+)*)?(?P<reason>.*)")
    ignore = re.compile(r"#\s*type:\s*ignore(\[[a-z-]+(\s*,\s*[a-z-]+)*\])?(?P<reason>.*)")
    bare = []
    for path in modules():
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for rule in (noqa, ignore):
                if (found := rule.search(line)) and (found[1] is None or not re.search(r"\w{3}", found["reason"])):
                    bare.append(f"{here(path)}:{number}")
    assert not bare, bare


def test_payloads_are_data_nothing_reads_them_as_code() -> None:
    forbidden = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
    found = []
    for path in [p for room in ("engine", "handlers", "web") for p in (ROOT / room).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if forbidden & {name.split(".")[0] for name in names} or called in ("eval", "exec", "compile", "__import__"):
                found.append(f"{path}:{getattr(node, 'lineno', 0)}")
    assert found == []


def test_only_the_clock_reads_time_sleeps_and_draws() -> None:
    """What ruff's banned-api list can't see: other spellings of the same."""
    banned = re.compile(r"\b(time\.(time|time_ns|monotonic|sleep)|datetime\.(now|utcnow)|random\.\w+|asyncio\.sleep)\(")
    allowed = {"engine/clock.py", *(here(p) for p in (ROOT / "engine").glob("embedded*.py"))}  # before any clock exists
    found = []
    for path in modules(ROOT / "engine"):
        if here(path) not in allowed:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if banned.search(re.sub(r"(self\.)?_?clock\.\w+\(|\"[^\"]*\"|`[^`]*`", "", line)):
                    found.append(f"{here(path)}:{number}")
    assert not found, found


# --- the scripts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_scripts_header_says_its_purpose_its_keys_its_answer_and_who_calls_it(name: str) -> None:
    header, _ = split(name)
    assert header.startswith(f"-- {name}: "), "the first line says what it is for"
    for word in ("KEYS[1]  prefix    keys.prefix(queue)", "ARGV[1]  gap", "ARGV[2]  now_ms", "-- Returns  ", "-- Used by  "):
        assert word in header, f"{name}.lua says nothing of {word!r}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_scripts_arguments_are_those_its_header_names(name: str) -> None:
    header, body = split(name)
    body = without_comments(body)
    documented = {int(n) for n in re.findall(r"ARGV\[(\d+)\]", header)}
    used = {int(n) for n in re.findall(r"ARGV\[(\d+)\]", body)} | {1, 2}  # the parts `ids` and `base` use these two
    assert used <= documented, f"{name}.lua uses {sorted(used - documented)} without naming them"
    assert documented <= used, f"{name}.lua names {sorted(documented - used)} without using them"
    rest = re.search(r"for \w+ = (\d+), #ARGV", body)
    if rest is None:
        assert "#ARGV" not in body or "then" in header
    else:
        assert int(rest[1]) == max(documented) + 1, f"{name}.lua: the rest begins after the last argument that has a name"
        assert "then" in header, f"{name}.lua does not say what the rest of its arguments are"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_one_key_and_builds_the_others_from_the_prefix(name: str) -> None:
    body = without_comments(split(name)[1])
    for part in parts_of(name):
        body += without_comments(split(f"parts/{part}")[1])
    assert set(re.findall(r"KEYS\[(\d+)\]", body)) == {"1"}
    assert not re.search(r"['\"]engine:", body)


@pytest.mark.parametrize("name", SCRIPTS)
def test_who_a_script_says_it_is_used_by_does_use_it(name: str) -> None:
    header, _ = split(name)
    users = re.findall(r"RedisStore\.(\w+)", header.partition("-- Used by")[2])
    assert users, f"{name}.lua names no method"
    called: dict[str, set[object]] = {}
    for path in modules(ROOT / "engine" / "store"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef):
                strings = {
                    c.args[0].value
                    for c in ast.walk(node)
                    if isinstance(c, ast.Call) and c.args and isinstance(c.args[0], ast.Constant)
                }
                called[node.name] = called.get(node.name, set()) | strings
    for user in users:
        assert callable(getattr(RedisStore, user, None)), f"{name}.lua: RedisStore has no {user}"
        assert name in called[user], f"RedisStore.{user} does not call {name}.lua"
    others = {method for method, strings in called.items() if name in strings} - set(users)
    assert not others, f"{name}.lua does not name {others}"


def test_no_other_words_stand_where_a_script_names_its_users() -> None:
    for name in SCRIPTS:
        used_by = split(name)[0].partition("-- Used by  ")[2]
        assert re.fullmatch(r"RedisStore\.\w+((, | and )RedisStore\.\w+)*", used_by.strip()), f"{name}.lua: {used_by!r}"


def parts_of(name: str) -> list[str]:
    text = (LUA / f"{name}.lua").read_text(encoding="utf-8")
    found = re.findall(r"^--@use (.+)$", text, re.MULTILINE)
    parts = [part for line in found for part in str(line).split()]  # two lines: what the usual call needs, and the rest
    assert parts, f"{name}.lua names no parts"
    assert len(set(parts)) == len(parts), f"{name}.lua names a part twice"
    return parts


def test_every_part_says_what_it_is_and_is_used() -> None:
    used = {part for name in SCRIPTS for part in parts_of(name)}
    assert used == set(PARTS)
    for part in PARTS:
        assert split(f"parts/{part}")[0].startswith(f"-- {part}: ")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_something_of_every_part_it_names_and_nothing_it_does_not(name: str) -> None:
    """A closure that is not used is built in vain at each call; one that is missing fails only when its line is reached."""
    given: dict[str, set[str]] = {}
    for part in PARTS:
        body = without_comments(split(f"parts/{part}")[1])
        given[part] = set(re.findall(r"^local function (\w+)", body, re.MULTILINE))
        for line in re.findall(r"^local ([\w, ]+?)(?: =|$)", body, re.MULTILINE):
            given[part] |= {word.strip() for word in line.split(",")} - {"function"}
        given[part] = {g for g in given[part] if not g.startswith("function")}
    named = parts_of(name)
    body = without_comments(split(name)[1])
    bodies = {part: without_comments(split(f"parts/{part}")[1]) for part in named}
    for at, part in enumerate(named):
        later = body + "".join(bodies[p] for p in named[at + 1 :])
        assert any(re.search(rf"\b{word}\b", later) for word in given[part]), f"{name}.lua names {part} in vain"
    own = set(re.findall(r"\blocal (?:function )?(\w+)", body)) | set(re.findall(r"[,(] ?(\w+)", body))
    for part in set(PARTS) - set(named):
        for word in given[part] - own:
            assert not re.search(rf"(?<![.\w'\"])\b{word}\(", body), f"{name}.lua calls {word} of {part} without naming the part"


def lua_suffixes() -> set[str]:
    text = "".join(without_comments(path.read_text(encoding="utf-8")) for path in [*LUA.glob("*.lua"), *LUA.glob("parts/*.lua")])
    found = set(re.findall(r"P \.\. '([a-z]+:?)", text))
    named = set(re.findall(r"'([a-z]+:?)'", text))  # a key may be chosen by a variable: then its name is a plain string nearby
    return found | (named & set(SUFFIXES))


def test_every_key_the_scripts_touch_is_in_the_catalogue_and_the_other_way_round() -> None:
    assert lua_suffixes() - set(SUFFIXES) == set()
    assert set(SUFFIXES) - lua_suffixes() == set()


def test_every_key_the_store_touches_itself_is_in_the_catalogue() -> None:
    found = set()
    for path in modules(ROOT / "engine" / "store", ROOT / "engine" / "services"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"prefix\(\w+\)\s*\+\s*\"([a-z]+:?)", text))
        found |= set(re.findall(r"\{prefix\(\w+\)\}([a-z]+:?)", text))
    assert found
    assert found <= set(SUFFIXES)


# --- the pages -------------------------------------------------------------------------------------------------------


def test_the_page_of_keys_has_a_row_for_each_and_says_the_same() -> None:
    rows = re.findall(r"^\| `([a-z:]+)` \| (.+) \|$", (ROOT / "docs" / "keys.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(rows) == SUFFIXES
    assert [suffix for suffix, _ in rows] == list(SUFFIXES)


def test_decisions_that_the_code_points_to_exist() -> None:
    for path in modules(ROOT / "engine"):
        for page in re.findall(r"docs/[\w/.-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{here(path)} points to {page}, which does not exist"


# --- pages that name tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["invariants.md", "reliability.md"])
def test_a_page_names_only_tests_that_exist(page: str) -> None:
    """`tests/x/test_y.py::part of a name`, and promises/09 for a file of tests/system/promises."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = [([ROOT / path], part) for path, part in re.findall(r"`(tests/[\w./]+)(?:::(\w+))?`", text)]
    promises = sorted((ROOT / "tests/system/promises").glob("test_*.py"))
    for start, part in re.findall(r"(?<![\w/])promises/(\w+)(?:::(\w+))?", text):
        named.append(([path for path in promises if path.stem.startswith(f"test_{start}")], part))
    assert named
    for paths, part in named:
        assert any(path.exists() and (not part or part in path.read_text(encoding="utf-8")) for path in paths), f"{paths} {part}"
