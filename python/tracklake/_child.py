"""The program as a child process: where it is, what it is given, and how it ends."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Union

from ._errors import Error

#: A date, an instant with its zone, or text as the command line takes it: ``"7d"``.
When = Union[str, datetime.date, datetime.datetime]

#: The value of a variable.
Value = Union[str, int, float, bool]


def find(binary: str | os.PathLike[str] | None = None) -> str:
    """The program: the one that is given, that of ``TRACKLAKE_BINARY``, or that of this package."""
    chosen = binary or os.environ.get("TRACKLAKE_BINARY")
    if chosen:
        return os.fspath(chosen)
    schemes = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    if sys.version_info >= (3, 10):
        schemes.append(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    for directory in schemes:
        candidate = Path(directory, "tracklake")
        if candidate.is_file():
            return str(candidate)
    on_path = shutil.which("tracklake")
    if on_path is None:
        raise Error(
            "the program `tracklake` is not there",
            "install the package with `pip install`, or name the program in TRACKLAKE_BINARY",
        )
    return on_path


def when(option: str, value: When | None) -> list[str]:
    """A point in time as an option of the command line."""
    if value is None:
        return []
    if not isinstance(value, (str, datetime.date)):
        raise TypeError(f"`{option[2:]}` is a date, an instant or text such as '7d', not {value!r}")
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise ValueError(f"`{option[2:]}` is an instant without a zone: {value}")
        value = value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    elif isinstance(value, datetime.date):
        value = value.isoformat()
    return [f"{option}={value}"]


def names(parameter: str, values: Sequence[str]) -> Sequence[str]:
    """Several names; a text is one as well, of its letters."""
    if isinstance(values, str):
        raise TypeError(f"`{parameter}` is a list of names, not the text {values!r}")
    return values


def variables(values: Mapping[str, Value]) -> tuple[list[str], dict[str, str]]:
    """Values of variables as options and environment.

    Other users see command lines: the values, which may be secrets, are in the environment only.
    """
    options, env = [], {}
    for name, value in values.items():
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, (str, int, float)):
            raise TypeError(f"variable `{name}` is text, a number or a boolean, not {value!r}")
        options.append(f"--set={name}")
        env[f"TRACKLAKE_VAR_{name}"] = str(value)
    return options, env


class Child:
    """A program that runs, and ends at the latest when nobody refers to it any more."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        stdin: IO[bytes] | int = subprocess.DEVNULL,
    ) -> None:
        # A file, because nobody may be there to take what it says meanwhile.
        self._stderr = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, **env},
            )
        except OSError as err:
            raise Error(
                f"`{command[0]}` cannot be started: {err.strerror}",
                "name the program in TRACKLAKE_BINARY",
            ) from err
        assert self.process.stdout is not None
        self.stdout: IO[bytes] = self.process.stdout
        self._end = weakref.finalize(self, _end, self.process)

    def wait(self) -> tuple[int, str]:
        """Waits for its end; gives the exit code and what it said on stderr.

        :raises Error: where others were told how it ended: rows may be missing.
        """
        # `Popen.wait` takes an end that others were told of for a good one.
        try:
            _, status = os.waitpid(self.process.pid, 0)
        except ChildProcessError:
            raise Error(
                "how tracklake ended is not known, so that rows may be missing",
                "read in the process that called, which must not ignore SIGCHLD or wait for all children",
            ) from None
        exit_code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self._stderr.seek(0)
        return exit_code, self._stderr.read().decode("utf-8", "replace")

    def close(self) -> None:
        """Ends it at once, if it has not ended."""
        self._end()
        self._stderr.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
