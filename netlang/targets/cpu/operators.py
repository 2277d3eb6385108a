"""What Numba makes of operators and conversions of scalars: the types of operands and result, and the LLVM code.

Only the declarations and implementations that scalars need are taken from it, and what was found for an operator on
given types is remembered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core import cpu, types, typing
from numba.core.callconv import create_error_model
from numba.core.errors import TypingError
from numba.core.imputils import builtin_registry as implementations
from numba.core.typing import builtins
from numba.core.typing.templates import builtin_registry

from netlang.targets.cpu.intrinsics import Typed

COMPARISONS = frozenset({operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne})
ARITHMETIC = frozenset({operator.add, operator.sub, operator.mul, operator.truediv})
WHOLE = frozenset({operator.floordiv, operator.mod})  # of integers alone


@cache
def operation(function: Callable[..., Any], *kinds: Any) -> Typed | None:
    """An operator (`operator.add`) on operands of these types; None where there is none.

    An integer next to a float takes its type: as NumPy's Python scalars, so that `2 * x` stays float32.
    """
    if function in ARITHMETIC | COMPARISONS:
        floats = [kind for kind in kinds if isinstance(kind, types.Float)]
        if floats and len(floats) < len(kinds):
            kinds = tuple(floats[0] if isinstance(kind, types.Integer) else kind for kind in kinds)
    if function in WHOLE and not all(isinstance(kind, types.Integer) for kind in kinds):
        return None
    try:
        signature = _typing().resolve_function_type(function, kinds, {})
    except TypingError:
        return None
    code = target().get_function(function, signature)
    return Typed(signature.return_type, signature.args, lambda context, builder, values: code(builder, values))


def converted(builder: Any, value: Any, kind: Any, wanted: Any) -> Any:
    """A value of one type as one of another."""
    return value if kind == wanted else target().cast(builder, value, kind, wanted)


@cache
def value_type(kind: Any) -> Any:
    """The LLVM type of values of a type."""
    return target().get_value_type(kind)


def is_convertible(kind: Any, wanted: Any) -> bool:
    """Whether a value of one type may stand where one of another is wanted: numbers for numbers, else the same."""
    return kind == wanted or all(isinstance(each, types.Number | types.Boolean) for each in (kind, wanted))


@cache
def target() -> Any:
    """Numba's view of the machine."""
    return KernelTarget(_typing())


@cache
def _typing() -> Any:
    return KernelTyping()


class KernelTyping(typing.BaseContext):  # type: ignore[misc]
    """Types scalars only."""

    def __init__(self) -> None:
        super().__init__()
        self._install(builtins.__name__)

    def _install(self, module: str) -> None:
        """Take from Numba's registry what one of its modules declares: most of the rest is about arrays and objects,
        and setting it up would import SciPy."""
        for template in builtin_registry.functions:
            if template.__module__ == module:
                self.insert_function(template)
        kinds: dict[Any, Any] = {}
        for value, kind in builtin_registry.globals:
            # a template registered for a value is an anonymous subclass of the one that the module wrote
            if all(module in {base.__module__ for base in t.__mro__} for t in getattr(kind, "templates", ())):
                kinds[value] = kinds[value].augment(kind) if value in kinds else kind
        for value, kind in kinds.items():
            self._insert_global(value, kind)

    def refresh(self) -> None:
        """Numba's declarations are taken once."""


class KernelTarget(cpu.CPUContext):  # type: ignore[misc]
    """Loads only the implementations that kernels can use."""

    def init(self) -> None:
        self.is32bit = False
        from numba.cpython import builtins, numbers  # noqa: F401 - their import registers what they implement

        self.install_registry(implementations)
        self.error_model = create_error_model("numpy", self)

    def refresh(self) -> None:
        """Numba's implementations are taken once."""

    def add_linking_libs(self, libs: Any) -> None:
        """What is written for an operator calls nothing that is compiled elsewhere."""
