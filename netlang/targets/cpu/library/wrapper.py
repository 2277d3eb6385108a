"""The exported functions as LLVM code: they check, fill the tables of a program on the stack, and call its kernels.

Everything here is for any processor of the architecture; the kernels behind it are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from netlang.diagnostics import InternalError
from netlang.graph.expression import All as AllOf
from netlang.graph.expression import Any as AnyOf
from netlang.graph.expression import AtLeastZero, Condition, IsZero, Not
from netlang.graph.integer import Floor, Int, Modulo, Size, product
from netlang.random import GOLDEN, MULTIPLY_1, MULTIPLY_2
from netlang.schedule.memory import ALIGNMENT
from netlang.targets.cpu.generate import address_slots, number_slots
from netlang.targets.cpu.library.format import CLOCK, MANIFEST_HEAD, STATUSES
from netlang.targets.cpu.library.interface import CLOCK_INPUTS, Argument, Function, Interface
from netlang.targets.cpu.library.layout import regions
from netlang.targets.cpu.library.processor import define_missing
from netlang.targets.cpu.sharing import PARTS, TEAM

I1, I8, I32, I64, F64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.DoubleType()
POINTER = ir.PointerType()
STATUS = {name: k for k, name in enumerate(STATUSES)}
LARGEST = 2**31 - 1  # of a run-time size
TOO_MANY = 2.0**60  # bytes: more than any address space has, and far from the end of 64-bit integers


def wrapper(interface: Interface) -> str:
    """The text of the LLVM module with the exported functions; kernels and data are external to it."""
    module = ir.Module("wrapper")
    missing = define_missing(module, f"{interface.prefix}_missing_features", interface.needed)
    _define_addresses(module, interface)
    for function in interface.functions:
        workspace = _define_workspace(module, interface, function)
        _Call(module, interface, function, missing, workspace).define()
    return str(module)


def program_symbol(interface: Interface, function: Function) -> str:
    """The hidden name of a function's kernels and their entry."""
    return f"{interface.prefix}_{function.name}_program"


def manifest_symbol(interface: Interface) -> str:
    """The hidden name of the manifest, which is the library's own even where several are loaded."""
    return f"{interface.prefix}_manifest_data"


def values_symbol(interface: Interface) -> str:
    """The hidden name of the embedded values."""
    return f"{interface.prefix}_values"


def exported(interface: Interface) -> tuple[str, ...]:
    """The names that a library shows, besides `netlang_manifest`."""
    own = ["missing_features", "manifest", *(["net"] if interface.embedded else [])]
    own += [name for f in interface.functions for name in (f.name, f"{f.name}_workspace")]
    return tuple(f"{interface.prefix}_{name}" for name in own)


def _define_addresses(module: Any, interface: Interface) -> None:
    """`manifest` and, where the values are embedded, `net`."""
    wanted = [("manifest", manifest_symbol(interface), MANIFEST_HEAD)]
    if interface.embedded:
        wanted.append(("net", values_symbol(interface), 0))
    for name, symbol, offset in wanted:
        data = ir.GlobalVariable(module, I8, symbol)
        data.linkage = "external"
        function = ir.Function(module, ir.FunctionType(POINTER, []), f"{interface.prefix}_{name}")
        b = ir.IRBuilder(function.append_basic_block())
        b.ret(b.gep(data, [_i64(offset)]))


def _define_workspace(module: Any, interface: Interface, function: Function) -> Any:
    """`int64_t f_workspace(sizes)`: the bytes that a call works in, -1 for sizes that the net does not take."""
    kind = ir.FunctionType(I64, [I64] * len(function.sizes))
    defined = ir.Function(module, kind, f"{interface.prefix}_{function.name}_workspace")
    b = ir.IRBuilder(defined.append_basic_block())
    sizes = _Sizes(b, dict(zip(function.sizes, defined.args, strict=True)))
    refused = defined.append_basic_block()
    for given in defined.args:
        _stop_if(b, b.icmp_unsigned(">", b.sub(given, _i64(1)), _i64(LARGEST - 1)), refused)
    shapes = [*(buffer.shape for buffer in function.program.buffers.values()), *(a.shape for a in function.arguments)]
    for extent in dict.fromkeys(e for shape in shapes for e in shape if not e.is_constant and e.single is None):
        _stop_if(b, b.icmp_signed("<", sizes.value(extent), _i64(1)), refused)
    arrays = [product(shape) for shape in shapes]
    for count in dict.fromkeys(a for a in arrays if not a.is_constant):
        _stop_if(b, b.fcmp_ordered(">", sizes.estimate(count), ir.Constant(F64, TOO_MANY / 8)), refused)
    for requirement in function.requirements:
        _stop_if(b, b.not_(sizes.holds(requirement.condition)), refused)
    total, estimate = _i64(0), ir.Constant(F64, 0.0)
    for region in regions(function.program, interface.itemsize):
        factor = ir.Constant(F64, float(region.bytes))
        estimate = b.fadd(estimate, b.fmul(sizes.estimate(region.unit), factor))
        total = b.add(total, _place(b, sizes.value(region.unit), region.bytes, region.lines))
    _stop_if(b, b.fcmp_ordered(">", estimate, ir.Constant(F64, TOO_MANY)), refused)
    b.ret(b.add(total, _i64(ALIGNMENT)))
    ir.IRBuilder(refused).ret(_i64(-1))
    return defined


