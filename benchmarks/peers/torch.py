"""PyTorch: as it is, with channels last, and compiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.peers import Absent, Array, Peer
from benchmarks.workloads import Workload

COMPILERS = ("c++", "g++", "clang++")


def peers(workload: Workload) -> Iterator[Peer]:
    """The variants of PyTorch for a workload. Raises `Absent` where it is not installed."""
    try:
        import torch
    except ImportError:
        raise Absent("torch is not installed: eager, channels-last and torch.compile") from None
    yield _peer(workload, "torch")
    if workload.is_image:
        yield _peer(workload, "torch channels-last", layout=torch.channels_last)
    if not any(map(shutil.which, COMPILERS)):
        raise Absent("there is no C++ compiler: torch.compile")
    yield _peer(workload, "torch.compile", transform=lambda f: torch.compile(f, dynamic=False))


def loaded(workload: Workload) -> Any:
    """The twin of a workload's network with netlang's values."""
    import torch

    from benchmarks.peers.twins import twin

    net = workload.load()
    made = twin(workload.net, list(net.params))
    with torch.no_grad():
        for name, (parameter, rows) in made.places.items():
            target = parameter if rows is None else parameter[rows]
            assert target.shape == net.params[name].shape, name
            target.copy_(torch.from_numpy(net.params[name]))
    return made


def in_float64(workload: Workload) -> Peer:
    """What to check against, not to time. Raises `Absent`."""
    try:
        import torch
    except ImportError:
        raise Absent("torch is not installed") from None
    return _peer(workload, "torch in float64", dtype=torch.float64)


def _peer(
    workload: Workload,
    name: str,
    *,
    layout: Any = None,
    dtype: Any = None,
    transform: Callable[[Any], Any] = lambda f: f,
) -> Peer:
    import torch
    from torch.nn import functional

    made = loaded(workload)
    module = made.module.train(workload.training).to(dtype)
    given, wanted = (torch.from_numpy(array) for array in workload.data.values())
    if given.is_floating_point():
        given = given.to(dtype)
    if layout is not None:
        module, given = module.to(memory_format=layout), given.contiguous(memory_format=layout)
    if not workload.training:
        infer = torch.inference_mode()(transform(module))
        return Peer(name, lambda: {"scores": infer(given).numpy()}, lambda: infer(given))

    def loss(inputs: Any, targets: Any) -> Any:
        scores = module(inputs)
        return functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1))

    compiled = transform(loss)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, fused=True)

    def backward() -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = compiled(given, wanted)
        value.backward()
        return value

    def gradients() -> Mapping[str, Array]:
        backward()
        found = {key: (p.grad if rows is None else p.grad[rows]) for key, (p, rows) in made.places.items()}
        return {key: gradient.numpy().copy() for key, gradient in found.items()}

    def step() -> Any:
        value = backward()
        optimizer.step()
        return value

    return Peer(name, gradients, step)
