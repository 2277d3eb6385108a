"""JAX, compiled, for the networks that are short to say in it: its parameters are netlang's, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.peers import Absent, Array, Peer
from benchmarks.workloads import Workload

Params = Mapping[str, Any]


def peers(workload: Workload) -> Iterator[Peer]:
    """Raises `Absent` where it is not installed."""
    try:
        import jax
    except ImportError:
        raise Absent("jax is not installed: JAX") from None
    if workload.net not in NETWORKS or not workload.training:
        return
    network = NETWORKS[workload.net]
    params = {name: jax.numpy.asarray(value) for name, value in workload.load().params.items()}
    given, wanted = map(jax.numpy.asarray, workload.data.values())

    def loss(params: Params) -> Any:
        scores = jax.nn.log_softmax(network(params, given))
        return -jax.numpy.take_along_axis(scores, wanted[..., None], -1).mean()

    @jax.jit
    def update(params: Params, velocity: Params) -> Any:
        value, gradients = jax.value_and_grad(loss)(params)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
        return value, jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity), velocity

    state = [params, jax.tree.map(jax.numpy.zeros_like, params)]

    def step() -> Any:
        value, *state[:] = update(*state)
        return jax.block_until_ready(value)

    def gradients() -> Mapping[str, Array]:
        return {name: np.asarray(g) for name, g in jax.jit(jax.grad(loss))(params).items()}

    yield Peer("JAX", gradients, step)


def _dense(p: Params, name: str, x: Any) -> Any:
    return x @ p[f"{name}.W"].T + p[f"{name}.b"]


def mlp(p: Params, x: Any) -> Any:
    import jax

    return _dense(p, "dense_2", jax.nn.relu(_dense(p, "dense_1", x)))


def lenet5(p: Params, x: Any) -> Any:
    import jax
    from jax import lax

    def stage(x: Any, name: str) -> Any:
        y = lax.conv(x, p[f"{name}.W"], (1, 1), "SAME") + p[f"{name}.b"][:, None, None]
        return lax.reduce_window(jax.nn.relu(y), -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    flat = stage(stage(x, "conv_1"), "conv_2").reshape(len(x), -1)
    return _dense(p, "dense_2", jax.nn.relu(_dense(p, "dense_1", flat)))


def _recurrent(p: Params, text: Any, cell: Callable[[Any, Any], tuple[Any, Any]], states: int) -> Any:
    """The network around a cell that takes a state and the embeddings of a step to the next state and its output."""
    import jax
    from jax import numpy as jnp

    x = p["embedding_1.E"][text.T]
    first = (jnp.zeros((len(text), 256), x.dtype),) * states
    _, h = jax.lax.scan(cell, first, x)
    return _dense(p, "dense_1", h.swapaxes(0, 1))


def rnn(p: Params, text: Any) -> Any:
    from jax import numpy as jnp

    def cell(state: Any, x: Any) -> Any:
        (h,) = state
        h = jnp.tanh(x @ p["rnn_1.W"].T + h @ p["rnn_1.U"].T + p["rnn_1.b"])
        return (h,), h

    return _recurrent(p, text, cell, 1)


def lstm(p: Params, text: Any) -> Any:
    import jax
    from jax import numpy as jnp

    W, U, b = (jnp.concatenate([p[f"lstm_1.{letter}{gate}"] for gate in "ifog"]) for letter in "WUb")

    def cell(state: Any, x: Any) -> Any:
        h, c = state
        i, f, o, g = jnp.split(x @ W.T + h @ U.T + b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return _recurrent(p, text, cell, 2)


def gru(p: Params, text: Any) -> Any:
    import jax
    from jax import numpy as jnp

    W, U, b = (jnp.concatenate([p[f"gru_1.{letter}{gate}"] for gate in ("z", "r", "")]) for letter in "WUb")

    def cell(state: Any, x: Any) -> Any:
        (h,) = state
        (xz, xr, xq), (hz, hr, hq) = jnp.split(x @ W.T + b, 3, axis=-1), jnp.split(h @ U.T, 3, axis=-1)
        z, r = jax.nn.sigmoid(xz + hz), jax.nn.sigmoid(xr + hr)
        h = z * h + (1 - z) * jnp.tanh(xq + r * (hq + p["gru_1.c"]))
        return (h,), h

    return _recurrent(p, text, cell, 1)


NETWORKS: dict[str, Callable[[Params, Any], Any]] = {"mlp": mlp, "lenet5": lenet5, "rnn": rnn, "lstm": lstm, "gru": gru}