class _Call:
    """Defines `int f(net, sizes..., arrays..., [gradients], workspace)`."""

    def __init__(self, module: Any, interface: Interface, function: Function, missing: Any, workspace: Any) -> None:
        self.module, self.interface, self.function = module, interface, function
        self.missing, self.workspace = missing, workspace
        arrays = [a.identifier for a in function.arguments]
        names = ["net", *function.sizes, *arrays, *(["gradients"] if function.gradients else []), "workspace"]
        kinds = [I64 if name in function.sizes else POINTER for name in names]
        self.defined = ir.Function(module, ir.FunctionType(I32, kinds), f"{interface.prefix}_{function.name}")
        self.builder = ir.IRBuilder(self.defined.append_basic_block())
        self.given = dict(zip(names, self.defined.args, strict=True))
        self.sizes = _Sizes(self.builder, {name: self.given[name] for name in function.sizes})
        self.real = ir.FloatType() if interface.real == "f32" else ir.DoubleType()

    def define(self) -> None:
        b, program = self.builder, self.function.program
        self.check()
        if self.function.counts:
            place = self.field(self.given["net"], 0)
            b.store(b.add(b.load(place, typ=I64), _i64(1)), place)
        memory, copies = self.memory()
        numbers = self.numbers()
        kind = ir.FunctionType(I32, [POINTER, POINTER])
        entry = ir.Function(self.module, kind, program_symbol(self.interface, self.function))
        b.call(entry, [memory, numbers])
        for target, source, root in copies:
            tensor = program.outputs[root]
            size = 8 if tensor.dtype == "int" else self.interface.itemsize
            count = b.mul(self.sizes.value(product(tensor.shape)), _i64(size))
            b.call(_memcpy(self.module), [target, source, count, ir.Constant(I1, 0)])
        b.ret(ir.Constant(I32, STATUS["NETLANG_OK"]))

    # --- what is refused ---

    def check(self) -> None:
        b = self.builder
        if self.interface.needed:
            self.refuse_if(self.lacks_features(), "NETLANG_PROCESSOR")
        null = ir.Constant(I1, 0)
        for name, value in self.given.items():
            if name not in self.function.sizes:
                null = b.or_(null, b.icmp_unsigned("==", value, ir.Constant(POINTER, None)))
        self.refuse_if(null, "NETLANG_NULL")
        bytes = b.call(self.workspace, [self.given[name] for name in self.function.sizes])
        self.refuse_if(b.icmp_signed("<", bytes, _i64(0)), "NETLANG_SIZE")
        for argument in self.function.arguments:
            if argument.classes is not None and argument.is_read:
                self.refuse_if(self.has_stranger(argument, argument.classes), "NETLANG_CLASS")

    def refuse_if(self, wrong: Any, status: str) -> None:
        refused = self.defined.append_basic_block()
        _stop_if(self.builder, wrong, refused)
        ir.IRBuilder(refused).ret(ir.Constant(I32, STATUS[status]))

    def lacks_features(self) -> Any:
        """Whether the processor is not fit, which is asked once: a byte remembers 1 for a fit one, 2 for another."""
        b, name = self.builder, f"{self.interface.prefix}_fit"
        if name not in self.module.globals:
            remembered = ir.GlobalVariable(self.module, I8, name)
            remembered.linkage, remembered.initializer = "internal", ir.Constant(I8, 0)
        remembered = self.module.globals[name]
        known = b.load_atomic(remembered, "monotonic", 1, typ=I8)
        before = b.block
        with b.if_then(b.icmp_unsigned("==", known, ir.Constant(I8, 0)), likely=False):
            fit = b.icmp_unsigned("==", b.call(self.missing, []), _i64(0))
            asked = b.select(fit, ir.Constant(I8, 1), ir.Constant(I8, 2))
            b.store_atomic(asked, remembered, "monotonic", 1)
            inside = b.block
        answer = b.phi(I8)
        answer.add_incoming(known, before)
        answer.add_incoming(asked, inside)
        return b.icmp_unsigned("!=", answer, ir.Constant(I8, 1))

    def has_stranger(self, argument: Argument, classes: Int) -> Any:
        """Whether an integer of the array is not in 0 <= n < classes."""
        b, array = self.builder, self.given[argument.identifier]
        count, bound = self.sizes.value(product(argument.shape)), self.sizes.value(classes)

        def body(index: Any, found: Any) -> Any:
            value = b.load(b.gep(array, [index], source_etype=I64), typ=I64)
            return b.or_(found, b.icmp_unsigned(">=", value, bound))

        return _loop(b, count, ir.Constant(I1, 0), body)

    # --- the tables ---

    def memory(self) -> tuple[Any, list[tuple[Any, Any, str]]]:
        """The table of addresses, and what is copied after the run: target, source and root."""
        b, program = self.builder, self.function.program
        places = dict(self.temporaries())
        for argument in self.function.arguments:
            if argument.is_read:
                places[argument.node] = self.given[argument.identifier]
        for buffer in program.of_kind("param", "state"):
            if buffer.name not in places:
                places[buffer.name] = self.field(self.given["net"], self.interface.net.by_name[buffer.name].offset)
        for buffer in program.of_kind("input"):
            if buffer.name in CLOCK_INPUTS:
                places[buffer.name] = self.clock(CLOCK_INPUTS[buffer.name])
        copies = []
        for root, target in self.targets():
            buffer = program.buffers[program.outputs[root].buffer]
            if buffer.kind == "output" and buffer.name not in places:
                places[buffer.name] = target
            else:
                copies.append((target, places[buffer.name], root))
        slots = address_slots(program)
        return self.table([b.ptrtoint(places[name], I64) for name in slots]), copies

    def targets(self) -> Iterable[tuple[str, Any]]:
        """Each root with an address that its value goes to."""
        for argument in self.function.arguments:
            if argument.role == "output":
                yield argument.node, self.given[argument.identifier]
        for root, names in self.function.gradients.items():
            for name in names:
                yield root, self.field(self.given["gradients"], self.interface.gradients.by_name[name].offset)

    def temporaries(self) -> Iterable[tuple[str, Any]]:
        b = self.builder
        start = b.inttoptr(_aligned(b, b.ptrtoint(self.given["workspace"], I64)), POINTER)
        for region in regions(self.function.program, self.interface.itemsize):
            unit = self.sizes.value(region.unit)
            for name, (bytes, lines) in region.places.items():
                yield name, self.shifted(start, _place(b, unit, bytes, lines))
            start = self.shifted(start, _place(b, unit, region.bytes, region.lines))

    def clock(self, counter: int) -> Any:
        """A real on the stack with the value of a counter."""
        b = self.builder
        place = b.alloca(self.real)
        b.store(b.sitofp(b.load(self.field(self.given["net"], 8 * counter), typ=I64), self.real), place)
        return place

    def numbers(self) -> Any:
        """The table of sizes and of the keys of random nodes for this step (see `netlang.random.derive_key`)."""
        b, program = self.builder, self.function.program
        steps = b.load(self.field(self.given["net"], 8 * CLOCK.index("steps_done")), typ=I64) if program.keys else None
        values = []
        for name in number_slots(program):
            if name in TEAM:  # one thread
                values.append(_i64(int(name == PARTS)))
            elif name in self.sizes.given:
                values.append(self.sizes.given[name])
            else:
                values.append(_key(b, self.function.keys[name], steps))
        return self.table(values)

    def table(self, values: Sequence[Any]) -> Any:
        b = self.builder
        table = b.alloca(I64, max(1, len(values)))
        for k, value in enumerate(values):
            b.store(value, b.gep(table, [_i64(k)], source_etype=I64))
        return table

    def field(self, block: Any, offset: int) -> Any:
        return self.shifted(block, _i64(offset))

    def shifted(self, pointer: Any, distance: Any) -> Any:
        return self.builder.gep(pointer, [distance], source_etype=I8)


