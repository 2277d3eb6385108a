"""The pass `lint`: warnings about what is allowed but likely a mistake. It changes nothing.

Everything is found by the structure of the equations, never by a layer's name, so a user's own softmax or
normalization is seen as well as the library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netlang.diagnostics import Diagnostic, Span, Warnings
from netlang.graph.expression import Apply, Const, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.nodes import Equation, Input, Node, Param, Scope, State, View
from netlang.graph.traversal import walk


def lint(inference: Graph, training: Graph) -> tuple[Diagnostic, ...]:
    """Warnings about a net, in the order of the text.

    Takes the two per-example graphs of the net, because what one mode leaves unused the other may need.
    """
    warnings = Warnings()
    _unused(inference, training, warnings)
    for graph in (training, inference):
        _normalized_twice(graph, warnings)
        _squashed_twice(graph, warnings)
        _cancelled_bias(graph, warnings)
    return tuple(sorted(warnings.found, key=lambda d: d.span.start if d.span else -1))


# --- what leads nowhere --------------------------------------------------------------------------------------------


def _unused(inference: Graph, training: Graph, warnings: Warnings) -> None:
    """Warn of nodes that no output, loss, metric or update needs: of the last of a chain only."""
    needed = _needed(inference) | _needed(training)
    for graph in (inference, training):
        first_values = graph.ancestors(graph.initial.values())
        places = _Places(graph)
        for node in graph:
            if node.name in needed or node.name in first_values:
                continue
            users = [user for user in graph.users[node.name] if user not in first_values]
            if users and not isinstance(node, Input | Param):
                continue  # what uses it is reported
            if isinstance(node, Input | Param | State):
                _unused_source(node, users, places, warnings)
            else:
                _dead(node, needed, places, warnings)


def _needed(graph: Graph) -> set[str]:
    roots = (graph.outputs, graph.losses, graph.metrics, graph.updates)
    return graph.ancestors([*(node for nodes in roots for node in nodes.values()), *graph.updates])


def _unused_source(node: Node, users: list[str], places: _Places, warnings: Warnings) -> None:
    span = places.written(node)
    if users or span is None:
        return
    if isinstance(node, Input):
        message = f"nothing uses the {node.role} `{node.name}`"
        warnings.add("unused-input", message, span, help="remove it, or use it in an equation")
    elif isinstance(node, Param):
        message = f"nothing uses the parameter `{node.name}`"
        warnings.add("unused-parameter", message, span, help="remove it: no gradient will ever reach it")
    else:
        message = f"nothing uses the state `{node.name}`"
        warnings.add("unused-state", message, span, help="remove it, or read it in an equation")


def _dead(node: Node, needed: set[str], places: _Places, warnings: Warnings) -> None:
    scope = places.outermost(node)
    span = places.written(node) if scope is None else scope.span
    if span is None or (scope is not None and needed.intersection(scope.outputs)):
        return  # a part of a library definition that has other uses
    shown = node.name if scope is None else (scope.outputs[0] if scope.outputs else scope.name)
    warnings.add(
        "dead-tensor",
        f"`{shown}` is computed but nothing uses it",
        span,
        help="remove it, or make it an output",
    )


class _Places:
    """Where in the user's text a node comes from; what the library makes belongs to the application in the user's."""

    def __init__(self, graph: Graph) -> None:
        self.scopes: Mapping[str, Scope] = {scope.name: scope for scope in graph.scopes}

    def written(self, node: Node) -> Span | None:
        """The user's text that defines the node, or None where the library's does."""
        span = node.origin.span
        return span if span is not None and not _of_library(span) else None

    def outermost(self, node: Node) -> Scope | None:
        """The application, in the user's text, that a node is the result of, or that makes it inside the library."""
        scope = self.scopes.get(node.origin.scope)
        if scope is None or (self.written(node) is not None and node.name not in scope.outputs):
            return None
        while (parent := self.scopes.get(scope.parent)) is not None and (
            scope.span is None or _of_library(scope.span) or node.name in parent.outputs
        ):
            scope = parent
        return scope if scope.span is not None and not _of_library(scope.span) else None

    def application(self, node: Node) -> tuple[Span | None, Scope | None]:
        """Where to point for a node, and the application it belongs to, if any."""
        scope = self.outermost(node)
        return (node.origin.span if scope is None else scope.span), scope


