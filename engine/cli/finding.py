"""Finding: from `module:attribute` to the application, and a command's work inside `async with` it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from ..errors import ConfigError
from .common import Globals

if TYPE_CHECKING:
    from ..app import Engine
    from ..client import Client
    from ..config import Settings

T = TypeVar("T")


def find_app(where: str) -> Engine:
    """The Engine that `where` (`module:attribute`) names; the working directory may hold the module.

    Raises:
        ConfigError: no such module or attribute, or it is no Engine. The sentence says what to write.
    """
    from ..app import Engine
    from ..keys import shown

    name, colon, attribute = where.partition(":")
    if not name or (colon and not attribute):
        raise ConfigError(
            f"application {shown(where)} is not of the form module:attribute, such as handlers:engine", setting="ENGINE_APP"
        )
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            hint = "name it with --app or ENGINE_APP, and start the command where it can be imported"
            raise ConfigError(f"there is no module {shown(name)} for the application: {hint}", setting="ENGINE_APP") from error
        raise ConfigError(
            f"module {shown(name)} needs {shown(error.name)}, which is not installed", setting="ENGINE_APP"
        ) from error
    except Exception as error:  # whatever the application's own code raises while it is imported
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"module {shown(name)} can't be imported: {said[:300]} (--debug shows where)", setting="ENGINE_APP"
        ) from error
    found = getattr(module, attribute or "engine", None)
    if found is None:
        engines = [key for key, value in vars(module).items() if isinstance(value, Engine)]
        near = get_close_matches(attribute, engines, n=1) or engines
        hint = (
            f"did you mean {name}:{near[0]}?"
            if near
            else f"it has no Engine at all: write `{attribute or 'engine'} = Engine()` there"
        )
        raise ConfigError(f"module {shown(name)} has no {shown(attribute or 'engine')}; {hint}", setting="ENGINE_APP")
    if not isinstance(found, Engine):
        raise ConfigError(f"{where} is a {type(found).__name__}, not an Engine", setting="ENGINE_APP")
    return found


def configured(change: Callable[[Settings], Settings] | None = None) -> Engine:
    """The application that this command is about, with the settings of the environment; ConfigError as `find_app`."""
    from ..config import load

    settings = load()
    app = find_app(Globals.app or settings.app)
    app.configure(change(settings) if change else settings)
    return app


def with_app(act: Callable[[Engine], Awaitable[T]]) -> T:
    """Run `act` with the application open. Errors as `find_app`, `Connection.open`, and its own."""
    import asyncio

    app = configured()

    async def main() -> T:
        async with app:
            return await act(app)

    return asyncio.run(main())


def with_client(act: Callable[[Client], Awaitable[T]]) -> T:
    """Run `act` with the application's client. Errors as `with_app`."""
    return with_app(lambda app: act(app.client))
