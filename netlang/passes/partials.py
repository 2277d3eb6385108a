"""Rule 1, the scalar chain rule: the partial derivative of an equation's body by each of its reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netlang.graph.constructors import add, mul, negate, select
from netlang.graph.expression import ONE, ZERO, Apply, Const, Expr, Read, Select
from netlang.graph.scalars import SCALARS


def partials(body: Expr, wanted: Callable[[str], bool], value: Read | None = None) -> dict[Read, Expr]:
    """The partial derivative by each distinct read of a `wanted` tensor, in order of appearance.

    Equal reads are one variable; reads at different places are different variables. `body` has no reduction. `value`
    is the read of the equation's own element, which stands for the whole body where a derivative is written in terms
    of the value (`exp`, `tanh`, ...).
    """
    table: dict[Read, Expr] = {}

    def sweep(e: Expr, adjoint: Expr) -> None:
        if isinstance(e, Read):
            if wanted(e.tensor):
                table[e] = add(table.get(e, ZERO), adjoint)
        elif isinstance(e, Apply):
            own = value if e is body and value is not None else e
            for argument, by_argument in zip(e.args, SCALARS[e.op].derivative(e.args, own), strict=True):
                if by_argument != ZERO and not isinstance(argument, Const):
                    sweep(argument, mul(adjoint, by_argument))
        elif isinstance(e, Select):
            sweep(e.then, select(e.condition, adjoint, ZERO))
            sweep(e.otherwise, select(negate(e.condition), adjoint, ZERO))

    sweep(body, ONE)
    return {variable: partial for variable, partial in table.items() if partial != ZERO}


def real_reads(e: Expr) -> Iterator[str]:
    """Names of the tensors through whose values the expression varies: reads in conditions are not among them."""
    if isinstance(e, Read):
        yield e.tensor
    elif isinstance(e, Apply):
        for argument in e.args:
            yield from real_reads(argument)
    elif isinstance(e, Select):
        yield from real_reads(e.then)
        yield from real_reads(e.otherwise)