def _of_library(span: Span) -> bool:
    return span.source.name.startswith("netlang/library/")


# --- softmax of a softmax, sigmoid of a sigmoid ----------------------------------------------------------------------


def _normalized_twice(graph: Graph, warnings: Warnings) -> None:
    """`log(sum(j) exp(p[j]))` where `p` is `exp(s[i]) / sum(j) exp(s[j])` already."""
    logs = {e.args[0].tensor for e in _applications(graph, "log") if isinstance(e.args[0], Read)}
    for node in graph:
        if node.name not in logs or not isinstance(node, Equation):
            continue
        argument = _summed_exponent(node)
        if argument is None:
            continue
        maker, value = _definition(graph, argument, node)
        if _is_normalized(graph, value):
            by = _user(graph, node)
            warnings.add(
                "double-softmax",
                f"this softmax feeds {by}, which takes the logarithm of a softmax itself",
                _Places(graph).application(maker)[0],
                help="give the loss the scores, and leave the softmax to it",
            )


def _squashed_twice(graph: Graph, warnings: Warnings) -> None:
    """`log(1 + exp(p))` where `p` is `1 / (1 + exp(-s))` already."""
    for node in graph:
        if not isinstance(node, Equation):
            continue
        for e in walk(node.body):
            if isinstance(e, Apply) and e.op == "log" and (argument := _softplus_argument(e.args[0])) is not None:
                maker, value = _definition(graph, argument, node)
                if _is_sigmoid(value):
                    by = _user(graph, node)
                    warnings.add(
                        "double-sigmoid",
                        f"this sigmoid feeds {by}, which takes the logarithm of a sigmoid itself",
                        _Places(graph).application(maker)[0],
                        help="give the loss the scores, and leave the sigmoid to it",
                    )


def _user(graph: Graph, node: Node) -> str:
    """How a message names what reads a tensor: the definition that is applied, and where."""
    span, scope = _Places(graph).application(node)
    scopes = {s.name: s for s in graph.scopes}
    own = scope or scopes.get(node.origin.scope)
    name = f"`{own.definition}`" if own is not None else "an equation"
    return f"{name} at {span.line}:{span.column}" if span is not None else name


def _applications(graph: Graph, op: str) -> Iterator[Apply]:
    for node in graph:
        if isinstance(node, Equation):
            yield from (e for e in walk(node.body) if isinstance(e, Apply) and e.op == op)


def _summed_exponent(node: Equation) -> Expr | None:
    body = node.body
    if isinstance(body, Reduce) and body.op == "sum" and isinstance(body.body, Apply) and body.body.op == "exp":
        return body.body.args[0]
    return None


def _softplus_argument(e: Expr) -> Expr | None:
    """`p` of `1 + exp(p)`."""
    if isinstance(e, Apply) and e.op == "add" and len(e.args) == 2 and Const(1.0) in e.args:
        other = e.args[0] if e.args[1] == Const(1.0) else e.args[1]
        if isinstance(other, Apply) and other.op == "exp":
            return other.args[0]
    return None


def _is_sigmoid(e: Expr) -> bool:
    """`1 / (1 + exp(-s))`."""
    return (
        isinstance(e, Apply)
        and e.op == "pow"
        and e.args[1] == Const(-1.0)
        and _softplus_argument(e.args[0]) is not None
    )


def _is_normalized(graph: Graph, e: Expr) -> bool:
    """`exp(s[i]) / S`, where `S` sums exponentials."""
    if not isinstance(e, Apply) or e.op != "mul" or not any(isinstance(a, Apply) and a.op == "exp" for a in e.args):
        return False
    for factor in e.args:
        if isinstance(factor, Apply) and factor.op == "pow" and factor.args[1] == Const(-1.0):
            divisor = factor.args[0]
            total = graph.nodes.get(divisor.tensor) if isinstance(divisor, Read) else None
            if isinstance(total, Equation) and _summed_exponent(total) is not None:
                return True
    return False


