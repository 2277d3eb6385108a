"""The pass `stabilize`: the same mathematics, computed so that large arguments do not overflow or cancel.

    1 / (1 + e^-x)              logistic(x)
    log(1 + e^x)                log1pexp(x)
    log(logistic(x))            -log1pexp(-x)
    log(1 - logistic(x))        -log1pexp(x)
    log(e^a S^k ...)            a + k log S + ...
    log(sum e^u)                m + log(sum e^(u - m))          with m = max u
    e^x logistic(-x)            logistic(x)
    e^a / sum e^u               e^(a - m) / sum e^(u - m)       with the same m

Logarithms look through the nodes that they read, views among them. The pass runs before `derive`; `m` enters as
`constant(m)`, because the derivative by it is zero: the value does not depend on it. The rules hold wherever the left
side is defined, so that results change by rounding only, and get defined where the left side overflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netlang.graph.constructors import add, const, mul, neg, power, select, sub
from netlang.graph.expression import ONE, Apply, Const, Expr, Read, Reduce, Select, Whole
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Node, View
from netlang.graph.traversal import fresh, reads, rewrite, substitute, walk
from netlang.passes.share import canonical

_MINUS_ONE = const(-1)


def stabilize(graph: Graph) -> Graph:
    """The graph with the rules above applied to every equation, outside the gradients that it may already have."""
    return _Stabilizer(graph).run()


class _Stabilizer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.bodies: dict[str, Expr] = {}
        self.equations: dict[str, Equation] = {}
        self.made: dict[str, list[Node]] = {}  # new nodes, by the node they come after
        self.shifts: dict[str, tuple[str, str]] = {}  # a sum of exponentials: its maximum and its shifted sum
        self.views: dict[tuple[str, str], str] = {}  # by the tensor shown and the view whose shape it has
        self.maxima: dict[str | None, str] = {}
        self.totals: set[str] = set()  # the shifted sums
        self.taken = dict.fromkeys(graph.nodes)

    def run(self) -> Graph:
        nodes: list[Node] = []
        for node in self.graph:
            if isinstance(node, Equation):
                node = replace(node, body=self._stable(node.body))
                self.equations[node.name] = node
        for node in self.graph:
            nodes.append(self.equations.get(node.name, node))
            nodes += self.made.get(node.name, [])
        return self.graph.evolve(nodes)

    def _stable(self, body: Expr) -> Expr:
        if isinstance(body, Reduce):
            return Reduce(body.op, body.ranges, self._stable(body.body))
        if not any(isinstance(e, Apply) and e.op in ("exp", "log", "pow") for e in walk(body)):
            return body
        return rewrite(body, self._change)

    def _change(self, e: Expr) -> Expr | None:
        """The rules, at one place of an expression whose parts are stable."""
        if isinstance(e, Select):  # a product whose guard the constructor moved outside
            then = self._change(e.then) if isinstance(e.then, Apply) and e.then.op == "mul" else None
            return None if then is None else select(e.condition, then, e.otherwise)
        if not isinstance(e, Apply):
            return None
        if e.op == "log":
            return self._log(e.args[0])
        if e.op == "pow" and isinstance(e.args[1], Const) and e.args[1].value < 0:
            exponent = _softplus_argument(e.args[0])
            if exponent is not None:
                return power(Apply("logistic", (neg(exponent),)), -e.args[1].value)
        if e.op == "mul":
            return _logistic_product(e) or self._ratio(e)
        return None

    # --- logarithms ---------------------------------------------------------------------------------------------------

    def _log(self, e: Expr) -> Expr | None:
        """The logarithm of an expression without computing the expression; None where no rule applies."""
        if isinstance(e, Read):
            return self._log_of_read(e)
        if isinstance(e, Select):
            then, otherwise = self._log(e.then), self._log(e.otherwise)
            if then is None and otherwise is None:
                return None
            return select(e.condition, then or Apply("log", (e.then,)), otherwise or Apply("log", (e.otherwise,)))
        if not isinstance(e, Apply):
            return None
        if e.op == "exp":
            return e.args[0]
        if e.op == "logistic":
            return neg(Apply("log1pexp", (neg(e.args[0]),)))
        if e.op == "pow" and isinstance(e.args[1], Const):
            inner = self._log(e.args[0])
            return None if inner is None else mul(e.args[1], inner)
        if e.op == "mul":
            return self._log_of_product(e)
        if e.op == "add":
            exponent = _softplus_argument(e)
            if exponent is not None:
                return Apply("log1pexp", (exponent,))
            rest = sub(ONE, e)  # 1 - p
            argument = self._logistic_argument(rest)
            return None if argument is None else neg(Apply("log1pexp", (argument,)))
        return None

    def _log_of_product(self, e: Apply) -> Expr | None:
        """The sum of the logarithms, where each factor but one has a rule and so is positive."""
        known = [(factor, self._log(factor)) for factor in e.args]
        terms = [log for _, log in known if log is not None]
        others = [factor for factor, log in known if log is None]
        if not terms or sum(not isinstance(f, Const) for f in others) > 1:
            return None
        rest = mul(*others)
        return add(*terms) if rest == ONE else add(*terms, Apply("log", (rest,)))

    def _log_of_read(self, e: Read) -> Expr | None:
        shifted = self._shifted(e)
        if shifted is not None:
            maximum, total = shifted
            return add(Apply("constant", (maximum,)), Apply("log", (total,)))
        body = self._definition(e)
        return None if body is None else self._log(body)

    def _logistic_argument(self, e: Expr) -> Expr | None:
        if isinstance(e, Read):
            body = self._definition(e)
            return None if body is None else self._logistic_argument(body)
        return e.args[0] if isinstance(e, Apply) and e.op == "logistic" else None

    def _definition(self, e: Read) -> Expr | None:
        """The elementwise body of the tensor that is read, at the place where it is read."""
        node = self.equations.get(e.tensor)
        if node is None and e.tensor in self.graph.nodes:
            view = self.graph[e.tensor]
            return self._behind(view, e) if isinstance(view, View) else None
        if node is None or isinstance(node.body, Reduce) or node.dtype != "real":
            return None
        return substitute(node.body, dict(zip(node.indices, e.indices, strict=True)))

    def _behind(self, view: View, e: Read) -> Expr | None:
        """The elementwise body of what a view shows, with views in that shape of the tensors it reads."""
        node = self.equations.get(view.operand)
        if node is None or isinstance(node.body, Reduce) or node.dtype != "real":
            return None
        if any(isinstance(part, Whole | Select) for part in walk(node.body)):
            return None  # the place itself may matter
        if any(r.indices != node.places or self.graph[r.tensor].dtype != "real" for r in reads(node.body)):
            return None
        return rewrite(
            node.body, lambda r: Read(self._viewed(r.tensor, view), e.indices) if isinstance(r, Read) else None
        )

    def _viewed(self, tensor: str, view: View) -> str:
        if (tensor, view.name) not in self.views:
            name = self.views[tensor, view.name] = self._name(f"{view.name}.{tensor}")
            self.made.setdefault(view.name, []).append(replace(view, name=name, operand=tensor))
        return self.views[tensor, view.name]

    # --- sums of exponentials -----------------------------------------------------------------------------------------

    def _ratio(self, e: Apply) -> Expr | None:
        """A product of exponentials and reciprocals of sums of exponentials, shifted alike."""
        for factor in e.args:
            if not (isinstance(factor, Apply) and factor.op == "pow" and factor.args[1] == _MINUS_ONE):
                continue
            total = factor.args[0]
            shifted = self._shifted(total) if isinstance(total, Read) else None
            if shifted is None:
                continue
            others = [f for f in e.args if f is not factor]
            for k, other in enumerate(others):
                new = self._shifted_factor(other, shifted[0])
                if new is not None:
                    del others[k]
                    return self._again(mul(*others, new, power(shifted[1], -1)))
        return None

    def _again(self, e: Expr) -> Expr:
        """A product may hold more ratios."""
        if isinstance(e, Select):
            return select(e.condition, self._again(e.then), e.otherwise)
        changed = self._ratio(e) if isinstance(e, Apply) and e.op == "mul" else None
        return e if changed is None else changed

    def _shifted_factor(self, e: Expr, maximum: Read) -> Expr | None:
        """`e^a` as `e^(a - m)`, a weighted sum of exponentials as the sum shifted by the same `m`."""
        if isinstance(e, Read):
            shifted = self._shifted(e)
            if shifted is not None:
                return shifted[1] if shifted[0] == maximum else None
            body = self._definition(e)
            return None if body is None else self._shifted_factor(body, maximum)
        shift = neg(Apply("constant", (maximum,)))
        if isinstance(e, Select) and isinstance(e.otherwise, Const) and e.otherwise.value == 0:
            then = self._shifted_factor(e.then, maximum)
            return None if then is None else select(e.condition, then, e.otherwise)
        if isinstance(e, Apply) and e.op == "exp":
            return Apply("exp", (add(e.args[0], shift),))
        return None

    def _shifted(self, e: Read) -> tuple[Read, Read] | None:
        """For a read of a sum of exponentials: the reads of the maximum and of the shifted sum, made where needed."""
        node = self.equations.get(e.tensor)
        if node is None or not isinstance(node.body, Reduce) or node.body.op != "sum":
            return None
        if node.name in self.totals:
            return None
        if node.name not in self.shifts:
            exponent = self._exponent(node.body.body)
            if exponent is None or _is_shifted(exponent, self.equations):
                return None
            self.shifts[node.name] = self._make_shift(node, node.body, exponent)
        maximum, total = self.shifts[node.name]
        return Read(maximum, e.indices), Read(total, e.indices)

    def _exponent(self, e: Expr) -> Expr | None:
        """The exponent of a term `w e^u`, with `-inf` where a guard leaves the term out."""
        if isinstance(e, Read):
            body = self._definition(e)
            return None if body is None else self._exponent(body)
        if isinstance(e, Select) and isinstance(e.otherwise, Const) and e.otherwise.value == 0:
            then = self._exponent(e.then)
            return None if then is None else select(e.condition, then, const(-float("inf")))
        if isinstance(e, Apply) and e.op == "exp":
            return e.args[0]
        if isinstance(e, Apply) and e.op == "mul":
            found = [u for f in e.args if (u := self._exponent(f)) is not None]
            return found[0] if len(found) == 1 else None
        return None

    def _make_shift(self, node: Equation, body: Reduce, exponent: Expr) -> tuple[str, str]:
        greatest = replace(node, body=Reduce("max", body.ranges, exponent))
        key = canonical(greatest)
        new: list[Node] = []
        if key not in self.maxima:
            self.maxima[key] = self._name(f"{node.name}.max")
            new.append(replace(greatest, name=self.maxima[key]))
        maximum = Read(self.maxima[key], node.places)
        total = self._name(f"{node.name}.shifted")
        self.totals.add(total)
        terms = self._shifted_term(body.body, maximum)
        shifted = replace(node, name=total, body=Reduce("sum", body.ranges, terms))
        self.made.setdefault(node.name, []).extend([*new, shifted])
        for made in (*new, shifted):
            assert isinstance(made, Equation)
            self.equations[made.name] = made
        return maximum.tensor, total

    def _shifted_term(self, e: Expr, maximum: Read) -> Expr:
        if isinstance(e, Read):
            body = self._definition(e)
            return e if body is None or self._exponent(e) is None else self._shifted_term(body, maximum)
        if isinstance(e, Select):
            return select(e.condition, self._shifted_term(e.then, maximum), e.otherwise)
        if isinstance(e, Apply) and e.op == "exp":
            return Apply("exp", (sub(e.args[0], Apply("constant", (maximum,))),))
        if isinstance(e, Apply) and e.op == "mul":
            return mul(*(self._shifted_term(f, maximum) for f in e.args))
        return e

    def _name(self, base: str) -> str:
        name = fresh(base, self.taken)
        self.taken[name] = None
        return name


def _softplus_argument(e: Expr) -> Expr | None:
    """`x` of `1 + e^x`."""
    if isinstance(e, Apply) and e.op == "add" and len(e.args) == 2 and ONE in e.args:
        other = e.args[1] if e.args[0] == ONE else e.args[0]
        if isinstance(other, Apply) and other.op == "exp":
            return other.args[0]
        if isinstance(other, Apply) and other.op == "pow" and isinstance(other.args[1], Const):
            base, exponent = other.args  # (e^x)^-1 from a quotient
            if isinstance(base, Apply) and base.op == "exp":
                return mul(exponent, base.args[0])
    return None


def _logistic_product(e: Apply) -> Expr | None:
    """`e^x logistic(-x)` is `logistic(x)`; comes from `e^x / (1 + e^x)`."""
    for exponential in e.args:
        if isinstance(exponential, Apply) and exponential.op == "exp":
            x = exponential.args[0]
            other = Apply("logistic", (neg(x),))
            if other in e.args:
                return mul(Apply("logistic", (x,)), *(f for f in e.args if f not in (exponential, other)))
    return None


def _is_shifted(exponent: Expr, equations: Mapping[str, Equation]) -> bool:
    """True where the exponent already has a maximum subtracted, by hand."""
    if isinstance(exponent, Select):
        return _is_shifted(exponent.then, equations)
    if not (isinstance(exponent, Apply) and exponent.op == "add"):
        return False
    for term in exponent.args:
        if isinstance(term, Apply) and term.op == "mul" and term.args[0] == _MINUS_ONE and len(term.args) == 2:
            inner = term.args[1]
            if isinstance(inner, Apply) and inner.op == "constant":
                inner = inner.args[0]
            node = equations.get(inner.tensor) if isinstance(inner, Read) else None
            if node is not None and isinstance(node.body, Reduce) and node.body.op == "max":
                return True
    return False
