"""Writes the pages that come from the source: `diagnostics.md` from the catalogue, `library.md` from the docstrings.

python docs/generate.py            # write them (`make docs`)
python docs/generate.py --check    # only say whether they are as they would be written
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from netlang.elaboration.modules import standard_library
from netlang.explanations import Explanation, catalogue
from netlang.language.tree import Definition

FOLDER = Path(__file__).parent

PARTS = {
    "text": "The text",
    "names": "Names, definitions and arguments",
    "shapes": "Shapes, indices and equations",
    "lints": "Warnings",
    "training": "Training",
    "running": "Inputs and data",
    "vocabulary": "Texts and vocabularies",
    "derivation": "Derivation and compilation",
    "files": "Files and artifacts",
    "command": "The command line and drawing",
}


def pages() -> Mapping[str, str]:
    """The generated pages by file name."""
    return {"diagnostics.md": diagnostics_page(), "library.md": library_page()}


# --- diagnostics ---------------------------------------------------------------------------------------------------


def diagnostics_page() -> str:
    """The index of diagnostics, in the order of the parts of netlang."""
    entries = catalogue().values()
    lines = [
        "# Diagnostics",
        "",
        "Each has a code, in brackets after its severity, and `netlang explain CODE` shows what this page says.",
        "Codes are stable: tools may rely on them.",
        "",
    ]
    for part, title in PARTS.items():
        listed = ", ".join(f"[{e.code}](#{e.code})" for e in entries if e.part == part)
        lines.append(f"- [{title}](#{_anchor(title)}): {listed}")
    for part, title in PARTS.items():
        lines += ["", f"## {title}"]
        for entry in entries:
            if entry.part == part:
                lines += ["", *_explanation(entry)]
    return "\n".join(lines) + "\n"


def _explanation(entry: Explanation) -> list[str]:
    lines = [f"### {entry.code}", "", f"{entry.title[0].upper()}{entry.title[1:]}. {' '.join(entry.cause.split())}", ""]
    if entry.example:
        lines += ["```", *entry.example.strip().splitlines(), "```", ""]
    if entry.command:
        lines += ["```sh", *entry.command.strip().splitlines(), "```", ""]
    remedy = " ".join(entry.remedy.split())
    return [*lines, f"**The way out:** {remedy}"]


# --- the library ---------------------------------------------------------------------------------------------------


def library_page() -> str:
    """The reference of the standard library: each definition with its signature and docstring, file by file."""
    library = standard_library()
    lines = [
        "# The standard library",
        "",
        "Everything here is written in netlang, in `netlang/library/`, and so can be read, copied and replaced: a",
        "definition of your own with the same name takes the place of the library's in your file.",
        "",
    ]
    files = [(name, list(group)) for name, group in groupby(library, key=lambda d: d.span.source.name)]
    seen: Counter[str] = Counter()  # a heading that occurs again gets a number in its anchor: `constant-1`
    for name, definitions in files:
        links = []
        for word in (d.name.id for d in definitions):
            links.append(f"[{word}](#{word.lower()}{f'-{seen[word]}' if seen[word] else ''})")
            seen[word] += 1
        lines.append(f"- [{_title(name)}](#{_anchor(_title(name))}): {', '.join(links)}")
    for name, definitions in files:
        source = definitions[0].span.source.text
        lines += ["", f"## {_title(name)}", "", f"`{name}`. {_lead(source)}"]
        for definition in definitions:
            lines += ["", *_definition(definition)]
    return "\n".join(lines) + "\n"


def _definition(definition: Definition) -> list[str]:
    doc = definition.doc.value if definition.doc is not None else ""
    return [f"### {definition.name.id}", "", "```", signature(definition), "```", "", doc]


def signature(definition: Definition) -> str:
    """The first line of a definition as it is written, with the body where it is one line."""
    text = definition.span.source.text
    parameters = ", ".join(p.span.text for p in definition.parameters)
    head = f"{definition.kind} {definition.name.id}" + (f"({parameters})" if definition.parameters else "")
    if not definition.inline:
        return head
    line = text[definition.span.start : text.find("\n", definition.span.start)]
    return " ".join(line.split())


def _title(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".net").capitalize()


def _lead(text: str) -> str:
    """The comment at the top of a file."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#") or line.startswith("# ---"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only compare them; 1 where one was not as it should be."""
    stale = 0
    for name, text in pages().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in arguments:
            print(f"docs/{name} is not up to date: run `make docs`")
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote docs/{name}")
    return int(stale > 0 and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
