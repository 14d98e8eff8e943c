"""The documentation is true: links lead somewhere, commands are accepted, every experiment is listed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lossbench.cli import main
from lossbench.plugins import KINDS, registry

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "reports" / "README.md"])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_to_files_of_the_project(page):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_folder_and_every_command_stands_in_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [path.parent.name for path in ROOT.glob("lossbench/*/__init__.py")]
    assert [name for name in folders if f"{name}/" not in page] == []
    sections = [path.parent.name for path in ROOT.glob("lossbench/report/*/__init__.py")]
    assert [name for name in sections if f"  {name}/" not in page] == []
    assert [name for name in main.commands if f"lossbench {name}" not in page and f"`{name} " not in page] == []


def test_every_folder_says_in_a_sentence_what_its_files_share():
    for path in ROOT.glob("lossbench/**/__init__.py"):
        assert re.match(r'"""[A-Z`].{30,}[.:`]', path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_files_that_a_page_names_are_there(page):
    """From the root, the package, the experiments or the page; `runs/` and `reports/` are what a run writes."""
    named = re.findall(r"[\w./-]*\w+/[\w-]+\.(?:py|toml|md)\b", page.read_text(encoding="utf-8"))
    roots = (ROOT, ROOT / "lossbench", ROOT / "experiments", page.parent)
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert [name for name in missing if not name.startswith(("runs/", "reports/", "/"))] == []


def test_every_shipped_experiment_stands_in_the_readme_and_every_published_report_in_its_list():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in ROOT.glob("experiments/*.toml") if f"[`{path.stem}`]" not in readme] == []
    listed = (ROOT / "reports" / "README.md").read_text(encoding="utf-8")
    published = [path.parent.name for path in ROOT.glob("reports/reference/*/report.md")]
    assert [name for name in published if f"](reference/{name}/report.md)" not in listed] == []


@pytest.mark.slow
def test_the_commands_of_the_readme_are_accepted(tmp_path, monkeypatch):
    """Each `lossbench start`, and `run` as a dry run, with the README's own plugin and a folder of pictures."""
    page = ROOT / "README.md"
    monkeypatch.chdir(tmp_path)
    plugin = next(text for text in blocks(page, "python") if "@loss(" in text)
    (tmp_path / "circle.py").write_text(plugin, encoding="utf-8")
    for kind in KINDS:
        registry.names(kind)  # loads what is built in
    builtin = {key: found for key, found in registry._plugins.items() if found.builtin}
    monkeypatch.setattr(registry, "_plugins", builtin)  # another test may have loaded a plugin of that name
    rng = np.random.default_rng(0)
    for name in "abcdefghijkl":
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(16):
            image = Image.fromarray(rng.integers(256, size=(8, 8), dtype=np.uint8))
            image.save(tmp_path / "pictures" / name / f"{number}.png")
    lines = [line for text in blocks(page, "sh") for line in text.splitlines()]
    commands = [line for line in lines if line.startswith(("lossbench run", "lossbench start"))]
    assert len(commands) >= 6
    for command in commands:
        arguments = shlex.split(command, comments=True)[1:]
        runs = arguments[0] == "run" and "--dry-run" not in arguments
        result = CliRunner().invoke(main, [*arguments, *(["--dry-run"] if runs else [])])
        assert result.exit_code == 0, f"{command}\n{result.output}"


@pytest.mark.slow
def test_the_commands_of_the_page_on_experiment_files_are_accepted(tmp_path, monkeypatch):
    page = ROOT / "docs" / "experiment-file.md"
    monkeypatch.chdir(tmp_path)
    minimal = next(text for text in blocks(page, "toml") if text.startswith('name = "minimal"'))
    (tmp_path / "minimal.toml").write_text(minimal, encoding="utf-8")
    commands = [line for text in blocks(page, "sh") for line in text.splitlines() if "--dry-run" in line]
    for command in ["lossbench run minimal.toml --dry-run", *commands]:
        result = CliRunner().invoke(main, shlex.split(command, comments=True)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"
