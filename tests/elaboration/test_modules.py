"""Files, imports and the library: where names of definitions lead."""

from __future__ import annotations

import numpy as np
import pytest

from netlang.diagnostics import NetlangError
from netlang.elaboration.elaborator import elaborate
from netlang.elaboration.modules import Module, choose_net, load_module, module_from_text
from netlang.targets.reference import evaluate
from tests.elaboration.nets import place

NET = "net N:\n    input x[2]\n    y = a(x)\n    output y\n"
x = np.array([1.0, -2.0])


def load(main: str, **files: str) -> Module:
    """A module in memory: `sub__a` is the file `sub/a.net`."""
    texts = {f"{name.replace('__', '/')}.net": text for name, text in files.items()} | {"main.net": main}

    def read(path: str) -> bytes:
        if path not in texts:
            raise FileNotFoundError(path)
        return texts[path].encode()

    return load_module("main.net", read)


def value(module: Module) -> np.ndarray:
    return evaluate(elaborate(module, choose_net(module, None)), {"x": x})["y"]


def test_imports_are_relative_to_the_file_that_names_them() -> None:
    module = load(
        'import "sub/a.net"\n' + NET,
        sub__a='import "deep/b.net"\nimport "../c.net"\nfn a(x) = b(x) + c(x)\n',
        sub__deep__b='import "../../c.net"\nfn b(x) = 2 * c(x)\n',
        c="fn c(x) = 3 * x\n",
    )
    assert list(module.texts) == ["main.net", "sub/a.net", "sub/deep/b.net", "c.net"]
    np.testing.assert_allclose(value(module), 9 * x)


def test_a_file_imported_twice_is_read_once() -> None:
    module = load(
        'import "a.net"\nimport "b.net"\nimport "./a.net"\n' + NET,
        a='import "b.net"\nfn a(x) = b(x)\n',
        b="fn b(x) = 5 * x\n",
    )
    np.testing.assert_allclose(value(module), 5 * x)


@pytest.mark.parametrize(
    ("main", "files", "expected"),
    [
        ('import "a.net"\n', {}, ("import-not-found", 1, 8)),
        ('import ""\n', {}, ("import-not-found", 1, 8)),
        ('import "main.net"\n', {}, ("import-cycle", 1, 8)),
        ('import "a.net"\n', {"a": '\nimport "b.net"\n', "b": '\n\nimport "a.net"\n'}, ("import-cycle", 3, 8)),
        ('import "../a.net"\n', {}, ("import-outside", 1, 8)),
        ('import "/a.net"\n', {}, ("import-outside", 1, 8)),
        ('import "s/../../a.net"\n', {}, ("import-outside", 1, 8)),
        ('import "s/a.net"\n', {"s__a": 'import "../../b.net"\n'}, ("import-outside", 1, 8)),
        ('import "a.net"\nfn a(x) = x\n', {"a": "fn a(x) = 2 * x\n"}, ("duplicate-definition", 2, 4)),
        ('import "a.net"\nloss a(x) = x\n', {"a": "fn a(x) = 2 * x\n"}, ("duplicate-definition", 2, 6)),
        ('import "a.net"\n', {"a": "fn a(x) = 2 * x +\n"}, ("syntax", 1, 18)),
    ],
)
def test_imports_that_are_wrong(main: str, files: dict[str, str], expected: tuple[str, int, int]) -> None:
    with pytest.raises(NetlangError) as caught:
        load(main + NET, **files)
    assert place(caught.value.diagnostics[0]) == expected


def test_the_cycle_is_printed() -> None:
    with pytest.raises(NetlangError) as caught:
        load('import "a.net"\n', a='import "b.net"\n', b='import "a.net"\n')
    assert caught.value.diagnostics[0].message == "`a.net` imports itself: a.net -> b.net -> a.net"


def test_an_initializer_and_a_schedule_may_have_one_name() -> None:
    module = load("initializer warm() = 1\nschedule warm(lr) = lr\nfn a(x) = x\n" + NET)
    assert {namespace for namespace, name in module.definitions if name == "warm"} == {"initializer", "schedule"}


def test_a_file_with_several_nets() -> None:
    text = "net A:\n    input x[2]\n    output x\nnet B:\n    input x[3]\n    output x\n"
    module = module_from_text(text)
    assert choose_net(module, "B").name.id == "B"
    for name, code in ((None, "several-nets"), ("C", "unknown-name")):
        with pytest.raises(NetlangError) as caught:
            choose_net(module, name)
        assert caught.value.diagnostics[0].code == code
    with pytest.raises(NetlangError) as caught:
        choose_net(load('import "a.net"\n', a=text), None)
    assert caught.value.diagnostics[0].code == "no-net"
