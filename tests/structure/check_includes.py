#!/usr/bin/env python3
"""Each room of src/ may include only the rooms below it (docs/design.md). Nothing looks up."""

import re
import sys

import tree

# Who may look where, directly; what lies below those may be included too.
DIRECT = {
    "base": [],
    "ir": ["base", "loop"],
    "loop": ["base"],
    "machine": ["base"],
    "toolchain": ["base"],
    "program": ["loop"],
    "ops": ["ir"],
    "transform": ["ops", "machine"],
    "schedule": ["transform", "machine"],
    "codegen": ["schedule", "toolchain"],
    "plan": ["codegen", "machine", "program"],
    "import": ["ops"],
    "runtime": ["loop", "machine", "toolchain", "program"],
    "session": ["import", "plan", "runtime"],
    "nn": ["session"],
    "wide": ["nn"],
    "explore": ["session", "import", "machine"],
    "cli": ["nn", "wide", "explore"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def below(room):
    rooms = set()
    for lower in DIRECT[room]:
        rooms |= {lower} | below(lower)
    return rooms


def check_source(name, text):
    room = name.split("/")[1]
    if room not in DIRECT:
        yield f"{name}: '{room}' is not a room; see {__file__}"
        return
    allowed = below(room) | {room}
    for bracket, target in INCLUDE.findall(text):
        if bracket == "<" or target.startswith("tenon/"):
            continue
        first = target.split("/")[0]
        if "/" not in target:
            yield f'{name}: "{target}" is included without its room'
        elif first not in allowed:
            yield f"{name}: {room} may not look at {first} ({target})"


def check_public(name, text):
    for bracket, target in INCLUDE.findall(text):
        if bracket == '"' or ("/" in target and not target.startswith("tenon/")):
            yield f"{name}: a public header includes only <tenon/…> and the C library, not {target}"


def main():
    problems = []
    for name in tree.files(".c", ".h", ".def", under=("src/", "include/")):
        text = (tree.ROOT / name).read_text(encoding="utf-8")
        check = check_source if name.startswith("src/") else check_public
        problems += check(name, text)
    tree.finish("include direction", problems)


if __name__ == "__main__":
    sys.exit(main())
