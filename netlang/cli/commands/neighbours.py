"""`netlang neighbours`: print the words that a network takes for similar."""

from __future__ import annotations

import argparse
import json

from netlang.cli import options as take
from netlang.cli.opening import open_net


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser, "a .netc artifact of a net that was trained on a text")
    parser.add_argument(
        "words",
        metavar="WORD",
        nargs="+",
        help="a word to find neighbours of; with + and - between words, an analogy: king - man + woman",
    )
    take.net(parser)
    take.style(parser)
    parser.add_argument("--count", metavar="N", type=take.positive, default=10, help="how many (default: 10)")
    parser.add_argument(
        "--table", metavar="NAME", help="the parameter with a row for each word (default: what the outputs look up in)"
    )


def run(options: argparse.Namespace) -> int:
    from netlang.runtime.neighbours import neighbours, questions

    asked = [
        " ".join(word if k == 0 else f"{'-' if sign < 0 else '+'} {word}" for k, (sign, word) in enumerate(terms))
        for terms in questions(options.words)
    ]
    net = open_net(options)
    found = {question: neighbours(net, question, count=options.count, table=options.table) for question in asked}
    if options.style == "json":
        print(json.dumps({q: {n.symbol: n.cosine for n in near} for q, near in found.items()}, indent=2))
        return 0
    for question, near in found.items():
        print(question)
        width = max((len(n.symbol) for n in near), default=0)
        for n in near:
            print(f"    {n.symbol:{width}}  {n.cosine:.3f}")
    return 0
