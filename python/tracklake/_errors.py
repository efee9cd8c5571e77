"""What the program says when it fails, as exceptions."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """The program failed; rows or files that it was asked for are not all there.

    ``message`` says what failed and why, ``hint`` what to try (``None`` where nothing is known),
    ``exit_code`` is that of the program, negative for the signal that ended it. ``report`` is the
    report of a run that failed after it had started.
    """

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        exit_code: int = 1,
        report: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint, exit_code, report)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.report = report

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


class UsageError(Error):
    """An argument cannot be used (exit code 2)."""


class PipelineError(Error):
    """The pipeline file or its variables cannot be used (exit code 3)."""


class SourceError(Error):
    """The source did not answer as it should (exit code 4). It may do so later."""


class DataError(Error):
    """Too many records do not fit, or a guard of a run stopped it (exit code 5)."""


class DestinationError(Error):
    """The destination, its state or its lock cannot be used (exit code 6)."""


class PartialWarning(UserWarning):
    """All but a part is there (exit code 7): records that do not fit are left out, or slices failed.

    ``warnings.simplefilter("error", tracklake.PartialWarning)`` makes it an exception.
    """


PARTIAL = 7

_BY_EXIT_CODE: dict[int, type[Error]] = {
    2: UsageError,
    3: PipelineError,
    4: SourceError,
    5: DataError,
    6: DestinationError,
}


def error(exit_code: int, stderr: str, report: dict[str, Any] | None = None) -> Error:
    """The exception for how the program ended and what it said.

    An error is a line that begins with ``error:``, and the indented lines below it.
    """
    if exit_code < 0:
        return Error(f"tracklake was ended by signal {-exit_code}", None, exit_code, report)
    lines = stderr.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    if not starts:
        said = stderr.strip() or f"tracklake ended with exit code {exit_code}"
        return _BY_EXIT_CODE.get(exit_code, Error)(said, None, exit_code, report)
    # Of several streams that failed, each says why.
    message: list[str] = []
    hint: str | None = None
    for start in starts:
        message.append(lines[start].removeprefix("error: "))
        for line in lines[start + 1 :]:
            if not line.startswith("  "):
                break
            if line.startswith("  hint: "):
                hint = hint or line.removeprefix("  hint: ")
            else:
                message.append(line)
    return _BY_EXIT_CODE.get(exit_code, Error)("\n".join(message), hint, exit_code, report)


def partial(stderr: str) -> PartialWarning:
    """The warning for what the program says where a part is missing."""
    notes = [
        line.removeprefix("note: ").removeprefix("error: ")
        for line in stderr.splitlines()
        if line.startswith(("note: ", "error: "))
    ]
    return PartialWarning("; ".join(notes) or "a part is missing")
