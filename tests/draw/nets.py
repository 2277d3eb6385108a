"""Small nets built by hand, for the tests of the pictures."""

from __future__ import annotations

from collections.abc import Iterable

from netlang.graph.constructors import add, apply, const, div, every, mul, neg, power, read, select, sub, within
from netlang.graph.expression import Apply, Expr, Read, Reduce
from netlang.graph.graph import Graph
from netlang.graph.integer import Int, fetch, index, integer
from netlang.graph.nodes import Equation, Input, Node, Origin, Param, Scope, View

NONE = Origin(None)


def ints(*values: int) -> tuple[Int, ...]:
    return tuple(integer(v) for v in values)


class Net:
    """Collects nodes and scopes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, Node] = {}
        self.scopes: list[Scope] = []

    def input(self, name: str, *shape: int, role: str = "input", classes: int | None = None) -> str:
        bound = None if classes is None else integer(classes)
        dtype = "real" if classes is None else "int"
        return self.add(Input(name, ints(*shape), dtype, NONE, role, bound))

    def param(self, name: str, *shape: int, scope: str = "") -> str:
        return self.add(Param(name, ints(*shape), "real", Origin(None, scope)))

    def equation(self, name: str, shape: Iterable[int], indices: str, body: Expr, scope: str = "") -> str:
        return self.add(Equation(name, ints(*shape), "real", Origin(None, scope), tuple(indices.split()), body))

    def add(self, node: Node) -> str:
        self.nodes[node.name] = node
        return node.name

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(e.constant for e in self.nodes[name].shape)

    def scope(
        self, name: str, definition: str, x: str, y: str, *, kind: str = "layer", parent: str = "", owner: str = ""
    ) -> None:
        self.scopes.append(Scope(name, definition, kind, owner or name, parent, (x,), (y,), None))

    def graph(self, **roots: object) -> Graph:
        return Graph.build(self.name, self.nodes.values(), scopes=tuple(self.scopes), **roots)

    # --- layers ---

    def conv(self, name: str, x: str, filters: int, size: int, pad: int = 0, stride: int = 1, parent: str = "") -> str:
        c, h, w = self.shape(x)
        a, b = ((n + 2 * pad - size) // stride + 1 for n in (h, w))
        W = self.param(f"{name}.W", filters, c, size, size, scope=name)
        bias = self.param(f"{name}.b", filters, scope=name)
        k, i, j, m, p, q = map(index, "kijmpq")
        extents = dict(zip("kijmpq", ints(filters, a, b, c, size, size), strict=True))
        row, column = i * stride + p - pad, j * stride + q - pad
        guard = every([within(row, integer(h), extents), within(column, integer(w), extents)])
        body = mul(read(W, k, m, p, q), select(guard, read(x, m, row, column), const(0)))
        ranges = tuple((n, extents[n]) for n in "mpq")
        total = self.equation(f"{name}.y.sum", (filters, a, b), "k i j", Reduce("sum", ranges, body), name)
        y = add(read(total, k, i, j), read(bias, k))
        self.scope(name, "conv", x, f"{name}.y", parent=parent)
        return self.equation(f"{name}.y", (filters, a, b), "k i j", y, name)

    def relu(self, name: str, x: str, parent: str = "") -> str:
        shape = self.shape(x)
        letters = "kij"[: len(shape)]
        self.scope(name, "relu", x, f"{name}.y", kind="fn", parent=parent)
        body = apply("max", const(0), Read(x, tuple(index(n) for n in letters)))
        return self.equation(f"{name}.y", shape, " ".join(letters), body, name)

    def maxpool(self, name: str, x: str, size: int) -> str:
        c, h, w = self.shape(x)
        k, i, j, p, q = map(index, "kijpq")
        ranges = (("p", integer(size)), ("q", integer(size)))
        self.scope(name, "maxpool", x, f"{name}.y")
        body = Reduce("max", ranges, read(x, k, i * size + p, j * size + q))
        return self.equation(f"{name}.y", (c, h // size, w // size), "k i j", body, name)

    def flatten(self, name: str, x: str) -> str:
        c, h, w = self.shape(x)
        self.scope(name, "flatten", x, f"{name}.y")
        return self.add(View(f"{name}.y", ints(c * h * w), "real", Origin(None, name), x))

    def dense(self, name: str, x: str, units: int, owner: str = "") -> str:
        (d,) = self.shape(x)
        weights = owner or name
        if not owner:
            self.param(f"{name}.W", units, d, scope=name)
            self.param(f"{name}.b", units, scope=name)
        i, j = index("i"), index("j")
        body = Reduce("sum", (("j", integer(d)),), mul(read(f"{weights}.W", i, j), read(x, j)))
        total = self.equation(f"{name}.y.sum", (units,), "i", body, name)
        self.scope(name, "dense", x, f"{name}.y", owner=owner)
        y = add(read(total, i), read(f"{weights}.b", i))
        return self.equation(f"{name}.y", (units,), "i", y, name)

    def cross_entropy(self, name: str, s: str, y: str) -> str:
        (n,) = self.shape(s)
        j = index("j")
        self.scope(name, "cross_entropy", s, f"{name}.y", kind="loss")
        ranges = (("j", integer(n)),)
        total = self.equation(f"{name}.y.sum", (), "", Reduce("sum", ranges, Apply("exp", (read(s, j),))), name)
        body = sub(Apply("log", (read(total),)), read(s, fetch(y, (), integer(n))))
        return self.equation(f"{name}.y", (), "", body, name)

    def residual(self, name: str, x: str, channels: int, stride: int = 1) -> str:
        c = self.shape(x)[0]
        a = self.conv(f"{name}.conv_1", x, channels, 3, 1, stride, parent=name)
        a = self.relu(f"{name}.relu_1", a, parent=name)
        a = self.conv(f"{name}.conv_2", a, channels, 3, 1, parent=name)
        s = x if stride == 1 and c == channels else self.conv(f"{name}.conv_3", x, channels, 1, 0, stride, parent=name)
        places = tuple(index(n) for n in "kij")
        f = self.equation(f"{name}.f", self.shape(a), "k i j", add(Read(a, places), Read(s, places)), name)
        y = self.relu(f"{name}.relu_2", f, parent=name)
        self.scope(name, "residual", x, y)
        return y


def product_circuit() -> Graph:
    """f = (x + y) * z"""
    net = Net("Circuit")
    x, y, z = (read(net.input(n)) for n in "xyz")
    q = net.equation("q", (), "", add(x, y))
    f = net.equation("f", (), "", mul(read(q), z))
    return net.graph(outputs={"f": f})


def neuron() -> Graph:
    """f = 1 / (1 + exp(-(w0*x0 + w1*x1 + w2)))"""
    net = Net("Neuron")
    w0, x0, w1, x1, w2 = (read(net.input(n)) for n in ("w0", "x0", "w1", "x1", "w2"))
    total = add(mul(w0, x0), mul(w1, x1), w2)
    f = net.equation("f", (), "", div(const(1), add(const(1), Apply("exp", (neg(total),)))))
    return net.graph(outputs={"f": f})


def norm() -> Graph:
    """q = W x, f = sum of q^2"""
    net = Net("Norm")
    W, x = net.input("W", 2, 2), net.input("x", 2)
    i, j = index("i"), index("j")
    net.equation("q", (2,), "i", Reduce("sum", (("j", integer(2)),), mul(read(W, i, j), read(x, j))))
    f = net.equation("f", (), "", Reduce("sum", (("i", integer(2)),), power(read("q", i), 2)))
    return net.graph(outputs={"f": f})


def lenet() -> Graph:
    net = Net("LeNet5")
    x = net.input("image", 1, 28, 28)
    y = net.input("digit", role="target", classes=10)
    x = net.conv("conv_1", x, 20, 5, 2)
    x = net.maxpool("maxpool_1", net.relu("relu_1", x), 2)
    x = net.conv("conv_2", x, 50, 5, 2)
    x = net.maxpool("maxpool_2", net.relu("relu_2", x), 2)
    x = net.dense("dense_1", net.flatten("flatten_1", x), 500)
    x = net.dense("dense_2", net.relu("relu_3", x), 10)
    loss = net.cross_entropy("cross_entropy_1", x, y)
    return net.graph(outputs={"scores": x}, losses={"loss": loss})


def resnet(blocks: tuple[int, ...] = (3, 4, 6, 3)) -> Graph:
    """The plan of ResNet-50 with basic blocks on a small image."""
    net = Net("ResNet")
    x = net.conv("conv_1", net.input("image", 3, 32, 32), 16, 3, 1)
    x = net.relu("relu_1", x)
    number = 0
    for stage, count in enumerate(blocks):
        for k in range(count):
            number += 1
            x = net.residual(f"residual_{number}", x, 16 << stage, 2 if stage and not k else 1)
    x = net.dense("dense_1", net.flatten("flatten_1", x), 10)
    return net.graph(outputs={"scores": x})


def twins() -> Graph:
    """One instance applied to two inputs."""
    net = Net("Twins")
    left, right = net.input("left", 8), net.input("right", 8)
    a = net.dense("embed", left, 4)
    b = net.dense("embed_2", right, 4, owner="embed")
    j = index("j")
    squares = Reduce("sum", (("j", integer(4)),), power(sub(read(a, j), read(b, j)), 2))
    return net.graph(outputs={"distance": net.equation("distance", (), "", squares)})
