"""How a command ends that cannot do what is asked: one line a mistake, and status 2."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import click


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the user's mistakes into `lossbench: error: ...` and exit status 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from lossbench.plugins import PluginError
        from lossbench.plugins.mistakes import SpecError

        warnings.formatwarning = lambda message, *_, **__: f"lossbench: warning: {message}\n"
        try:
            return command(*args, **kwargs)
        except SpecError as error:
            fail(*error.mistakes)
        except BrokenPipeError:  # whoever read along has seen enough, as `head` has; click ends silently
            raise
        except (PluginError, ValueError, OSError) as error:
            if os.environ.get("LOSSBENCH_TRACEBACK"):
                raise
            fail(describe_error(error))

    return wrapped


def describe_error(error: Exception) -> str:
    """One line; the system's own errors with the file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return " ".join(str(error).split()) or type(error).__name__


def fail(*mistakes: str) -> None:
    """Print one line a mistake and leave with status 2."""
    for mistake in mistakes if os.environ.get("RANK", "0") == "0" else ():  # under torchrun, once
        click.echo(f"lossbench: error: {mistake}", err=True)
    sys.exit(2)
