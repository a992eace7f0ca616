import re
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import holdfast
from holdfast.cli.commands import COMMANDS, commands


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands(arguments: list[str]) -> None:
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == (0 if arguments else 2)
    assert re.search(r"\n  demo +Train an LSTM against a plain RNN", done.output)
    assert all(f"\n  {name} " in done.output for name in ("fit", "lab", "evaluate", "generate", "info"))
    assert "--version" in done.output
    assert "..." not in done.output.replace("[ARGS]...", ""), "no summary is cut short"


def test_the_help_lists_each_command_by_the_first_line_of_its_own() -> None:
    group = get_command(commands)
    for name, (_, line) in COMMANDS.items():
        command = group.get_command(None, name)  # type: ignore[attr-defined]
        if name != "lab":  # whose own help begins with what a contest is
            assert command.get_short_help_str(200) == line, name


ENDED = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "numpy", "llvmlite", "rich"} & {*sys.modules})))
from holdfast import cli
cli.app()
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], [], ["dmeo"]])
def test_the_version_the_list_of_commands_and_a_mistyped_one_need_no_torch(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", ENDED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--" in str(arguments) else 2)
    assert done.stdout.endswith("[]\n")


INTERRUPTED = """
import atexit, os, signal, sys
from holdfast import cli

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "holdfast.cli.commands":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
atexit.register(os.kill, os.getpid(), signal.SIGINT)
cli.app()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_ends_it_with_one_line_before_it_has_begun_and_after_it_has_ended() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "holdfast: stopped\n")


def test_version_is_the_package_s() -> None:
    done = CliRunner().invoke(commands, ["--version"])
    assert (done.exit_code, done.output) == (0, f"holdfast {holdfast.__version__}\n")


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(commands, ["dmeo"])
    assert done.exit_code == 2
    assert "dmeo" in done.stderr