class _Sizes:
    """Integer expressions in run-time sizes, and their size in floating point, which does not overflow."""

    def __init__(self, builder: Any, given: Mapping[str, Any]) -> None:
        self.builder, self.given = builder, given

    def value(self, expression: Int) -> Any:
        b = self.builder
        total = _i64(0)
        for monomial, coefficient in expression.terms:
            term = _i64(coefficient)
            for atom in monomial:
                term = b.mul(term, self._atom(atom))
            total = b.add(total, term)
        return total

    def _atom(self, atom: Any) -> Any:
        if isinstance(atom, Size):
            return self.given[atom.name]
        assert isinstance(atom, Floor | Modulo)
        b, value, divisor = self.builder, self.value(atom.value), _i64(atom.divisor)
        rest = b.srem(value, divisor)
        rest = b.select(b.icmp_signed("<", rest, _i64(0)), b.add(rest, divisor), rest)
        return rest if isinstance(atom, Modulo) else b.sdiv(b.sub(value, rest), divisor)

    def holds(self, condition: Condition) -> Any:
        """A condition on run-time sizes alone."""
        b = self.builder
        match condition:
            case AtLeastZero(value=value):
                return b.icmp_signed(">=", self.value(value), _i64(0))
            case IsZero(value=value):
                return b.icmp_signed("==", self.value(value), _i64(0))
            case Not(part=part):
                return b.not_(self.holds(part))
            case AllOf(parts=parts) | AnyOf(parts=parts):
                is_all = isinstance(condition, AllOf)
                result = ir.Constant(I1, int(is_all))
                for part in parts:
                    result = (b.and_ if is_all else b.or_)(result, self.holds(part))
                return result
        raise InternalError("a native library", f"`{condition.key}` is not about sizes alone")

    def estimate(self, expression: Int) -> Any:
        """At least the largest part of the value, as a double: enough to see what is too large."""
        b = self.builder
        total = ir.Constant(F64, 0.0)
        for monomial, coefficient in expression.terms:
            term = ir.Constant(F64, float(abs(coefficient)))
            for atom in monomial:
                term = b.fmul(term, b.sitofp(self._atom(atom), F64))
            total = b.fadd(total, term)
        return total


