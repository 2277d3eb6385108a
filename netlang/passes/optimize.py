"""The training step as equations: penalties, objectives, gradients and the optimizers' updates join the graph."""

from __future__ import annotations

from collections.abc import Sequence

from netlang.diagnostics import fail, listing, nearest
from netlang.elaboration.arithmetic import to_tensor
from netlang.elaboration.elaborator import Elaborator
from netlang.elaboration.frame import Frame
from netlang.elaboration.modules import Module
from netlang.elaboration.recipe import Applied, Goal, Recipe
from netlang.elaboration.values import Tensor, Value, node_tensor
from netlang.graph.constructors import add, const, div, mul, power, read
from netlang.graph.expression import Apply, Const, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, index
from netlang.graph.nodes import Input, Origin, Param
from netlang.language import tree
from netlang.passes.derive import derive
from netlang.passes.objective import objective

CLOCK = ("step", "epoch", "steps", "epochs")  # scalars that the training loop gives


def add_penalties(graph: Graph, module: Module, recipe: Recipe) -> tuple[Graph, tuple[str, ...]]:
    """Add a scalar node for each penalty and parameter; returns their names.

    A penalty is over the parameters that it names, or over all weights, that is parameters of two dimensions or more:
    biases and scales are left alone.
    """
    elaborator = Elaborator(module, graph.name, training=True, graph=graph)
    names: list[str] = []
    for penalty in recipe.penalties:
        params = chosen(graph, penalty.over) if penalty.over else [p for p in graph.params if len(p.shape) > 1]
        with elaborator.applications.blamed_on(penalty.definition, penalty.span):
            names += [_add_penalty(elaborator, penalty, param) for param in params]
    nodes = list(elaborator.builder.nodes.values())
    return graph.evolve(nodes), tuple(names)


def _add_penalty(elaborator: Elaborator, penalty: Applied, param: Param) -> str:
    definition = penalty.definition
    frame = Frame(elaborator.module.home(definition), "penalty", definition.name.id, "", "", True)
    elaborator.arguments.bind(definition, [node_tensor(param), *penalty.positional], penalty.named, frame, penalty.span)
    value = to_tensor(elaborator.body(definition.body, frame) or 0, penalty.span)
    if value.shape:
        fail(
            "loss-not-scalar",
            f"the penalty `{definition.name.id}` {value.describe()}, not a single number",
            penalty.span,
            help="let it return a sum or a mean over the elements",
        )
    name = elaborator.builder.unused(f"{param.name}.{definition.name.id}")
    elaborator.builder.equation(name, value, Origin(penalty.span, param.origin.scope))
    return name


def add_objectives(graph: Graph, module: Module, recipe: Recipe) -> Graph:
    """Add penalties and one objective for each goal."""
    graph, penalties = add_penalties(graph, module, recipe)
    _check_losses(graph, recipe)
    groups = {g.name if not g.losses else f"{g.name}.objective": g.losses or tuple(graph.losses) for g in recipe.goals}
    return objective(graph, groups, penalties)


def add_updates(graph: Graph, module: Module, recipe: Recipe) -> Graph:
    """Differentiate each objective by the parameters of its goal and add the optimizer's updates."""
    for (goal, params), target in zip(_trained(graph, recipe), graph.objectives.values(), strict=True):
        graph = derive(graph, target, [p.name for p in params])
        gradients = {p.name: graph.gradients[p.name] for p in params}
        graph = _Updates(graph, module, recipe, goal).add(params, gradients)
    return graph


def check_recipe(graph: Graph, module: Module, recipe: Recipe) -> None:
    """Raise what `add_objectives` and `add_updates` would, without deriving anything.

    The optimizer is applied as if each parameter were its own gradient, which has its shape.
    """
    graph, _ = add_penalties(graph, module, recipe)
    _check_losses(graph, recipe)
    for goal, params in _trained(graph, recipe):
        graph = _Updates(graph, module, recipe, goal).add(params, {p.name: p.name for p in params})


