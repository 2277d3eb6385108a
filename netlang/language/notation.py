"""How an expression is written: its one canonical text, as pieces between which a long line may be broken.

Parentheses stand only where the grammar needs them. A product with `*` is written without spaces where its factors are
short and it stands in a sum, a comparison or among indices (`i*stride + p - pad`, `(1 - beta)*g^2 + m`); so is a power
everywhere (`beta^step`), and a step in time (`h[t-1]`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlang.language import tree
from netlang.language.pieces import CLAUSE, EQUALS, FACTOR, ITEM, OPERATOR, STAGE, Pieces, joined

# How tightly an expression binds; an operand that binds less tightly than its place demands gets parentheses.
LOOSEST, PIPE, OR, AND, NOT, COMPARISON, SUM, TERM, SIGNED, POWER, POSTFIX = range(11)

_BINARY = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), COMPARISON),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/", "//", "%", "@"), TERM),
    "or": OR,
    "and": AND,
    "^": POWER,
}


def expression_text(expression: tree.Expression) -> str:
    """The canonical text of an expression, on one line."""
    writer = Writer()
    writer.expression(expression)
    return joined(writer.pieces)


def quoted(value: str) -> str:
    """A string as it is written in a file."""
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + value.replace("\n", "\\n").replace("\t", "\\t") + '"'


class Writer(Pieces):
    """Writes expressions, and what statements have in common."""

    def __init__(self) -> None:
        super().__init__()
        self._index = False  # whether the expression to be written is a whole index

    def items(self, items: Iterable[tree.Expression], *, space: bool = False) -> None:
        """Expressions between commas; `space` says whether one stands before the first."""
        for k, item in enumerate(items):
            if k:
                self.close(",")
            mark = len(self.pieces)
            self._index = self._tight
            self.expression(item, space=space or k > 0)
            if k:
                self.allow(mark, ITEM)

    def listed(self, items: Sequence[tree.Expression]) -> None:
        """The expressions after the keyword of a statement."""
        if len(items) == 1:
            self.expression(items[0], space=True)
        else:
            with self.inside():
                self.items(items, space=True)

    def value(self, value: tree.Expression) -> None:
        """What follows a `=` or `<-`."""
        mark = len(self.pieces)
        self.expression(value, space=True)
        self.allow(mark, EQUALS)

    def expression(self, expression: tree.Expression, place: int = LOOSEST, *, space: bool = False) -> None:
        """Write an expression into a place that demands what binds at least that tightly."""
        if binding(expression) < place:
            self._grouped(expression, space)
        else:
            self._write(expression, space)

    def _grouped(self, expression: tree.Expression, space: bool) -> None:
        self.put("(", expression.span.start, space=space)
        with self.inside():
            self._write(expression, False)
        self.close(")", expression.span.end - 1)

    def bracketed(self, items: Sequence[tree.Expression], closing: str, at: int = -1) -> None:
        """The items of a list or the indices of a tensor; the opening bracket is written."""
        with self.inside(tight=closing == "]"):
            self.items(items)
        self.close(closing, at)

    def _write(self, node: tree.Expression, space: bool) -> None:
        at = node.span.start
        index, self._index = self._index, False
        match node:
            case tree.Number(text=text):
                self.put(text.lower(), at, space=space)
            case tree.Name(id=name):
                self.put(name, at, space=space)
            case tree.Text():
                self.put(quoted(node.value), at, space=space)
            case tree.Boolean(value=value):
                self.put("true" if value else "false", at, space=space)
            case tree.Rest():
                self.put("...", at, space=space)
            case tree.Unary(op=op, operand=operand):
                self._unary(op, operand, at, space)
            case tree.Binary():
                self._binary(node, space, index)
            case tree.Conditional(then=then, condition=condition, otherwise=otherwise):
                self.expression(then, PIPE, space=space)
                self.lead("if", condition, OPERATOR)
                self.expression(condition, OR, space=True)
                self.lead("else", otherwise, CLAUSE)
                self.expression(otherwise, space=True)
            case tree.Guarded(body=body, otherwise=otherwise):
                self.expression(body, PIPE, space=space)
                self.lead("else", otherwise, CLAUSE)
                self.expression(otherwise, space=True)
            case tree.Pipeline(source=source, stages=stages):
                self.expression(source, OR, space=space)
                first = len(self.pieces)
                for k, stage in enumerate(stages):
                    self.lead("->", stage, STAGE, under=first if k else None)
                    self.expression(stage, POSTFIX, space=True)
            case tree.Subscript(base=base, indices=indices):
                self.expression(base, POSTFIX, space=space)
                self.close("[")
                self.bracketed(indices, "]", node.span.end - 1)
            case tree.ListLiteral(items=items):
                self.put("[", at, space=space)
                self.bracketed(items, "]", node.span.end - 1)
            case tree.Call(callee=callee, arguments=arguments):
                self.put(f"{callee.id}(", at, space=space)
                self._arguments(arguments)
                self.close(")", node.span.end - 1)
            case tree.Reduction(op=op, indices=ranges, body=body):
                self.put(f"{op}(", at, space=space)
                self.ranges(ranges, ")")
                if binding(body) < TERM or not _starts_body(body):
                    self._grouped(body, True)
                else:
                    self._write(body, True)
            case tree.Interval(first=first, last=last):
                self.expression(first, SUM, space=space)
                self.put("..", last.span.start)
                self.expression(last, SUM)

    def _arguments(self, arguments: Sequence[tree.Argument]) -> None:
        with self.inside():
            for k, argument in enumerate(arguments):
                if k:
                    self.close(",")
                mark = len(self.pieces)
                if argument.name is not None:
                    self.put(f"{argument.name}=", argument.span.start, space=k > 0)
                self.expression(argument.value, space=k > 0 and argument.name is None)
                if k:
                    self.allow(mark, ITEM)

    def ranges(self, ranges: Sequence[tree.IndexRange], closing: str) -> None:
        """Indices where they are introduced; the opening bracket is written."""
        with self.inside(tight=True):
            for k, index in enumerate(ranges):
                if k:
                    self.close(",")
                self.put(index.name, index.span.start, space=k > 0, rank=ITEM if k else None)
                if index.extent is not None:
                    self.close(" <")
                    self.expression(index.extent, SUM, space=True)
        self.close(closing)

    def _unary(self, op: str, operand: tree.Expression, at: int, space: bool) -> None:
        if op == "not":
            self.put("not", at, space=space)
            self.expression(operand, NOT, space=True)
            return
        self.put("-", at, space=space)
        self.expression(operand, TERM if _signed_reduction(operand) else SIGNED)

    def _binary(self, node: tree.Binary, space: bool, index: bool) -> None:
        op, left, right = node.op, node.left, node.right
        place = _BINARY[op]
        if index and _step(node):
            self.expression(left, place, space=space)
            self.close(op)
            self.expression(right, place)
            return
        if op == "^":
            self.expression(left, POSTFIX, space=space)
            self.close("^")
            self.expression(right, SIGNED if _exponent(right) else POSTFIX)
            return
        if place == TERM:
            self._product(node, space)
            return
        tight, self._tight = self._tight, place in (COMPARISON, SUM) or self._tight
        self.expression(left, place + (place == COMPARISON), space=space)
        self.put(op, right.span.start, space=True, rank=OPERATOR)
        self.expression(right, place + 1, space=True)
        self._tight = tight

    def _product(self, node: tree.Binary, space: bool) -> None:
        op, left, right = node.op, node.left, node.right
        close = self._tight and _short(node)
        tight, self._tight = self._tight, close
        self.expression(left, POSTFIX if _ends_in_reduction(left) else TERM, space=space)
        if close:
            self.close(op)
        else:
            self.put(op, right.span.start, space=True, rank=FACTOR)
        self.expression(right, TERM if _signed_reduction(right) else SIGNED, space=not close)
        self._tight = tight


def _step(expression: tree.Binary) -> bool:
    """Whether it is a fixed step from an index, as in `h[t-1]`, which is written without spaces."""
    match expression:
        case tree.Binary(op="+" | "-", left=tree.Name(), right=tree.Number()):
            return True
        case _:
            return False


def binding(expression: tree.Expression) -> int:
    """How tightly an expression binds."""
    match expression:
        case tree.Conditional() | tree.Guarded() | tree.Interval():
            return LOOSEST
        case tree.Pipeline():
            return PIPE
        case tree.Binary(op=op):
            return _BINARY[op]
        case tree.Unary(op=op):
            return NOT if op == "not" else SIGNED
        case tree.Reduction():
            return TERM
        case _:
            return POSTFIX


def _signed_reduction(expression: tree.Expression) -> bool:
    while isinstance(expression, tree.Unary) and expression.op == "-":
        expression = expression.operand
    return isinstance(expression, tree.Reduction)


def _ends_in_reduction(expression: tree.Expression) -> bool:
    """Whether nothing multiplicative may follow it, as a reduction takes all of that as its body."""
    while isinstance(expression, tree.Binary) and _is_product(expression):
        expression = expression.right
    return _signed_reduction(expression)


def _is_product(expression: tree.Expression) -> bool:
    return isinstance(expression, tree.Binary) and _BINARY[expression.op] == TERM


def _exponent(expression: tree.Expression) -> bool:
    """Whether it can be an exponent without parentheses."""
    while isinstance(expression, tree.Unary) and expression.op == "-":
        expression = expression.operand
    return binding(expression) >= POWER


def _starts_body(expression: tree.Expression) -> bool:
    """Whether the body of a reduction can start so: not with a sign, a string or a list."""
    while True:
        match expression:
            case tree.Binary(left=left) if binding(expression) >= TERM:
                place = POSTFIX if expression.op == "^" or _ends_in_reduction(left) else TERM
                if binding(left) < place:
                    return True
                expression = left
            case tree.Subscript(base=base):
                if binding(base) < POSTFIX:
                    return True
                expression = base
            case _:
                return not isinstance(expression, tree.Unary | tree.Text | tree.ListLiteral)


def _short(expression: tree.Expression) -> bool:
    """Whether a product is short enough to be written without spaces: `a*b`, `2*a*b`, `(1 - a)*b^2`."""
    match expression:
        case tree.Binary(op="*", left=left, right=right):
            return (_plain(left) or _short(left) or _short_sum(left)) and _plain(right)
        case _:
            return False


def _short_sum(expression: tree.Expression) -> bool:
    match expression:
        case tree.Binary(op="+" | "-", left=left, right=right):
            return all(_plain(part) or _short(part) for part in (left, right))
        case _:
            return False


def _plain(expression: tree.Expression) -> bool:
    match expression:
        case tree.Name() | tree.Number():
            return True
        case tree.Binary(op="^", left=tree.Name() | tree.Number(), right=tree.Name() | tree.Number()):
            return True
        case _:
            return False
