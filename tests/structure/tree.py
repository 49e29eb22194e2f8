"""What the structure checks share: the files of the project and how they report."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def files(*suffixes, under=("",)):
    """The project's files (tracked, or new and not ignored), as paths relative to ROOT."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if listing.returncode == 0:
        names = [name for name in listing.stdout.decode().split("\0") if name]
    else:  # an unpacked archive
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and not path.relative_to(ROOT).parts[0].startswith("build")
        ]
    return sorted(
        name
        for name in set(names)
        if name.startswith(tuple(under))
        and (not suffixes or name.endswith(suffixes))
        and (ROOT / name).is_file()
    )


def finish(what, problems):
    """Prints the problems, one a line, and ends the program with the right status."""
    for problem in problems:
        print(problem)
    print(f"{what}: {'ok' if not problems else f'{len(problems)} problems'}")
    sys.exit(1 if problems else 0)
