"""``pull``: rows of one stream as Arrow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from . import _errors
from ._child import Child, Value, When, find, names, variables, when


def pull(
    pipeline: str | os.PathLike[str],
    stream: str,
    *,
    since: When | None = None,
    until: When | None = None,
    set: Mapping[str, Value] = {},  # noqa: A002, B006: as the command line has it; never changed
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    env: Mapping[str, str] | None = None,
    binary: str | os.PathLike[str] | None = None,
) -> pa.RecordBatchReader:
    """The rows of a stream as they come, in constant memory; touches no state and no dataset.

    :param pipeline: a pipeline file, or the name of a pipeline in ``pipelines/`` or of the program.
    :param stream: the stream; its parents are read as needed.
    :param since: where windows start instead of where the pipeline says: a date, an instant, or
        a length of time back (``"7d"``).
    :param until: where windows end instead of now; a date is still read.
    :param set: variables of the pipeline. They are handed on by the environment, so that secrets
        may be among them.
    :param columns: only these columns, in this order.
    :param limit: so many rows.
    :param env: environment variables beside those of this process.
    :param binary: the program; by default that of ``TRACKLAKE_BINARY`` or of this package.
    :raises Error: where nothing can be read. What fails later is raised by the reader, in
        place of further batches: rows never end early as if they were all.
    :returns: a reader with the schema, before the first request is answered. The requests end with
        its rows, or when nothing refers to it any more; pyarrow's ``close`` does not end them. Where
        records do not fit and are left out, it warns at its end with :class:`PartialWarning`.
    """
    options = [*when("--since", since), *when("--until", until)]
    if columns is not None:
        options.append(f"--columns={','.join(names('columns', columns))}")
    if limit is not None:
        options.append(f"--limit={limit}")
    assignments, values = variables(set)
    command = [find(binary), "pull", "--format=arrow", "--output=-", *options, *assignments]
    child = Child([*command, "--", os.fspath(pipeline), stream], {**(env or {}), **values})
    return reader(child, lambda warning: warnings.warn(warning, stacklevel=2))


def reader(child: Child, on_partial: Callable[[Warning], None]) -> pa.RecordBatchReader:
    """The Arrow stream on the stdout of a child; a missing part is told at its end."""
    try:
        rows = pa.ipc.open_stream(child.stdout)
    except (pa.ArrowException, OSError) as err:
        try:
            exit_code, stderr = child.wait()
        finally:
            child.close()
        raise _broken(err) if exit_code == 0 else _errors.error(exit_code, stderr) from None
    return pa.RecordBatchReader.from_batches(rows.schema, _batches(child, rows, on_partial))


def _batches(
    child: Child, rows: pa.RecordBatchReader, on_partial: Callable[[Warning], None]
) -> Iterator[pa.RecordBatch]:
    # An Arrow stream may also end where a pipe does: only the exit code tells that it is whole.
    broken = None
    is_empty = True
    try:
        try:
            for batch in rows:
                is_empty = False
                yield batch
        except (pa.ArrowException, OSError) as err:
            broken = err
        exit_code, stderr = child.wait()
    finally:
        child.close()
    if exit_code == _errors.PARTIAL and broken is None:
        on_partial(_errors.partial(stderr))
    elif exit_code != 0:
        raise _errors.error(exit_code, stderr) from broken
    elif broken is not None:
        raise _broken(broken)
    if is_empty:
        # Polars knows the schema by the batches.
        yield pa.RecordBatch.from_pylist([], schema=rows.schema)


def _broken(err: Exception) -> _errors.Error:
    return _errors.Error(
        f"the program did not print a whole Arrow stream: {err}",
        "TRACKLAKE_BINARY or `binary` may name another program than tracklake",
    )