def _check_losses(graph: Graph, recipe: Recipe) -> None:
    for goal in recipe.goals:
        for loss in goal.losses:
            if loss not in graph.losses:
                known = listing(graph.losses) if graph.losses else "no losses"
                fail(
                    "unknown-loss",
                    f"`{graph.name}` has no loss `{loss}`",
                    goal.span,
                    help=nearest(loss, graph.losses) or f"it has {known}",
                )
    if not graph.losses:
        fail(
            "no-loss",
            f"`{graph.name}` has no loss to minimize",
            recipe.span,
            help="add a line such as `loss mean(...)` to the net",
        )


def _trained(graph: Graph, recipe: Recipe) -> list[tuple[Goal, list[Param]]]:
    """The parameters that each goal changes, each of them in one goal only."""
    changed: dict[str, Goal] = {}
    trained = []
    for goal in recipe.goals:
        params = chosen(graph, goal.over) if goal.over else list(graph.params)
        for param in params:
            if changed.setdefault(param.name, goal) is not goal:
                fail(
                    "duplicate-setting",
                    f"`{param.name}` is changed to minimize `{changed[param.name].name}` and `{goal.name}`",
                    goal.over[0].span if goal.over else goal.optimizer.span,
                    help="name each parameter, or its layer, after one `over` only",
                )
        if not params:
            fail("nothing-to-train", f"`{graph.name}` has no parameters", recipe.span, help="add a layer or a `param`")
        trained.append((goal, params))
    return trained


def chosen(graph: Graph, names: Sequence[tree.Name]) -> list[Param]:
    """The parameters that are named, or that belong to a named instance."""
    found: dict[str, Param] = {}
    for name in names:
        inside = (f"{name.id}.", f"{name.id}[")  # of an instance; of those that the rounds of a `for` name
        matching = [p for p in graph.params if p.name == name.id or p.name.startswith(inside)]
        if not matching:
            owners = {p.name.rsplit(".", 1)[0] for p in graph.params}
            known = [*(p.name for p in graph.params), *owners]
            fail(
                "unknown-name",
                f"no parameter is called `{name.id}`",
                name.span,
                help=nearest(name.id, known) or f"there are {listing(known)}",
            )
        found |= {p.name: p for p in matching}
    return list(found.values())


