"""Text from outside as it is written in another language: LaTeX, Markdown, CSV, a figure.

HTML is jinja2's, which escapes by itself; the words of a printed command are shlex's.
"""

import re
from collections.abc import Sequence

import pandas as pd

from fewshot_landmarks.support.names import plain

PLAIN_TEXT = {"text.parse_math": False}  # matplotlib's: a name with dollars is no formula


# --------------------------------------------------------------------------------- LaTeX

_TEX: dict = {character: f"\\{character}" for character in "{}$&#_%"}
_TEX |= {"[": "{[}", "]": "{]}", "*": "{*}"}  # after \\ they would be its arguments
_TEX |= {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}", "±": r"$\pm$", '"': "''"}
_TEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
_TEX |= {"`": r"\textasciigrave{}"}
# What the usual fonts of pdflatex do not have.
_STRANGE = re.compile("(?:[^ -~\xa0-\u017e\u2010-\u2016‘’“”†‡•…‰€™]|[«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų])+")


def latex(text: str) -> str:
    """Text for a paragraph, a caption or a cell; needs no package.

    A character that only XeLaTeX and LuaLaTeX can set is its number in pdflatex.
    """
    escaped = plain(text).translate(str.maketrans(_TEX))
    return _STRANGE.sub(_strange, escaped.replace("--", "-{}-"))


def _strange(found: re.Match) -> str:
    numbers = " ".join(f"U+{ord(character):04X}" for character in found[0])
    return rf"\ifdefined\Umathchar {found[0]}\else {numbers}\fi{{}}"


# ------------------------------------------------------------------------------ Markdown


class Markdown(str):
    """Text that is Markdown."""


_MARKS = re.compile(
    r"[`*<$~#|]|\](?=\()|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word is no mark
    r"|\\(?=[^\w\s]|_|$)|&(?=#?\w+;)"  # a backslash or & before what it would change
    r"|^\[|^>|^[-+](?=\s|$)"
)


def markdown(text: str) -> Markdown:
    """Text for a heading, an item of a list or a cell; `Markdown` stays as it is."""
    if isinstance(text, Markdown):
        return text
    escaped = _MARKS.sub(r"\\\g<0>", plain(text))
    return Markdown(re.sub(r"^(\d+)(?=[.)](\s|$))", r"\1\\", escaped))


def entities(text: str) -> str:
    """A text that shows as it is written, in Markdown and in HTML alike."""
    return re.sub(r"[^\w\s]", lambda sign: f"&#{ord(sign[0])};", text)


def pipes(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a head and rows, padded so that it reads as plain text too."""
    lines = [[markdown(text) for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def items(texts: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {markdown(text)}" for text in texts)


# ----------------------------------------------------------------------------------- CSV


def csv_text(frame: pd.DataFrame, **options) -> str:
    """A frame as CSV; `options` are pandas' own.

    A text that a spreadsheet would take for a formula has an apostrophe before it, which `unquoted`
    takes away. Numbers, written as text or not, stay as they are.
    """
    texts = frame.select_dtypes(exclude="number")
    frame = frame.assign(**{name: texts[name].map(_quoted) for name in texts})
    return frame.to_csv(index=False, lineterminator="\n", **options)


_NUMBER = re.compile(r"\(?[-+]?([\d.]+(e[-+]?\d+)?|nan|inf)%?\)?|±|to")


def _quoted(value: object) -> object:
    if not isinstance(value, str) or not re.match(r"'*[=+\-@]", value):
        return value
    return value if all(map(_NUMBER.fullmatch, value.split())) else f"'{value}"


def unquoted(texts: pd.Series) -> pd.Series:
    """The texts of a column as they were before `csv_text`."""
    if not texts.str.startswith("'").any():  # as nearly always
        return texts
    return texts.str.replace(r"^'(?='*[=+\-@])", "", regex=True)
