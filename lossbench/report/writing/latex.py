"""Tables for a paper: `booktabs`, numbers aligned right, the top tie group not set in bold by hand."""

from __future__ import annotations

from collections.abc import Mapping

from lossbench.report.writing.cells import Table

LONGEST = 36  # characters of a cell that keeps to one line
_ESCAPES: Mapping[int, str] = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "−": "$-$",
        "–": "--",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "±": r"$\pm$",
        "π": r"$\pi$",
        "ρ": r"$\rho$",
        "′": "$'$",
        "…": r"\ldots{}",
    }
)


def escape(text: str) -> str:
    r"""Any text as LaTeX text.

    >>> escape("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return text.translate(_ESCAPES)


def table(content: Table) -> str:
    """A `tabular` with caption; needs `\\usepackage{booktabs}`."""
    spec = "".join(_alignment(content, index) for index in range(len(content.columns)))
    head = " & ".join(escape(column.label) for column in content.columns)
    units = " & ".join(rf"{{\footnotesize {escape(column.note)}}}" if column.note else "" for column in content.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(content.caption)}. {escape(' '.join(content.notes))}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        rf"{head} \\",
        rf"{units} \\",
        r"\midrule",
        *[" & ".join(escape(cell.text) for cell in row.cells) + r" \\" for row in content.rows],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _alignment(content: Table, index: int) -> str:
    """Numbers right, texts left; a column with a long text wraps."""
    longest = max((len(row.cells[index].text) for row in content.rows), default=0)
    if content.columns[index].numeric:
        return "r"
    return "l" if longest <= LONGEST else r"p{0.28\linewidth}"
