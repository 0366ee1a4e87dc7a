"""The Python in the README and in docs/ runs as written, and the README's commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matfac.cli import make_parser

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_python_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    if path.name == "README.md":
        assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, path.name, "exec"), names)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_commands_parse(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^matfac (.+)$", text, re.MULTILINE) + re.findall(r"`matfac (\w.+?)`", text)
    if path.name == "README.md":
        assert len(lines) >= 4
    for line in lines:
        words = line.split()
        if len(words) > 1:  # else it names a command and does not call it
            make_parser().parse_args(words)
