"""Typed errors. The class says whose fault it is, whether to retry, and which HTTP status it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with an input: the field, what was there, the rule, and the fix."""

    field: str
    message: str
    value: str | None = None

    def __str__(self) -> str:
        got = f" (got {self.value})" if self.value is not None else ""
        return f"{self.field}: {self.message}{got}"


class CoordinatorError(Exception):
    """Every error this project raises on purpose. ``detail`` says what to do."""

    status = 500
    code = "error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class BadInput(CoordinatorError):
    """The caller's mistake: never retried. HTTP 422."""

    status = 422
    code = "bad_input"

    def __init__(
        self, detail: str, mistakes: Sequence[Mistake] = (), *, code: str | None = None
    ) -> None:
        super().__init__(detail, code=code)
        self.mistakes = tuple(mistakes)


class NotFound(BadInput):
    """Nothing has that name. HTTP 404."""

    status = 404
    code = "not_found"


class TooLarge(BadInput):
    """Over a stated limit. HTTP 413."""

    status = 413
    code = "too_large"


class Unusable(BadInput):
    """A named thing cannot be used at all: an unreadable file, an invalid address.

    A usage error on the command line (specification 7).
    """

    code = "unusable"


class Refused(CoordinatorError):
    """A rule refused it. HTTP 409."""

    status = 409
    code = "refused"


CONTENDED = "contended"
"""The code of an ``Unavailable`` whose part answers, but is contended."""


QUEUE_FULL = "queue_full"
"""The code of an ``Unavailable`` because too many events wait for the store."""


class Unavailable(CoordinatorError):
    """A part is out of reach: retry. HTTP 503."""

    status = 503
    code = "unavailable"


class Bug(CoordinatorError):
    """A defect of the service. HTTP 500."""

    status = 500
    code = "bug"
