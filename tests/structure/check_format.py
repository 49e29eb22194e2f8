#!/usr/bin/env python3
"""C files are as clang-format leaves them. `--fix` rewrites them; without clang-format: skipped."""

import shutil
import subprocess
import sys

import tree

FOLDERS = ("include/", "src/", "tests/", "examples/", "bench/")
WANTED = "14"  # what Debian 12 has; other versions format differently
SKIPPED = 77


def main():
    program = shutil.which(f"clang-format-{WANTED}") or shutil.which("clang-format")
    if program is None:
        print("clang-format is not installed (scripts/setup.sh --test)")
        sys.exit(SKIPPED)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if f"version {WANTED}." not in version:
        print(f"clang-format {WANTED} is wanted, this is: {version.strip()}")
        sys.exit(SKIPPED)
    names = tree.files(".c", ".h", under=FOLDERS)
    if "--fix" in sys.argv[1:]:
        sys.exit(subprocess.run([program, "-i", *names], cwd=tree.ROOT, check=False).returncode)
    problems = []
    for name in names:
        text = (tree.ROOT / name).read_bytes()
        wanted = subprocess.run([program, name], cwd=tree.ROOT, capture_output=True, check=True).stdout
        if text != wanted:
            problems.append(f"{name}: not formatted (make format)")
    tree.finish("format", problems)


if __name__ == "__main__":
    main()
