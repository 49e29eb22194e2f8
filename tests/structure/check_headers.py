#!/usr/bin/env python3
"""Each header compiles alone, the public ones as C++ too, and those stay under 500 lines.

    check_headers.py CC [compiler options…]
"""

import concurrent.futures
import os
import shutil
import subprocess
import sys

import tree

PUBLIC_LINES = 500
STRICT = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]


def compile_alone(command, name):
    include = f'#include "{name.removeprefix("src/").removeprefix("include/")}"\n'
    result = subprocess.run(
        [*command, *STRICT, "-"], input=include, text=True, capture_output=True, cwd=tree.ROOT, check=False
    )
    if result.returncode == 0:
        return []
    return [f"{name}: does not compile alone ({command[0]})\n{result.stderr.strip()}"]


def main():
    compiler, options = sys.argv[1], sys.argv[2:]
    as_c = [compiler, "-x", "c", "-std=c11", "-D_GNU_SOURCE", "-Iinclude", "-Isrc", *options]
    as_cxx = ["c++", "-x", "c++", "-std=c++11", "-Iinclude"]
    public = tree.files(".h", under=("include/",))
    work = [(as_c, name) for name in public + tree.files(".h", under=("src/",))]
    if shutil.which("c++"):
        work += [(as_cxx, name) for name in public]
    problems = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda job: compile_alone(*job), work):
            problems += found
    for name in public:
        lines = (tree.ROOT / name).read_text(encoding="utf-8").count("\n")
        if lines >= PUBLIC_LINES:
            problems.append(f"{name}: {lines} lines; a public header has fewer than {PUBLIC_LINES}")
    tree.finish("headers", problems)


if __name__ == "__main__":
    main()
