"""The README's Python runs as written, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matfac.cli import make_parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_commands_parse() -> None:
    lines = re.findall(r"^matfac (.+)$", README, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        make_parser().parse_args(line.split())