def _key(b: Any, base: int, steps: Any) -> Any:
    z = b.add(_i64(base), b.mul(steps, _i64(int(GOLDEN))))
    for shift, multiply in ((30, int(MULTIPLY_1)), (27, int(MULTIPLY_2))):
        z = b.mul(b.xor(z, b.lshr(z, _i64(shift))), _i64(multiply))
    return b.lshr(b.xor(z, b.lshr(z, _i64(31))), _i64(1))


def _loop(b: Any, count: Any, start: Any, body: Callable[[Any, Any], Any]) -> Any:
    """Fold `body(index, value)` over 0 <= index < count, for a count of at least 1."""
    before, block, after = b.block, b.append_basic_block(), b.append_basic_block()
    b.branch(block)
    b.position_at_end(block)
    index, value = b.phi(I64), b.phi(start.type)
    new = body(index, value)
    following = b.add(index, _i64(1))
    for phi, first, next_value in ((index, _i64(0), following), (value, start, new)):
        phi.add_incoming(first, before)
        phi.add_incoming(next_value, b.block)
    b.cbranch(b.icmp_signed("<", following, count), block, after)
    b.position_at_end(after)
    return new


def _stop_if(b: Any, wrong: Any, refused: Any) -> None:
    going = b.append_basic_block()
    b.cbranch(wrong, refused, going)
    b.position_at_end(going)


def _place(b: Any, unit: Any, bytes: int, lines: int) -> Any:
    """An offset or a size as `layout.Region` has them, in bytes."""
    return b.add(_aligned(b, b.mul(unit, _i64(bytes))), _i64(lines * ALIGNMENT))


def _aligned(b: Any, value: Any) -> Any:
    return b.and_(b.add(value, _i64(ALIGNMENT - 1)), _i64(-ALIGNMENT))


def _memcpy(module: Any) -> Any:
    name = "llvm.memcpy.p0.p0.i64"
    kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I1])
    return module.globals.get(name) or ir.Function(module, kind, name)


def _i64(value: int) -> Any:
    return ir.Constant(I64, value if value < 2**63 else value - 2**64)
