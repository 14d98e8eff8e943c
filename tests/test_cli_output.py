"""What the command line prints: help in whole sentences, lists to read and as JSON, silence into a closed pipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from experiments import ABLATION
from lossbench.cli import main
from lossbench.cli.naming import KINDS
from lossbench.plugins import registry
from lossbench.specification.recipes import make_recipe
from lossbench.specification.training_settings import Training


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else []
    return found


COMMANDS = [((), main), *commands(main)]
SENTENCE = re.compile(r"[A-Z][^.]*(\.(?=\S)[^.]*)*\.")  # one full stop, at the end; NAME.npz is no end


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=["-".join(path) or "lossbench" for path, _ in COMMANDS])
def test_every_command_and_option_has_one_whole_short_sentence(path, command):
    texts = [command.help or ""] + [each.help or "" for each in command.params if isinstance(each, click.Option)]
    for text in texts:
        assert SENTENCE.fullmatch(text), text
        assert len(text) <= 100, text
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=78).output  # what click uses of 80
    listed = shown.partition("Commands:")[2]
    assert "..." not in listed, "the sentence does not fit into the line"


def test_a_closed_pipe_ends_silently():
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["list"], ["list", "--json"], ["--help"]):
        command = [sys.executable, "-m", "lossbench", *arguments]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
        assert done.stderr == ""
        assert done.returncode == 1
    os.close(writing)


def listed(*arguments: str) -> str:
    """In a process of its own: other tests load plugins into this one."""
    command = [sys.executable, "-m", "lossbench", "list", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_shipped_experiments_are_listed_with_their_questions():
    shown = listed("experiments")
    for path in ABLATION.parent.glob("*.toml"):
        assert re.search(rf"^  {path.stem} +{re.escape(tomllib.loads(path.read_text())['question'])}$", shown, re.M)


def test_the_listed_recipes_are_recipes_and_say_who_has_them():
    found = json.loads(listed("recipes", "--json"))["recipes"]
    assert "  softmax+center         in ablation, " in listed("recipes")
    for each in found:
        assert make_recipe(each["name"], each["name"], Training()).losses
        assert each["experiments"]
    names = [each["name"] for each in found]
    assert names == sorted(set(names))
    assert "softmax@balanced" in names


def test_a_list_as_json_names_what_the_lines_name():
    found = json.loads(listed("--json"))
    assert tuple(found) == KINDS
    assert {each["name"] for each in found["losses"]} <= set(registry.names("loss"))
    lines = listed().splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        each["name"] for entries in found.values() for each in entries
    ]
    assert [line.removesuffix(":") for line in lines if not line.startswith("  ")] == list(found)
    assert all(each["summary"] for entries in found.values() for each in entries)
    assert all(Path(each["file"]).is_file() for entries in found.values() for each in entries if "file" in each)


def test_bash_completes_commands():
    environment = {
        **os.environ,
        "_LOSSBENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "lossbench rep",
        "COMP_CWORD": "1",
    }
    command = [sys.executable, "-m", "lossbench"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,replay", "plain,report"]
