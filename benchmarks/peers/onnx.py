"""ONNX Runtime, for inference, on the twin in PyTorch as it exports it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from benchmarks.peers import Absent, Peer
from benchmarks.workloads import Workload


def peers(workload: Workload) -> Iterator[Peer]:
    """Raises `Absent` where something that it takes is not installed."""
    try:
        import onnx  # noqa: F401 - the exporter needs it
        import onnxruntime
        import torch
    except ImportError as error:
        raise Absent(f"{error.name} is not installed: ONNX Runtime") from None
    if workload.training:
        return
    from benchmarks.peers.torch import loaded

    (name, given), *_ = workload.data.items()
    exported = io.BytesIO()
    module = loaded(workload).module.eval()
    torch.onnx.export(module, (torch.from_numpy(given),), exported, input_names=[name], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(exported.getvalue(), options, providers=["CPUExecutionProvider"])

    def run() -> Any:
        return session.run(None, {name: given})

    yield Peer("ONNX Runtime", lambda: {"scores": run()[0]}, run)
