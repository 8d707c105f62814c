"""The command line: runs, label tables, and what is known of profiles, parameters, networks and recipes."""

from __future__ import annotations

import sys
import warnings

import typer

from nsfast.errors import NsfastError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Noisy Student Training (arXiv 1911.04252): from a few labels to a robust student, in six notebooks.",
)


def table(rows: list[dict[str, str]]) -> None:
    """Print rows as a table that fits the terminal, or as aligned plain text in a log."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        shown = Table(*map(str, rows[0]))
        for row in rows:
            shown.add_row(*(str(value).replace("[", "\\[") for value in row.values()))
        Console().print(shown)
        return
    lines = [list(map(str, rows[0])), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Run the command line; what the user can put right is one line on standard error and exit code 2."""
    warnings.filterwarnings(
        "ignore", "`torch.jit.script` is deprecated", FutureWarning
    )  # fastai's, at import
    try:
        code = app(standalone_mode=False)  # typer turns Ctrl-C into exit code 130 and returns it
        if code == 130:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except (NsfastError, OSError) as error:
        print(f"nsfast: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("nsfast: stopped; run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):
            message = error.format_message()
            print(message if message.startswith("Usage") else f"nsfast: {message}", file=sys.stderr)
            sys.exit(2)
        raise


from nsfast.cli import runs, labels, explore, robustness, study, known  # noqa: E402, F401, I001 (they add their commands to `app`, in this order)
