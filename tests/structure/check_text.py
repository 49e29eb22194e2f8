#!/usr/bin/env python3
"""No file names a place of one machine: home and work folders, package registries."""

import re

import tree

# Written so that this file does not match itself.
MACHINE = re.compile(
    r"(?<![\w./}$])/(?:w[o]rk|r[o]ot|h[o]me|U[s]ers|m[n]t)/[\w.]"
    r"|p[y]pi\.org|p[y]thonhosted|d[e]b\.debian|in[d]ex-url|tr[u]sted-host"
)


def main():
    problems = []
    for name in tree.files():
        try:
            text = (tree.ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        for number, line in enumerate(text.splitlines(), 1):
            found = MACHINE.search(line)
            if found:
                problems.append(f"{name}:{number}: names a place of one machine: {found.group()}")
    tree.finish("text", problems)


if __name__ == "__main__":
    main()
