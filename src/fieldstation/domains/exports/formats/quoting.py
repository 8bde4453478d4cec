"""Texts in cells of a spreadsheet: none is taken for a formula, a number or a boolean.

An apostrophe in front says that the rest is a text, as in spreadsheets themselves. It stands before
a text that begins with a sign of a formula or with an apostrophe, before an empty one (an empty
cell is no text), and in CSV before a text that reads like a number or a boolean.
"""

import math

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")
MARK = "'"
BOOLEANS = {"true": True, "false": False}


def quote_text(text: str) -> str:
    """Return a text as it stands in a cell whose type is known."""
    return MARK + text if not text or text.startswith((*FORMULA_SIGNS, MARK)) else text


def unquote_text(cell: str) -> str:
    """Return the text of a cell that is not empty."""
    return cell.removeprefix(MARK)


def write_value(value: float | bool | str) -> str:
    """Return a value as it stands in a cell of CSV; ``read_value`` gives the same back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    quoted = quote_text(value)
    return MARK + quoted if quoted == value and not isinstance(read_value(value), str) else quoted


def read_value(cell: str) -> float | bool | str:
    """Return the value of a cell of CSV: a boolean, a finite number, else a text."""
    boolean = BOOLEANS.get(cell.lower())
    if boolean is not None:
        return boolean
    try:
        number = float(cell)
    except ValueError:
        return unquote_text(cell)
    return number if math.isfinite(number) else cell