def _definition(graph: Graph, e: Expr, node: Node) -> tuple[Node, Expr]:
    """The expression that an expression stands for, through plain copies and views, and the node that holds it."""
    while isinstance(e, Read):
        node = graph[e.tensor]
        while isinstance(node, View):
            node = graph[node.operand]
        if not isinstance(node, Equation):
            return node, e
        e = node.body
    return node, e


# --- a bias that a mean takes away ---------------------------------------------------------------------------------


def _cancelled_bias(graph: Graph, warnings: Warnings) -> None:
    """`x = ... + b` where all that is used of `x` is `x - mean(x)`, over indices that `b` does not have."""
    places = _Places(graph)
    roots = set(graph.roots)
    for node in graph:
        if not isinstance(node, Equation) or node.name in roots:
            continue
        for bias in _added_parameters(graph, node):
            normalizer = _centred_by(graph, node, bias)
            if normalizer is None:
                continue
            span, scope = places.application(node)
            where, _ = places.application(normalizer)
            at = f" at {where.line}:{where.column}" if where is not None else ""
            layer = f"`{scope.definition}` adds the bias" if scope is not None else "this adds the bias"
            warnings.add(
                "cancelled-bias",
                f"{layer} `{bias.tensor}`, which the mean subtracted{at} takes away again",
                span,
                help="leave the bias out: the normalization has its own",
            )


def _added_parameters(graph: Graph, node: Equation) -> list[Read]:
    """The parameters that are terms of the node's sum."""
    terms = node.body.args if isinstance(node.body, Apply) and node.body.op == "add" else ()
    return [t for t in terms if isinstance(t, Read) and isinstance(graph[t.tensor], Param) and _plain_indices(t, node)]


def _plain_indices(read: Read, node: Equation) -> bool:
    names = {place.key for place in node.places}
    return all(i.key in names for i in read.indices)


def _centred_by(graph: Graph, node: Equation, bias: Read) -> Node | None:
    """The node that subtracts the mean, where every use of the node is free of the bias; else None."""
    means: dict[str, Equation] = {}
    others: list[Equation] = []
    for name in graph.users[node.name]:
        user = graph[name]
        if not isinstance(user, Equation):
            return None
        mean = _mean_of(graph, user, node, bias)
        if mean is not None:
            means[mean.name] = mean
        else:
            others.append(user)
    if not means or not others or not all(_is_free(user, node, means) for user in others):
        return None
    return others[-1]


def _mean_of(graph: Graph, total: Equation, node: Equation, bias: Read) -> Equation | None:
    """The node that is the mean of `node` by way of the sum `total`, if the bias does not vary over what is summed."""
    body = total.body
    if not (isinstance(body, Reduce) and body.op == "sum" and isinstance(body.body, Read)):
        return None
    summed = {name for name, _ in body.ranges}
    at = dict(zip(node.indices, body.body.indices, strict=True))
    if any(i.substitute(at).indices() & summed for i in bias.indices):
        return None
    users = [graph[user] for user in graph.users[total.name]]
    return users[0] if len(users) == 1 and isinstance(users[0], Equation) else None


def _is_free(user: Equation, node: Equation, means: Mapping[str, Equation]) -> bool:
    """Every read of the node stands in a sum with a mean of it subtracted."""
    reads = [e for e in walk(user.body) if isinstance(e, Read) and e.tensor == node.name]
    centred = [
        term
        for e in walk(user.body)
        if isinstance(e, Apply) and e.op == "add" and any(_is_minus_mean(t, means) for t in e.args)
        for term in e.args
        if isinstance(term, Read) and term.tensor == node.name
    ]
    return bool(reads) and len(reads) == len(centred)


def _is_minus_mean(e: Expr, means: Mapping[str, Equation]) -> bool:
    factors = e.args if isinstance(e, Apply) and e.op == "mul" else ()
    return Const(-1.0) in factors and any(isinstance(f, Read) and f.tensor in means for f in factors)
