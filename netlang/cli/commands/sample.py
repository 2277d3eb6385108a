"""`netlang sample`: let a network that was trained on texts go on with one, symbol by symbol."""

from __future__ import annotations

import argparse
import json

from netlang.cli import options as take


def configure(parser: argparse.ArgumentParser) -> None:
    take.file(parser, "a .netc artifact of a trained network")
    take.style(parser)
    parser.add_argument("--prompt", metavar="TEXT", default="", help="the text to go on with (default: empty)")
    parser.add_argument(
        "--length", metavar="N", type=take.natural, default=200, help="how many symbols at most (default: 200)"
    )
    parser.add_argument(
        "--temperature",
        metavar="X",
        type=float,
        help="below 1 more probable symbols, above 1 more surprising ones, 0 the most probable one (default: 1)",
    )
    take.seed(parser)
    parser.add_argument(
        "--beam", metavar="K", type=take.positive, help="search for the most probable text, keeping K at each symbol"
    )
    parser.add_argument("--output", metavar="NAME", help="the output with the scores, where several could be that")
    parser.add_argument(
        "--input",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        dest="inputs",
        help="another text that the network reads, such as the one to translate (repeatable)",
    )


def run(options: argparse.Namespace) -> int:
    from netlang.runtime.sampling import sample
    from netlang.runtime.saving import load

    net = load(options.file)
    found = sample(
        net,
        options.prompt,
        length=options.length,
        temperature=options.temperature,
        seed=options.seed,
        beam=options.beam,
        output=options.output,
        inputs=_inputs(options.inputs),
    )
    if options.style == "json":
        samples = [{"text": s.text, "log_probability": s.log_probability, "ended": s.ended} for s in found]
        print(json.dumps({"net": net.name, "prompt": options.prompt, "samples": samples}, indent=2))
        return 0
    assert net.vocabulary is not None
    gap = net.vocabulary.separator if options.prompt and found and found[0].text else ""
    print(f"{options.prompt}{gap}{found[0].text if found else ''}")
    return 0


def _inputs(texts: list[str]) -> dict[str, str]:
    from netlang.diagnostics import fail

    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name.strip() in found:
            fail(
                "bad-setting-value",
                f"`{text[:60]}` is not `name=text`" if not equals else f"`{name.strip()}` is given twice",
                place="--input",
                help="write, for example, `--input source=hello`, once for each input",
            )
        found[name.strip()] = value
    return found
