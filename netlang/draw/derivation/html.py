"""Derivations as one HTML file: mathematics in MathML, steps that fold, no scripts and nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from netlang.draw.derivation.conventions import conventions
from netlang.draw.derivation.steps import Derivation, Equality, Result, Step
from netlang.draw.formula.mathml import formula_mathml, name_mathml

_STYLE = """
:root { color-scheme: light; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; color: #1c2733; background: #fff;
       font: 16px/1.5 "Source Serif 4", "Palatino Linotype", Palatino, Georgia, serif; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d5dde5; padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; color: #51657a; font-weight: 600; }
p.lead { margin-top: 0; color: #51657a; }
math { font-size: 1.06em; }
.rows { display: grid; grid-template-columns: max-content max-content 1fr max-content; gap: .5rem .55rem;
        align-items: center; margin: .5rem 0 .5rem 1.5rem; overflow-x: auto; overflow-y: hidden; }
.rows > .left { justify-self: end; }
.shape { color: #7b8b9a; font-size: .85rem; white-space: nowrap; padding-left: 1.5rem; }
details { margin: .7rem 0; border: 1px solid #d5dde5; border-radius: 6px; padding: .5rem .9rem; break-inside: avoid; }
summary { cursor: pointer; }
summary .number { display: inline-block; min-width: 1.6rem; color: #51657a; font-weight: 600; }
ul.rules { margin: .5rem 0 .2rem 1.5rem; padding: 0; list-style: none; }
ul.rules li { display: inline-block; background: #eef3f8; color: #33506e; border-radius: 4px; font-size: .85rem;
              padding: .1rem .5rem; margin: 0 .4rem .3rem 0; }
.sought > .last { justify-self: start; background: #fff7dc; border-radius: 4px; padding: .15rem .45rem; }
.also { color: #51657a; font-size: .9rem; margin-left: 1.5rem; }
ul.notation { margin: .4rem 0 0; padding-left: 1.2rem; color: #51657a; font-size: .92rem; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
@media print { body { margin: 0; max-width: none; font-size: 9.5pt; padding: 0; } details { border-color: #aaa; }
               .rows { overflow: visible; margin-left: .5rem; } .shape { padding-left: .5rem; }
               details:not([open]) > *:not(summary) { display: block; } }
""".strip()


def derivation_html(d: Derivation, diagram: str = "") -> str:
    """The derivation as a page of its own; `diagram` is SVG text to show above it."""
    title = f"The gradients of {escape(d.net)}"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>",
        f"<h1>{title}</h1>",
        f'<p class="lead">{_lead(d)}</p>',
    ]
    if diagram:
        parts.append(f"<figure>{diagram}</figure>")
    parts += ["<h2>Gradients</h2>", _rows([r.final for r in d.gradients])]
    if d.functions:
        parts += ["<h2>Functions</h2>", _rows(d.functions)]
    parts.append("<h2>Forward</h2>")
    for section, equations in d.forward:
        parts += [*([f"<h3>{escape(section)}</h3>"] if section else []), _rows(equations)]
    parts += ["<h2>Backward</h2>", _notation(d)]
    section = ""
    for step in d.steps:
        if step.section != section:
            section = step.section
            parts += [f"<h3>{escape(section)}</h3>"] if section else []
        parts.append(_step(step))
    parts.append("</body>\n</html>")
    return "\n".join(parts) + "\n"


def _lead(d: Derivation) -> str:
    symbol = f"<math>{name_mathml(d.symbol)}</math>"
    named = "" if d.symbol == d.objective else f", the loss <code>{escape(d.objective)}</code>"
    return f"Derivatives of {symbol}{named}, by the chain rule from the end of the network to its start."


def _notation(d: Derivation) -> str:
    return f'<ul class="notation">{"".join(f"<li>{escape(line)}</li>" for line in conventions(d))}</ul>'


def _rows(equations: Sequence[Equality]) -> str:
    cells = [_cells(formula_mathml(e.left), e, e.shape) for e in equations]
    return f'<div class="rows">\n{"".join(cells)}</div>'


def _cells(left: str, e: Equality, shape: str, kind: str = "") -> str:
    return (
        f'<span class="left">{left}</span><span><math><mo>=</mo></math></span>'
        f'<span class="{kind or "right"}">{formula_mathml(e.right)}</span>'
        f'<span class="shape">{escape(shape)}</span>\n'
    )


def _step(step: Step) -> str:
    forward = f"{formula_mathml(step.forward.left)}<math><mo>=</mo></math>{formula_mathml(step.forward.right)}"
    rules = "".join(f"<li>{escape(rule)}</li>" for rule in step.rules)
    parts = [
        f'<details open>\n<summary><span class="number">{step.number}</span> {forward}</summary>',
        _rows(step.places) if step.places else "",
        f'<ul class="rules">{rules}</ul>',
        *(_result(r) for r in step.results),
    ]
    if step.also:
        parts.append(f'<p class="also">A part of the derivative by {escape(", ".join(step.also))} too.</p>')
    return "\n".join([*filter(None, parts), "</details>"])


def _result(result: Result) -> str:
    return f'<div class="rows{" sought" if result.sought else ""}">\n{"".join(_forms(result))}</div>'


def _forms(result: Result) -> Iterable[str]:
    forms = (result.raw, *result.forms)
    previous = ""
    for k, form in enumerate(forms):
        left, last = formula_mathml(form.left), k == len(forms) - 1
        yield _cells("" if left == previous else left, form, result.shape if last else "", "last" if last else "")
        previous = left
