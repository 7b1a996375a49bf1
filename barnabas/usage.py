"""Wrong usage of the command line: told like every other error where `--json` is among what was typed.

Typer tells a person in a frame; a program reads one line of JSON on standard error. Both get exit code 2.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from typer import TyperException
from typer.core import TyperGroup

from barnabas import output
from barnabas.errors import UsageError
from barnabas.exit_codes import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Commands(TyperGroup):
    """The commands of an app."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run what was typed."""
        typed = sys.argv[1:] if args is None else list(args)
        if "--json" not in typed:
            return super().main(args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            status = super().main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )
        except TyperException as wrong:
            error = UsageError(wrong.format_message(), field=_field(wrong))
            output.problem(error, as_json=True)
            sys.exit(code_of(error))
        sys.exit(status or 0)


def _field(wrong: TyperException) -> str | None:
    """Return the name of the option or argument that makes no sense, without dashes."""
    parameter = getattr(wrong, "param", None)
    name = parameter.name if parameter is not None else getattr(wrong, "option_name", None)
    return str(name).lstrip("-").replace("-", "_") if name else None
