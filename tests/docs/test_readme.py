"""The README is followed to the letter, and its Chinese translation says the same."""

from __future__ import annotations

import re
from pathlib import Path

import cmarkgfm
import pytest

from tests.reader import Reader, commands, says, sections

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
FOR_THE_SUITE = "python3 dev.py"
"""What the suite itself is started by, and CI: .ci/run."""


def outline(text: str) -> dict[str, list[str]]:
    """What the translation has in common with the page: the levels of headings, blocks, links, pictures, bullets."""
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|<(https?://[^>]+)>", prose)
    return {
        "headings": re.findall(r"^(#+) ", prose, re.MULTILINE),
        "blocks": blocks,
        "links": sorted("".join(link) for link in links if "".join(link) not in (ENGLISH.name, CHINESE.name)),
        "pictures": re.findall(r"!\[[^\]]+\]\(([^)]+)\)", prose),
        "bullets": re.findall(r"^(?:- |\| )", prose, re.MULTILINE),
        "words of the program": sorted(set(re.findall(r"`([^`\n]+)`", prose))),
    }


def differences(english: str, chinese: str) -> list[str]:
    """In what the two pages differ that must be the same."""
    mine, theirs = outline(english), outline(chinese)
    return [name for name in mine if mine[name] != theirs[name]]


def test_the_translation_says_the_same() -> None:
    """Headings, blocks byte for byte, links, pictures, bullets, commands and file names."""
    english, chinese = ENGLISH.read_text("utf-8"), CHINESE.read_text("utf-8")
    assert differences(english, chinese) == []
    assert "**" not in cmarkgfm.github_flavored_markdown_to_html(chinese), "no blank makes a word of a bold sentence"
    assert len(re.findall("[\u4e00-\u9fff]", chinese)) > 800
    assert f"[简体中文]({CHINESE.name})" in english.partition("## ")[0]
    assert f"[English]({ENGLISH.name})" in chinese.partition("## ")[0]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("## ", "", "headings"),
        ("## ", "### ", "headings"),
        ("budget_usd: 5.00", "budget_usd: 6.00", "blocks"),
        ("0.2736 USD", "0.2737 USD", "blocks"),
        ("](docs/job-file.md)", "](docs/yaml.md)", "links"),
        ("docs/terminal.svg", "docs/gallery.webp", "pictures"),
        ("\n- ", "\n", "bullets"),
        ("`--budget`", "`--limit`", "words of the program"),
    ],
)
def test_what_is_out_of_step_is_seen(old: str, new: str, found: str) -> None:
    """Seeded faults: each changes one thing of the translation."""
    chinese = CHINESE.read_text("utf-8")
    assert old in chinese
    assert found in differences(ENGLISH.read_text("utf-8"), chinese.replace(old, new, 1))


def job_file() -> str:
    """The job that the page tells its reader to save."""
    job = re.search(r"^```yaml\n(.*?)^```", ENGLISH.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert job is not None
    return job[1]


def told() -> list[tuple[str, str]]:
    """Each command of the page, with what the page says it prints."""
    return [one for _, blocks in sections(ENGLISH) for block in blocks for one in commands(block.text)]


def test_every_command_prints_what_the_page_says(tmp_path: Path) -> None:
    """In order, in a folder with the page's job file."""
    reader = Reader(tmp_path)
    (reader.folder / "garden.yaml").write_text(job_file(), encoding="utf-8")
    typed = [(command, printed) for command, printed in told() if not command.startswith(FOR_THE_SUITE)]
    assert len(typed) >= 5
    for command, printed in typed:
        said = reader.run(command)
        assert says(said, printed), f"$ {command}\n{said}"


def test_ci_runs_the_command_of_the_readme() -> None:
    """What a visitor is told to run is what is run for every change."""
    typed = [command.partition("#")[0].strip() for command, _ in told() if command.startswith(FOR_THE_SUITE)]
    assert typed == ["python3 dev.py demo", "python3 dev.py test"]
    assert "\npython3 dev.py test\n" in (ROOT / ".ci" / "run").read_text("utf-8")
