"""Derivations as a LaTeX document of its own, for `pdflatex`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlang.draw.derivation.conventions import conventions
from netlang.draw.derivation.steps import Derivation, Equality, Result, Step
from netlang.draw.formula.latex import escaped, formula_latex
from netlang.draw.formula.text import formula_text

_HEAD = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{amsmath, amssymb}
\usepackage[margin=2cm]{geometry}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
"""

# type for formulas with more characters of text than the number
_SIZES = ((r"\scriptsize", 130), (r"\footnotesize", 105), (r"\small", 85))

# characters of the sentences on notation that a text font may lack
_SIGNS = {"⊙": r"$\odot$", "ᵀ": r"$^{\top}$", "×": r"$\times$", "`": ""}


def derivation_latex(d: Derivation) -> str:
    """The derivation as a document of class `article` with amsmath."""
    lines = [_HEAD, f"\\title{{The gradients of {escaped(d.net)}}}", r"\author{}", r"\date{}"]
    lines += [r"\begin{document}", r"\maketitle"]
    if d.functions:
        lines += [r"\section*{Functions}", *_aligned(d.functions)]
    lines.append(r"\section*{Forward}")
    for section, equations in d.forward:
        lines += [*([f"\\subsection*{{{escaped(section)}}}"] if section else []), *_aligned(equations)]
    # an empty group keeps a bracket at the start of a sentence from being an argument
    sentences = [f"  \\item {{}}{_sentence(line)}" for line in conventions(d)]
    lines += [r"\section*{Notation}", r"\begin{itemize}", *sentences, r"\end{itemize}"]
    lines.append(r"\section*{Backward}")
    section = ""
    for step in d.steps:
        if step.section != section:
            section = step.section
            lines += [f"\\subsection*{{{escaped(section)}}}"] if section else []
        lines += _step(step)
    lines += [r"\section*{Gradients}", *_aligned([r.final for r in d.gradients]), r"\end{document}"]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return "".join(_SIGNS.get(c, escaped(c)) for c in text)


def _aligned(equations: Sequence[Equality]) -> list[str]:
    return _align([_row(formula_latex(e.left), e) for e in equations], equations)


def _align(rows: Iterable[str], equations: Iterable[Equality]) -> list[str]:
    """Rows aligned at their signs of equality, in small type where one of them is long."""
    longest = max(len(formula_text(e.left)) + len(formula_text(e.right)) + len(e.shape) for e in equations)
    size = next((command for command, least in _SIZES if longest > least), "")
    inner = [r"\begin{align*}", " \\\\\n".join(rows), r"\end{align*}"]
    return [f"{{{size}", *inner, "}"] if size else inner


def _row(left: str, e: Equality, shape: bool = True) -> str:
    text = f"    {left} &= {formula_latex(e.right)}"
    return text + (f" && ({e.shape.replace('×', chr(92) + 'times')})" if e.shape and shape else "")


def _step(step: Step) -> Iterable[str]:
    yield f"\\paragraph{{Step {step.number}.}} Rules: {'; '.join(step.rules)}."
    yield from _aligned([step.forward, *step.places])
    for result in step.results:
        yield from _align(_result(result), (result.raw, *result.forms))
    if step.also:
        yield f"A part of the derivative by {escaped(', '.join(step.also))} too.\n"


def _result(result: Result) -> Iterable[str]:
    previous = ""
    forms = (result.raw, *result.forms)
    for k, form in enumerate(forms):
        left = formula_latex(form.left)
        yield _row("" if left == previous else left, form, shape=k == len(forms) - 1)
        previous = left
