"""The C header of a library: its struct of values, its functions, and what every argument is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netlang.graph.integer import Int
from netlang.targets.cpu.library.format import CLOCK, STATUSES
from netlang.targets.cpu.library.interface import Argument, Function, Interface
from netlang.targets.cpu.library.layout import Block

PURPOSE = {
    "forward": "The outputs, in inference mode",
    "gradients": "The loss, averaged over the batch, and its gradients by all parameters, in training mode",
    "step": "A step of training: the objective before it, and the net's values after it",
}


def header(interface: Interface, title: str) -> str:
    """The text of the header; `title` says in a line what the library is."""
    guard = f"NETLANG_{interface.prefix.upper()}_H"
    return "\n".join(
        [
            f"/* {title}",
            " *",
            " * Arrays are contiguous and row-major. No function allocates, keeps a pointer, or changes anything but",
            " * what it is given without `const`, so calls may run at the same time, each with its own workspace. */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stdint.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            *_statuses(),
            "",
            *_net(interface),
            *(_gradients(interface) if interface.gradients.fields else []),
            *(line for function in interface.functions for line in _function(interface, function)),
            "/* The features that this processor lacks, a bit for each that the library needs; 0 where it is fit. */",
            f"int64_t {interface.prefix}_missing_features(void);",
            "",
            "/* What the library is, as JSON. */",
            f"const char *{interface.prefix}_manifest(void);",
            "",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            f"#endif /* {guard} */",
            "",
        ]
    )


def _statuses() -> list[str]:
    names = list(STATUSES.items())
    lines = [f"  {name} = {k}{',' if k + 1 < len(names) else ' '} /* {said} */" for k, (name, said) in enumerate(names)]
    return [
        "#ifndef NETLANG_STATUS",
        "#define NETLANG_STATUS",
        "enum netlang_status {",
        *lines,
        "};",
        "#endif",
    ]


def _net(interface: Interface) -> list[str]:
    prefix = interface.prefix
    counters = ["  /* the course of training, for schedules and randomness */", f"  int64_t {', '.join(CLOCK)};"]
    lines = _struct(interface, prefix, interface.net, counters, f"The values of the net. {interface.net.bytes:,} bytes")
    if interface.embedded:
        return [
            *lines,
            "/* The values that the library was compiled with. To change them, copy them first. */",
            f"const struct {prefix} *{prefix}_net(void);",
            "",
        ]
    return [*lines, "/* Its bytes are those of the .values file beside the library: read or map it. */", ""]


def _gradients(interface: Interface) -> list[str]:
    name = f"{interface.prefix}_gradients"
    return _struct(interface, name, interface.gradients, [], "A gradient for each parameter")


def _struct(interface: Interface, tag: str, block: Block, first: Sequence[str], purpose: str) -> list[str]:
    lines = [f"/* {purpose}. */", f"struct {tag} {{", *first]
    at, paddings = block.start, 0
    for field in block.fields:
        if field.offset > at:
            lines.append(f"  char _padding_{paddings}[{field.offset - at}];")
            paddings += 1
        extents = "".join(f"[{n}]" for n in field.shape)
        note = f" /* {field.name} */" if field.name != field.identifier else ""
        lines.append(f"  {_type(interface, field.dtype)} {field.identifier}{extents};{note}")
        at = field.offset + field.bytes
    if block.bytes > at:
        lines.append(f"  char _padding_{paddings}[{block.bytes - at}];")
    return [*lines, "};", ""]


def _function(interface: Interface, function: Function) -> list[str]:
    prefix, sizes = interface.prefix, interface.size_names(function)
    given = [f"int64_t {name}" for name in sizes.values()]
    net = f"{'' if function.changes else 'const '}struct {prefix} *net"
    arrays = [_parameter(interface, a) for a in function.arguments]
    last = [f"struct {prefix}_gradients *gradients"] if function.gradients else []
    notes = [f" *   {a.identifier:<12} {_shape(a, sizes)}{_meaning(a)}" for a in function.arguments]
    workspace = f"{prefix}_{function.name}_workspace"
    return [
        f"/* {PURPOSE.get(function.name, function.name)}. Returns a status.",
        *notes,
        f" *   {'workspace':<12} {workspace}(...) bytes, of any alignment */",
        *_wrapped(f"int {prefix}_{function.name}(", [net, *given, *arrays, *last, "void *workspace"]),
        "",
        "/* The bytes of that workspace; -1 for sizes that the net does not take. */",
        *_wrapped(f"int64_t {workspace}(", given or ["void"]),
        "",
    ]


def _parameter(interface: Interface, argument: Argument) -> str:
    const = "const " if argument.role in ("input", "target") else ""
    return f"{const}{_type(interface, argument.dtype)} *{argument.identifier}"


def _shape(argument: Argument, sizes: dict[str, str]) -> str:
    def text(extent: Int) -> str:
        written = str(extent)
        return sizes.get(written, written)

    return "".join(f"[{text(extent)}]" for extent in argument.shape) or "one number"


def _meaning(argument: Argument) -> str:
    if argument.role == "carried":
        return ": the state of each example, read and written"
    if argument.classes is not None:
        return f": classes from 0 to {argument.classes - 1}"
    return ""


def _type(interface: Interface, dtype: str) -> str:
    return "int64_t" if dtype == "int" else "float" if interface.real == "f32" else "double"


def _wrapped(start: str, parameters: Iterable[str], width: int = 100) -> list[str]:
    lines, line = [], start
    margin = " " * len(start)
    for k, parameter in enumerate(parameters := list(parameters)):
        text = parameter + (");" if k + 1 == len(parameters) else ",")
        if len(line) + len(text) + 1 > width and line.strip() != start.strip():
            lines.append(line.rstrip())
            line = margin
        line += text if line in (start, margin) else f" {text}"
    return [*lines, line]
