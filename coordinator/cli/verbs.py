"""What every verb shares: its options, its checks of words and dates, its exit codes.

Owns the mapping from errors to exit codes (specification 7): 0 done, 1 refused or not ready,
2 usage, 3 service out of reach. An invalid request is a usage error, whether it is found here or by
the service (422). With ``--json`` a failure also prints one JSON object on stdout.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import cleandoc
from typing import Annotated, Any, ParamSpec

import typer

from coordinator.cli import complete
from coordinator.cli.client import DEFAULT_URL, OutOfReach, Refusal, Service
from coordinator.cli.output import complain, emit
from coordinator.errors import BadInput, CoordinatorError, Unusable
from coordinator.game_dates import NO_GAME_DATE, is_game_date
from coordinator.terminal import safe

DONE, REFUSED, USAGE, OUT_OF_REACH = 0, 1, 2, 3

P = ParamSpec("P")

LOOK, ACT, SEND, SERVE = "Look", "Act", "Send", "Serve and check"
"""The panels of ``coordinator --help``."""


def checked_date(value: str | None) -> str | None:
    """A calendar date ``YYYY-MM-DD``; anything else is a usage error."""
    if value is None:
        return None
    if not is_game_date(value):
        raise typer.BadParameter(f"{safe(value)!r} {NO_GAME_DATE}")
    return value


def checked_reason(value: str | None) -> str | None:
    """A reason that is not empty."""
    if value is None or not value.strip():
        raise typer.BadParameter("say why with --reason; it is recorded in the audit log")
    return value


Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="COORDINATOR_URL", metavar="URL", help="The running service to talk to."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would do; change nothing.")]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        metavar="TEXT",
        callback=checked_reason,
        help="Why (required); recorded in the audit log.",
    ),
]
ProcessorArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROCESSOR",
        autocompletion=complete.processors,
        help="A processor's name or one of its aliases.",
        show_default=False,
    ),
]
DateArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATE",
        callback=checked_date,
        help="The game date, as YYYY-MM-DD.",
        show_default=False,
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="DATE", callback=checked_date, help="First game date."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="DATE", callback=checked_date, help="Last game date."),
]


def service(url: str) -> Service:
    """The service at ``url``, with the token of ``COORDINATOR_TOKEN`` if it is set."""
    return Service(url or DEFAULT_URL, os.environ.get("COORDINATOR_TOKEN"))


def prose(text: str) -> str:
    """A docstring as help: each paragraph is one line for the terminal to wrap, examples stay."""
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


def verb(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function a verb: errors become a sentence on stderr and an exit code."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            function(*args, **kwargs)
        except OutOfReach as error:
            fail(error.detail, OUT_OF_REACH, error.problem() if as_json else None)
        except Refusal as error:
            code = USAGE if error.usage else REFUSED
            fail(error.detail, code, error.problem() if as_json else None, *error.mistakes)
        except CoordinatorError as error:
            lines = error.detail.splitlines() or [""]
            mistakes = error.mistakes if isinstance(error, BadInput) else ()
            problem: dict[str, Any] = {
                "title": error.code,
                "status": error.status,
                "detail": error.detail,
                "mistakes": [_mistake(m) for m in mistakes],
            }
            code = USAGE if isinstance(error, Unusable) else REFUSED
            fail(lines[0], code, problem if as_json else None, *lines[1:])

    guarded.__doc__ = prose(function.__doc__ or "")
    return guarded


def _mistake(mistake: Any) -> dict[str, Any]:
    names = ("field", "message", "value", "file", "line", "column")
    return {name: getattr(mistake, name) for name in names if hasattr(mistake, name)}


def fail(detail: str, code: int, problem: Mapping[str, Any] | None, *more: str) -> None:
    """End with ``code``: the sentence on stderr and, with ``--json``, the problem on stdout."""
    complain(detail, *more)
    if problem is not None:
        emit({"error": problem})
    raise typer.Exit(code)


def usage(message: str) -> typer.BadParameter:
    """A usage error (exit code 2) that belongs to no single option."""
    return typer.BadParameter(message)
