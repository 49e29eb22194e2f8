"""Generated parts of a page that is otherwise written by others: what lies between two marks."""

from __future__ import annotations

import re
from pathlib import Path


def pattern(name: str = r"[\w-]+") -> re.Pattern[str]:
    return re.compile(rf"<!-- begin ({name}) -->\n.*?<!-- end \1 -->\n", re.DOTALL)


def write(page: Path, name: str, text: str) -> None:
    """Replaces the part, or adds it to the end."""
    part = f"<!-- begin {name} -->\n{text}<!-- end {name} -->\n"
    old = page.read_text() if page.exists() else ""
    if pattern(name).search(old):
        page.write_text(pattern(name).sub(lambda _: part, old))
    else:
        page.write_text(f"{old}\n{part}" if old else part)


def parts(page: Path) -> list[str]:
    """All parts that a page has, with their marks: for a script that writes the rest of it anew."""
    return [m.group() for m in pattern().finditer(page.read_text())] if page.exists() else []
