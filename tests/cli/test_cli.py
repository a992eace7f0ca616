import pytest
from typer.testing import CliRunner

import holdfast
from holdfast.cli import app


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == (0 if arguments else 2)
    assert "demo      Train an LSTM against a plain RNN" in done.output
    assert all(f"\n  {name} " in done.output for name in ("fit", "evaluate", "generate", "info"))
    assert "--version" in done.output
    assert "..." not in done.output.replace("[ARGS]...", ""), "no summary is cut short"


def test_version_is_the_package_s() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"holdfast {holdfast.__version__}\n")


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(app, ["dmeo"])
    assert done.exit_code == 2
    assert "dmeo" in done.stderr
