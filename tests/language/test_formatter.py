"""`netlang fmt`: one layout, the same tree, no comment lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlang.diagnostics import Span
from netlang.language import expression_text, format, parse, tree
from tests.language.test_parser import value
from tests.language.texts import EXAMPLES, source

SPAN = Span(source(""), 0, 0)


def check(text: str) -> str:
    """Format, and assert what holds for every text."""
    formatted = format(source(text))
    before, after = parse(source(text)), parse(source(formatted))
    assert after == before
    assert [c.text for c in after.comments] == [c.text for c in before.comments]
    assert format(source(formatted)) == formatted
    assert not any(line != line.rstrip() for line in formatted.splitlines())
    assert formatted.endswith("\n")
    assert "\n\n\n" not in formatted
    return formatted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path, golden: Callable[[str, str], None]) -> None:
    golden(f"language/{path.stem}.net", check(path.read_text(encoding="utf-8")))


def test_comments_stay_where_they_are() -> None:
    text = """
# first

# about A
net A( n=3, # size
       m=4):   # header
    # lead
    input x # image


    # about y
    y = x # source
        # before f
        -> f   # f
        -> g(1, # one
             2)
    for k in 1..2: # loop
        # in the loop
        z = y
        # end of the loop
    # end of the body

  # end of the body too, though not indented as much
# about B
fn b(x) = x   # b
fn c(x) = x
    # why
    "doc"  # doc

# last"""
    assert (
        check(text)
        == """\
# first

# about A
net A(n=3,  # size
      m=4):  # header
    # lead
    input x  # image

    # about y
    y = x  # source
        # before f
        -> f  # f
        -> g(1,  # one
             2)
    for k in 1..2:  # loop
        # in the loop
        z = y
        # end of the loop
    # end of the body

# end of the body too, though not indented as much
# about B
fn b(x) = x  # b

fn c(x) = x
    # why
    "doc"  # doc

# last
"""
    )


def test_long_lines_are_cut_at_the_best_places() -> None:
    stages = " -> ".join(f"convolution({k}, 3, padding=1)" for k in range(6))
    items = ", ".join(f"weight_{k}[units, {k}] ~ normal(0, 1)" for k in range(5))
    terms = " + ".join(f"coefficient_{k} * variable_{k}" for k in range(6))
    calls = ", ".join(f"argument_{k}=value_{k}" for k in range(8))
    text = (
        f"layer f(x, {calls}):\n    y = x -> {stages}\n    param {items}\n    z[i < 3] = {terms}\n    w = g({calls})\n"
    )
    formatted = check(text + "    return y\n")
    assert max(map(len, formatted.splitlines())) <= 120
    assert (
        formatted
        == """\
layer f(x, argument_0=value_0, argument_1=value_1, argument_2=value_2, argument_3=value_3, argument_4=value_4,
        argument_5=value_5, argument_6=value_6, argument_7=value_7):
    y = x -> convolution(0, 3, padding=1) -> convolution(1, 3, padding=1) -> convolution(2, 3, padding=1)
          -> convolution(3, 3, padding=1) -> convolution(4, 3, padding=1) -> convolution(5, 3, padding=1)
    param weight_0[units, 0] ~ normal(0, 1), weight_1[units, 1] ~ normal(0, 1), weight_2[units, 2] ~ normal(0, 1),
          weight_3[units, 3] ~ normal(0, 1), weight_4[units, 4] ~ normal(0, 1)
    z[i < 3] =
        coefficient_0*variable_0 + coefficient_1*variable_1 + coefficient_2*variable_2 + coefficient_3*variable_3
        + coefficient_4*variable_4 + coefficient_5*variable_5
    w = g(argument_0=value_0, argument_1=value_1, argument_2=value_2, argument_3=value_3, argument_4=value_4,
          argument_5=value_5, argument_6=value_6, argument_7=value_7)
    return y
"""
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("((a*b))+(c)", "a*b + c"),
        ("(a+b)*c", "(a + b) * c"),
        ("a*b", "a * b"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a^b)^c", "(a^b)^c"),
        ("(-a)^2", "(-a)^2"),
        ("-(a^2)", "-a^2"),
        ("-(a*b)", "-(a * b)"),
        ("2^(-1)", "2^-1"),
        ("x[ t-1 , i*2+p ]", "x[t-1, i*2 + p]"),
        ("f( t-1,k = 3 )", "f(t - 1, k=3)"),
        ("(sum(i)x[i])*2", "(sum(i) x[i]) * 2"),
        ("2*(sum(i)x[i])", "2 * sum(i) x[i]"),
        ("sum(i) (x+y)", "sum(i) (x + y)"),
        ("sum(i) (-x)", "sum(i) (-x)"),
        ("sum(i) ((-x)*y)", "sum(i) (-x * y)"),
        ("(sum(i) x)^2", "(sum(i) x)^2"),
        ("-(a * sum(i) x)", "-(a * sum(i) x)"),
        ("2^(-(sum(i) x))", "2^(-sum(i) x)"),
        ("(a else b) + 1", "(a else b) + 1"),
        ("(x -> f) + 1", "(x -> f) + 1"),
        ("(a if b else c) if d else e", "(a if b else c) if d else e"),
        ("a if b else (c if d else e)", "a if b else c if d else e"),
        ("not (a and b)", "not (a and b)"),
        ("(not a) == b", "(not a) == b"),
        ("1E5", "1e5"),
    ],
)
def test_canonical_expressions(text: str, canonical: str) -> None:
    assert expression_text(value(text)) == canonical
    assert value(canonical) == value(text)


