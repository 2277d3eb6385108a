"""Random recurrent networks as text, for property tests: sequences of run-time length, random bodies, carried states.

Like those of `tests.strategies` they are well conditioned: every recurrence is squashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.strategies import LAYERS, Choices, Drawn, Network, T

SQUASH = ("tanh({0})", "sin({0})", "sigmoid({0})", "softsign({0})", "0.7 * tanh({0})")


def recurrent_network(choices: Choices) -> Network:
    """A random network with recurrences over a sequence `x[T, d]`, in any direction, with any number of steps back."""
    return _Recurrent(choices).network()


def stream_network(choices: Choices) -> Network:
    """One whose recurrences begin with what the call before ended with."""
    return _Recurrent(choices, carried=True).network()


def padded_network(choices: Choices) -> Network:
    """One that takes sequences with their lengths; what is beyond a length is `0`, or what was there before."""
    return _Recurrent(choices, padded=True).network()


@st.composite
def recurrent_networks(draw: st.DrawFn) -> Network:
    return recurrent_network(Drawn(draw))


@st.composite
def stream_networks(draw: st.DrawFn) -> Network:
    return stream_network(Drawn(draw))


@st.composite
def padded_networks(draw: st.DrawFn) -> Network:
    return padded_network(Drawn(draw))


@dataclass
class _Recurrent:
    """One network in the making. Tensors over time are called by a letter and a number, and are `[T, n]`."""

    choices: Choices
    carried: bool = False
    padded: bool = False

    def pick(self, options: Sequence[T]) -> T:
        return options[self.choices.whole(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        return self.choices.whole(0, 99) >= 100 - percent

    def network(self) -> Network:
        d, n = self.choices.whole(1, 3), self.choices.whole(1, 3)
        self.lines = [f"input x[T, {d}]" + (", length: class(T + 1)" if self.padded else "")]
        self.updates: list[str] = []
        self.widths = {"x": d}
        self.made = 0
        for _ in range(self.choices.whole(1, 2)):
            self.group(n)
        if not self.carried and not self.padded and self.chance(25):
            self.grid()
        tensors = [name for name in self.widths if name != "x"]
        outputs = tensors[-2:]
        self.lines += self.updates
        shown = [f"sum(t < T) ({name}[t] if t < length else 0)" if self.padded else name for name in outputs]
        extra = f", {tensors[-1]}[T-1]" if self.chance(50) and not self.padded else ""
        extra = f", ({tensors[-1]}[length - 1] else 0)" if self.padded else extra
        self.lines += [f"out{k} = {text}" for k, text in enumerate(shown)]
        self.lines.append(
            f"output {', '.join(f'out{k}' for k in range(len(shown)))}" + (f", last = {extra[2:]}" if extra else "")
        )
        losses = ", ".join(f"loss{k} = probe(out{k})" for k in range(len(shown)))
        self.lines.append(f"loss {losses}")
        text = "net Random:\n" + "".join(f"    {line}\n" for line in self.lines)
        return Network(text + LAYERS, self.made, False, False)

    def name(self, letter: str) -> str:
        self.made += 1
        return f"{letter}{self.made}"

    def group(self, n: int) -> None:
        """One or two tensors that need each other's steps before (or after)."""
        names = [self.name("h") for _ in range(self.choices.whole(1, 2))]
        back = "+" if not self.carried and self.chance(25) else "-"
        before = dict(self.widths)
        known: list[str] = []
        for name in names:
            terms = [self.step_back(other, n, back) for other in dict.fromkeys((name, self.pick(names)))]
            terms += [self.now(self.pick(list(before)), before, n, back)]
            if known and self.chance(50):
                terms.append(f"0.5 * {self.pick(known)}[t]")
            body = self.pick(SQUASH).format(
                " * ".join(f"({term})" for term in terms) if self.chance(30) else " + ".join(terms)
            )
            if self.chance(30):
                body = f"{body} + 0.3 * {self.step_back(name, n, back, plain=True)}"
            if self.padded and back == "-" and self.chance(50):  # holds its value after the end
                body = f"({body}) if t < length else ({name}[t-1] else 0)"
            self.lines.append(f"{name}[t < T] = {body}")
            known.append(name)
            self.widths[name] = n
            if self.carried:
                self.updates.append(f"s{name} <- {name}[T-1]")
        if self.carried:
            self.lines += [f"state s{name}[{n}] ~ {self.pick(['zeros', 'ones', 'uniform(-1, 1)'])}" for name in names]

    def step_back(self, name: str, n: int, back: str, *, plain: bool = False) -> str:
        """A tensor some steps back, multiplied by a matrix or not."""
        if self.carried:
            read = f"({name}[t-1] else s{name})"
        else:
            k = self.choices.whole(1, 2)
            other = self.pick(["0", "0.5", ""]) or self.start(n)
            if self.padded and back == "+":
                read = f"({name}[t+{k}] if t + {k} < length else {other})"
            else:
                read = f"({name}[t{back}{k}] else {other})"
        return read if plain or self.chance(40) else f"{self.matrix(n, n)} @ {read}"

    def start(self, n: int) -> str:
        name = self.name("p")
        self.lines.append(f"param {name}[{n}] ~ uniform(-1, 1)")
        return name

    def matrix(self, n: int, d: int) -> str:
        name = self.name("W")
        self.lines.append(f"param {name}[{n}, {d}] ~ uniform(-1, 1)")
        return name

    def now(self, name: str, widths: dict[str, int], n: int, back: str) -> str:
        """A tensor over time at the present step, or near it."""
        read = f"{name}[t]"
        if not self.carried and not self.padded and self.chance(25):
            read = self.pick([f"({name}[t-1] else 0)", f"({name}[t+2] else 0.1)", f"{name}[T-1-t]", f"{name}[t // 2]"])
        return f"{self.matrix(n, widths[name])} @ {read}"

    def grid(self) -> None:
        """A recurrence in time and along the features."""
        d = self.widths["x"]
        name = self.name("g")
        w = self.start(d)
        body = f"tanh({w}[k] * ({name}[t-1, k] else 0.2) + 0.4 * ({name}[t, k-1] else 0) + x[t, k])"
        self.lines.append(f"{name}[t < T, k < {d}] = {body}")
        self.widths[name] = d
