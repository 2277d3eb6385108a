"""Mutated example files end in diagnostics, soon; see `fuzz_mutations.py`, which runs as many as one likes."""

from __future__ import annotations

from tests.fuzz_mutations import mutations, run


def test_mutated_examples_give_diagnostics_and_nothing_else() -> None:
    outcomes, failures = run(1500, seed=2024)
    assert not failures, "\n\n".join(f"{f.reason}\n{f.text}" for f in failures[:3])
    assert sum(outcomes.values()) == 1500
    assert len(outcomes) > 30  # the mutations reach far into the checker


def test_the_same_seed_gives_the_same_mutations() -> None:
    assert list(mutations(20, seed=3)) == list(mutations(20, seed=3))
    assert list(mutations(20, seed=3)) != list(mutations(20, seed=4))
