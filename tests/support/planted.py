"""Planted bugs: what a naive engineer would have written, behind a switch, so that the suite can be shown to turn red.

A plant replaces text of a Lua script or of a Python method while `planted(name)` is open, and says so when that text is not there
exactly once: a later change can't disarm it in silence. Nothing in engine/ knows of this. By hand: `pytest --planted no-fence ...`.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.store import scripts
from tests.support.plants import PLANTS, Edit, Plant

BY_NAME = {plant.name: plant for plant in PLANTS}


@contextlib.contextmanager
def planted(name: str) -> Iterator[Plant]:
    """The bug is there inside the block. AssertionError when what it replaces is not there: mend the plant, it proves nothing."""
    plant = BY_NAME[name]
    with contextlib.ExitStack() as stack:
        _edit_scripts([edit for edit in plant.edits if ":" not in edit.where], plant, stack)
        for edit in plant.edits:
            if ":" in edit.where:
                _edit_method(edit, plant, stack)
        yield plant


def _replaced(text: str, edit: Edit, plant: Plant) -> str:
    found = text.count(edit.old)
    assert found == 1, f"plant {plant.name}: what it replaces in {edit.where} is there {found} times, not once:\n{edit.old}"
    return text.replace(edit.old, edit.new)


def _edit_scripts(edits: list[Edit], plant: Plant, stack: contextlib.ExitStack) -> None:
    if not edits:
        return
    real = scripts.LUA
    lua = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planted-"))) / "lua"
    shutil.copytree(real, lua)
    for edit in edits:
        path = lua / edit.where
        path.write_text(_replaced(path.read_text(encoding="utf-8"), edit, plant), encoding="utf-8")
    _use(lua)
    stack.callback(_use, real)


def _use(lua: Path) -> None:
    scripts.LUA = lua
    scripts.script.cache_clear()
    scripts.part.cache_clear()


def _edit_method(edit: Edit, plant: Plant, stack: contextlib.ExitStack) -> None:
    module_name, _, path = edit.where.partition(":")
    class_name, _, method = path.partition(".")
    module = importlib.import_module(module_name)
    cls: Any = getattr(module, class_name)
    real = cls.__dict__[method]
    source = _replaced(inspect.getsource(real), edit, plant)
    made: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), f"<planted {plant.name}>", "exec"), sys.modules[module_name].__dict__, made)
    setattr(cls, method, made[method])
    stack.callback(setattr, cls, method, real)
