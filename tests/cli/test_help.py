"""Help, completion and the code agree: every command has an example that parses, and its exit codes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from skerry.cli.main import VERBS, run, skerry
from skerry.cli.options import EXIT_CODES, Command


def commands(group: click.Group = skerry, path: tuple[str, ...] = ("skerry",)) -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


ALL = dict(commands())


@pytest.mark.parametrize("path", ALL)
def test_every_help_has_an_example_and_the_exit_codes(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split()[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: {path}" in shown or 'Example: eval "$(skerry completion bash)"' in shown
    assert "Exit codes: 0 done" in shown
    assert "--json" in shown


@pytest.mark.parametrize("path", ALL)
def test_every_example_parses(path: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ALL[path]
    assert isinstance(command, Command)
    assert set(command.codes) <= EXIT_CODES.keys()
    for line in command.example.splitlines():
        words = shlex.split(line.replace("$(", "").replace(")", "").replace('"', "").removeprefix("eval "))
        arguments = words[len(path.split()) :]
        for parameter in command.params:  # examples name files that aren't here
            if isinstance(parameter.type, click.Path):
                parameter.type.exists = False
        command.make_context(path, arguments)


def test_the_list_of_verbs_is_the_verbs_own_first_line() -> None:
    for verb, line in VERBS.items():
        command = skerry.get_command(click.Context(skerry), verb)
        assert command is not None
        assert command.name == verb
        assert (command.help or "").splitlines()[0] == line


def test_no_help_breaks_its_shell(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert run(["completion", shell]) == 0
        assert "_SKERRY_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [("skerry ro", "rollback role"), ("skerry host un", "undrain"), ("skerry deploy --de", "--detach")],
)
def test_a_real_bash_completes_by_the_script(words: str, offered: str) -> None:
    ask = (
        'eval "$(skerry completion bash)"; read -ra COMP_WORDS <<<"$1"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1));'
        ' _skerry_completion skerry; echo "${COMPREPLY[*]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ask, "bash", words], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_completion_offers_verbs_options_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_SKERRY_COMPLETE", "bash_complete")
    for words, number, expected in (("skerry ro", "1", {"rollback", "role"}), ("skerry host un", "2", {"undrain"})):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", number)
        with pytest.raises(SystemExit):
            run([])
        assert {line.partition(",")[2] for line in capsys.readouterr().out.split()} == expected
