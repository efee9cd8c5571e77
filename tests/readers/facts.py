"""What a table says, in a form in which the tables of different readers are equal or not."""

import hashlib
import json

import pyarrow as pa


def texts(column: pa.ChunkedArray) -> list:
    """The values, each as one text whatever the reader's own type is; null stays null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_timestamp(kind):
        assert kind.tz is not None, "an instant without a zone"
        return [None if it is None else str(it) for it in column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()]
    if pa.types.is_date(kind):
        return [None if it is None else str(it) for it in column.cast(pa.date32()).cast(pa.int32()).to_pylist()]
    if pa.types.is_floating(kind):
        return [None if it is None else it.hex() for it in column.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [None if it is None else str(it) for it in column.to_pylist()]
    if pa.types.is_null(kind):
        return [None] * len(column)
    assert pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view(), kind
    return column.to_pylist()


def fingerprint(table: pa.Table, without: tuple = ()) -> dict:
    """The number of rows, and a hash of all rows and of each column, in no order."""
    columns = {name: texts(table.column(name)) for name in sorted(table.column_names) if name not in without}
    rows = sorted(json.dumps(row) for row in zip(*columns.values()))
    sorted_texts = {name: sorted(json.dumps(it) for it in values) for name, values in columns.items()}
    return {"rows": table.num_rows, "all": digest(rows), "columns": {name: digest(it) for name, it in sorted_texts.items()}}


def digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:16]