class _Updates:
    """Adds the updates of one goal."""

    def __init__(self, graph: Graph, module: Module, recipe: Recipe, goal: Goal) -> None:
        self.graph, self.module, self.recipe, self.goal = graph, module, recipe, goal
        self.elaborator = Elaborator(module, graph.name, training=True, graph=graph)
        self.builder = self.elaborator.builder
        self.clock = {name: self.input(name) for name in CLOCK}

    def input(self, name: str) -> Tensor:
        path = f"clock.{name}"
        node = self.builder.nodes.get(path) or self.builder.add(Input(path, (), "real", Origin(None), "clock"))
        return node_tensor(node)

    def add(self, params: Sequence[Param], gradients: dict[str, str]) -> Graph:
        optimizer = self.goal.optimizer
        scale = self.clipping(gradients)
        rate = self.rate(optimizer)
        for param in params:
            gradient = node_tensor(self.builder.nodes[gradients[param.name]])
            gradient = gradient if scale is None else _scaled(gradient, scale)
            limit = self.recipe.clamp
            self.update(param, gradient if limit is None else _clamped(gradient, limit), rate)
        nodes = list(self.builder.nodes.values())
        return self.graph.evolve(nodes, updates=self.builder.updates, initial=self.builder.initial)

    def update(self, param: Param, gradient: Tensor, rate: Tensor | None) -> None:
        optimizer = self.goal.optimizer
        definition = optimizer.definition
        if len(definition.parameters) < 2:
            fail(
                "missing-argument",
                f"`{definition.name.id}` needs a weight and its gradient as its first arguments",
                definition.name.span,
                help=f"write `optimizer {definition.name.id}(w, g, lr=0.01):`",
            )
        weight, slope = (p.name for p in definition.parameters[:2])
        frame = Frame(
            self.module.home(definition), "optimizer", definition.name.id, param.name, f"{param.name}.optimizer", False
        )
        frame.names |= self.clock
        frame.names |= {weight: node_tensor(param), slope: gradient}
        frame.weight = weight
        with self.elaborator.applications.blamed_on(definition, optimizer.span):
            self.elaborator.arguments.bind(
                definition, optimizer.positional, optimizer.named, frame, optimizer.span, skip=2
            )
            if rate is not None:
                frame.names["lr"] = rate
            self.elaborator.body(definition.body, frame)
            if param.name not in self.builder.updates:
                fail(
                    "missing-return",
                    f"`{definition.name.id}` never gives `{weight}` its next value",
                    definition.name.span,
                    help=f"end it with `{weight} <- ...`",
                )

    def rate(self, optimizer: Applied) -> Tensor | None:
        """The learning rate under the schedule, as a scalar node; None without a schedule."""
        schedule = self.recipe.schedule
        if schedule is None:
            return None
        definition = schedule.definition
        own = Frame(self.module.home(optimizer.definition), "optimizer", optimizer.definition.name.id, "", "", True)
        self.elaborator.arguments.bind(
            optimizer.definition, optimizer.positional, optimizer.named, own, optimizer.span, skip=2
        )
        if "lr" not in own.names:
            fail(
                "bad-setting",
                f"`{optimizer.definition.name.id}` has no rate `lr` to schedule",
                schedule.span,
                help="remove the schedule, or choose an optimizer with a rate `lr`",
            )
        frame = Frame(self.module.home(definition), "schedule", definition.name.id, "", "", True)
        frame.names |= self.clock
        rate: Value = own.names["lr"]
        with self.elaborator.applications.blamed_on(definition, schedule.span):
            self.elaborator.arguments.bind(
                definition, [rate, *schedule.positional], schedule.named, frame, schedule.span
            )
            value = to_tensor(self.elaborator.body(definition.body, frame) or 0, schedule.span)
        if value.shape:
            fail(
                "loss-not-scalar",
                f"the schedule `{definition.name.id}` {value.describe()}, not a single number",
                schedule.span,
                help="let it return one number",
            )
        name = self.builder.unused("learning_rate")
        return self.builder.equation(name, value, Origin(schedule.span))

    def clipping(self, gradients: dict[str, str]) -> Expr | None:
        """The factor that brings the norm of all gradients together down to the limit (Pascanu et al., 2013)."""
        limit = self.recipe.clip
        if limit is None:
            return None
        squares: list[Expr] = []
        for name, gradient in gradients.items():
            node = self.builder.nodes[gradient]
            ranges = tuple((f"i{k}", n) for k, n in enumerate(node.shape))
            body: Expr = power(Read(gradient, tuple(index(i) for i, _ in ranges)), 2)
            total = Tensor((), lambda at, r=ranges, b=body: Reduce("sum", r, b) if r else b)  # type: ignore[misc]
            path = self.builder.unused(f"{name}.square")
            self.builder.equation(path, total, Origin(None))
            squares.append(read(path))
        norm = power(add(*squares), 0.5)
        factor = Tensor((), lambda at: Apply("min", (Const(1.0), div(const(limit), norm))))
        path = self.builder.unused("clip")
        self.builder.equation(path, factor, Origin(None))
        return read(path)


def _scaled(gradient: Tensor, scale: Expr) -> Tensor:
    return Tensor(gradient.shape, lambda at: mul(scale, gradient.element(at)))


def _clamped(gradient: Tensor, limit: float) -> Tensor:
    """Each element brought into the range from -limit to limit (Graves, 2013, section 2.1)."""

    def element(at: tuple[Int, ...]) -> Expr:
        return Apply("max", (Const(-limit), Apply("min", (Const(limit), gradient.element(at)))))

    return Tensor(gradient.shape, element)
