"""How an expression is written: its one canonical text, as pieces between which a long line may be broken.

Parentheses stand only where the grammar needs them. A product is written without spaces where it is short and stands
in a sum or among indices (`i*stride + p - pad`), a power always (`beta^step`), and so is a step in time (`h[t-1]`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from netlang.language import tree

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

# How good a place for a line break is, best first; brackets around it, and lists, make any place worse. Breaks that the
# author may choose (before a stage, an `else` and their like, after `=`) are better than those that are the formatter's
# alone: so a line that is cut once is not cut elsewhere the next time.
ITEM, STAGE, EQUALS, OPERATOR, FACTOR = range(5)
_DEEPER = 5


@dataclass(frozen=True)
class Piece:
    """Text that stays together.

    `at` is the offset in the source of what the piece writes (that of its operand for an operator, -1 for a closing
    bracket or a comma); `rank` says how good a place for a line break is in front of it (None: none), `broken` that
    there is one, `space` that there is a space otherwise.
    """

    text: str
    at: int = -1
    space: bool = False
    rank: int | None = None
    broken: bool = False


def expression_text(expression: tree.Expression) -> str:
    """The canonical text of an expression, on one line."""
    writer = Writer()
    writer.expression(expression)
    return joined(writer.pieces)


def joined(pieces: Sequence[Piece]) -> str:
    """Pieces on one line."""
    return "".join((" " if piece.space and k else "") + piece.text for k, piece in enumerate(pieces))


def quoted(text: tree.Text) -> str:
    """A string as it is written in a file."""
    value = text.value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + value.replace("\n", "\\n").replace("\t", "\\t") + '"'


class Writer:
    """Collects the pieces of a statement."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self._depth = 0
        self._tight = False  # whether short products are written without spaces
        self._index = False  # whether the expression to be written is a whole index

    def put(
        self, text: str, at: int = -1, *, space: bool = False, rank: int | None = None, broken: bool = False
    ) -> None:
        deep = None if rank is None else rank + _DEEPER * self._depth
        self.pieces.append(Piece(text, at, space, deep, broken))

    def close(self, text: str) -> None:
        """Append to the last piece: a comma, a closing bracket, a colon."""
        self.pieces[-1] = replace(self.pieces[-1], text=self.pieces[-1].text + text)

    def lead(self, text: str, following: tree.Tree, rank: int, previous: tree.Tree) -> None:
        """An operator or a keyword in front of an operand.

        A line break that the author had between it and the `previous` part is kept where no bracket is open.
        """
        broken = not self._depth and author_broke(previous, following)
        self.put(text, following.span.start, space=True, rank=rank, broken=broken)

    def items(self, items: Iterable[tree.Expression], *, space: bool = False) -> None:
        """Expressions between commas; `space` says whether one stands before the first."""
        for k, item in enumerate(items):
            if k:
                self.close(",")
            mark = len(self.pieces)
            self._index = self._tight
            self.expression(item)
            self.allow(mark, ITEM, space=space or k > 0)

    def listed(self, items: Sequence[tree.Expression]) -> None:
        """The expressions after the keyword of a statement."""
        if len(items) == 1:
            self.expression(items[0], space=True)
        else:
            with self.inside():
                self.items(items, space=True)

    def value(self, previous: tree.Tree, value: tree.Expression) -> None:
        """What follows a `=` or `<-`; a line break that the author had in front of it is kept."""
        mark = len(self.pieces)
        self.expression(value, space=True)
        self.pieces[mark] = replace(self.pieces[mark], rank=EQUALS, broken=author_broke(previous, value))

    def allow(self, index: int, rank: int | None, *, space: bool) -> None:
        """Allow a break in front of a piece already written."""
        piece = self.pieces[index]
        if rank is not None:
            rank += _DEEPER * self._depth
            piece = replace(piece, rank=rank if piece.rank is None else min(piece.rank, rank))
        self.pieces[index] = replace(piece, space=space)

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
        self.close(")")

    @contextmanager
    def inside(self, *, tight: bool = False) -> Iterator[None]:
        """Within brackets; `tight` says that short products are written without spaces."""
        before, self._tight = self._tight, tight
        self._depth += 1
        yield
        self._depth -= 1
        self._tight = before

    def bracketed(self, items: Sequence[tree.Expression], closing: str) -> None:
        """The items of a list or the indices of a tensor; the opening bracket is written."""
        with self.inside(tight=closing == "]"):
            self.items(items)
        self.close(closing)

    def _write(self, node: tree.Expression, space: bool) -> None:
        at = node.span.start
        index, self._index = self._index, False
        match node:
            case tree.Number(text=text):
                self.put(text.lower(), at, space=space)
            case tree.Name(id=name):
                self.put(name, at, space=space)
            case tree.Text():
                self.put(quoted(node), at, space=space)
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
                self.lead("if", condition, OPERATOR, then)
                self.expression(condition, OR, space=True)
                self.lead("else", otherwise, STAGE, condition)
                self.expression(otherwise, space=True)
            case tree.Guarded(body=body, otherwise=otherwise):
                self.expression(body, PIPE, space=space)
                self.lead("else", otherwise, STAGE, body)
                self.expression(otherwise, space=True)
            case tree.Pipeline(source=source, stages=stages):
                self.expression(source, OR, space=space)
                previous: tree.Expression = source
                for stage in stages:
                    self.lead("->", stage, STAGE, previous)
                    self.expression(stage, POSTFIX, space=True)
                    previous = stage
            case tree.Subscript(base=base, indices=indices):
                self.expression(base, POSTFIX, space=space)
                self.close("[")
                self.bracketed(indices, "]")
            case tree.ListLiteral(items=items):
                self.put("[", at, space=space)
                self.bracketed(items, "]")
            case tree.Call(callee=callee, arguments=arguments):
                self.put(f"{callee.id}(", at, space=space)
                self._arguments(arguments)
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
                    self.put(f"{argument.name}=", argument.span.start)
                self.expression(argument.value)
                self.allow(mark, ITEM, space=k > 0)
        self.close(")")

    def ranges(self, ranges: Sequence[tree.IndexRange], closing: str) -> None:
        """Indices where they are introduced; the opening bracket is written."""
        with self.inside(tight=True):
            for k, index in enumerate(ranges):
                if k:
                    self.close(",")
                self.put(index.name, index.span.start, space=k > 0, rank=ITEM)
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
        tight, self._tight = self._tight, place == SUM or self._tight
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


def author_broke(previous: tree.Tree, following: tree.Tree) -> bool:
    """Whether the source has a line break between two parts."""
    text = following.span.source.text
    return "\n" in text[previous.span.end : following.span.start]


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
    """Whether a product is short enough to be written without spaces."""
    match expression:
        case tree.Name() | tree.Number():
            return True
        case tree.Binary(op=op, left=left, right=right) if op in ("*", "/", "//", "%"):
            return _short(left) and isinstance(right, tree.Name | tree.Number)
        case _:
            return False
