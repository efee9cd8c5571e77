"""``run``: a pipeline exported to files."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from . import _errors
from ._child import Child, Value, When, find, names, variables, when


def run(
    pipeline: str | os.PathLike[str],
    *,
    streams: Sequence[str] = (),
    since: When | None = None,
    until: When | None = None,
    full_refresh: bool = False,
    set: Mapping[str, Value] = {},  # noqa: A002, B006: as the command line has it; never changed
    output: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    binary: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Exports a pipeline as ``tracklake run --json`` does.

    The parameters are those of the command and of :func:`pull`.

    :raises Error: where the run did not do its work; ``report`` is what it did, where it started.
    :returns: the report. Where a part is missing, which the next run reads, its ``exit_code`` is 7,
        and :class:`PartialWarning` is given.
    """
    options = [
        *(f"--stream={it}" for it in names('streams', streams)),
        *when("--since", since),
        *when("--until", until),
        *(["--full-refresh"] if full_refresh else []),
        *([] if output is None else [f"--output={os.fspath(output)}"]),
        *(f"--format={it}" for it in names('formats', formats)),
    ]
    assignments, values = variables(set)
    command = [find(binary), "run", "--json", *options, *assignments, "--", os.fspath(pipeline)]
    child = Child(command, {**(env or {}), **values})
    try:
        stdout = child.stdout.read()
        exit_code, stderr = child.wait()
    except BaseException:
        # It keeps what it has read for the next run.
        child.process.terminate()
        child.process.wait()
        raise
    finally:
        child.close()
    report: dict[str, Any] | None
    try:
        report = json.loads(stdout)
    except ValueError:
        report = None
    if exit_code == _errors.PARTIAL:
        warnings.warn(_errors.partial(stderr), stacklevel=2)
    elif exit_code != 0:
        raise _errors.error(exit_code, stderr, report)
    if report is None:
        raise _errors.Error(
            "the program did not print a report",
            "TRACKLAKE_BINARY or `binary` may name another program than tracklake",
        )
    return report