names = st.sampled_from(["a", "b", "total", "x.y", "mean"]).map(lambda name: tree.Name(span=SPAN, id=name))
leaves = st.one_of(
    names,
    st.integers(0, 99).map(lambda n: tree.Number(span=SPAN, value=n, text=str(n))),
    st.booleans().map(lambda b: tree.Boolean(span=SPAN, value=b)),
    st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cs", "Cc"]), max_size=5).map(
        lambda t: tree.Text(span=SPAN, value=t)
    ),
)


def branches(inner: st.SearchStrategy[tree.Expression]) -> st.SearchStrategy[tree.Expression]:
    several = st.lists(inner, min_size=1, max_size=3).map(tuple)
    plain = st.sampled_from(["i", "j", "k"])
    ranges = st.lists(st.tuples(plain, st.none() | names), min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(
        lambda pairs: tuple(tree.IndexRange(span=SPAN, name=name, extent=extent) for name, extent in pairs)
    )
    calls = st.builds(
        lambda callee, values: tree.Call(
            span=SPAN,
            callee=callee,
            arguments=tuple(tree.Argument(span=SPAN, name=None, value=value) for value in values),
        ),
        names,
        several,
    )
    operators = ["+", "-", "*", "/", "//", "%", "@", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or"]
    subscripts = st.builds(tree.Subscript, span=st.just(SPAN), base=inner, indices=several)
    return st.one_of(
        st.builds(tree.Unary, span=st.just(SPAN), op=st.sampled_from(["-", "not"]), operand=inner),
        st.builds(tree.Binary, span=st.just(SPAN), op=st.sampled_from(operators), left=inner, right=inner),
        st.builds(tree.Conditional, span=st.just(SPAN), then=inner, condition=inner, otherwise=inner),
        st.builds(tree.Guarded, span=st.just(SPAN), body=inner, otherwise=inner),
        st.builds(tree.Reduction, span=st.just(SPAN), op=st.sampled_from(["sum", "max"]), indices=ranges, body=inner),
        st.builds(
            tree.Pipeline,
            span=st.just(SPAN),
            source=inner,
            stages=st.lists(st.one_of(names, calls), min_size=1, max_size=3).map(tuple),
        ),
        st.builds(tree.ListLiteral, span=st.just(SPAN), items=several),
        subscripts,
        calls,
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(leaves, branches, max_leaves=12))
def test_any_expression_is_written_as_what_it_is(expression: tree.Expression) -> None:
    text = expression_text(expression)
    assert value(text) == expression
    check(
        f"layer f(x):\n    y[i < n] = {text}\n    s <- {text} when a\n    param p ~ {text}, q\n    return y, {text}\n"
    )
