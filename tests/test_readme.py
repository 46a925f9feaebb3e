"""The README is executed: every `console` block runs as typed, and prints what it says, numbers to within 2 %.

Model ids depend on the last bit of a float and are compared by length only.
"""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_wz.cli.main import cli

README = Path(__file__).parent.parent / "README.md"
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w])")
IDENTITY = re.compile(r"\b[0-9a-f]{16}\b")


def sessions() -> list[list[tuple[str, str]]]:
    """[(command, expected output), ...] of each block."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    return [re.findall(r"^\$ (.*?)\n((?:(?!\$ ).*\n)*)", block, re.M) for block in blocks]


def parts(text: str) -> tuple[list[str], list[float]]:
    lines = [IDENTITY.sub("<id>", line) for line in text.splitlines()]
    words = [re.sub(r"[-━ ]+", " ", NUMBER.sub("#", line)).strip() for line in lines]
    return words, [float(number) for line in lines for number in NUMBER.findall(line)]


@pytest.mark.parametrize("session", sessions(), ids=lambda session: session[0][0])
def test_prints_what_it_says(session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    for command, expected in session:
        program, *arguments = shlex.split(command)
        assert program == "edge-wz"
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        words, numbers = parts(result.stdout)
        expected_words, expected_numbers = parts(expected)
        assert words == expected_words
        for number, wanted in zip(numbers, expected_numbers, strict=True):
            assert number == pytest.approx(wanted, rel=0.02) or abs(number - wanted) < 0.002, (command, number, wanted)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target


def test_has_a_session():
    assert sum(len(session) for session in sessions()) >= 3
