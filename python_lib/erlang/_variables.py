"""Context variables (PEP 567) whose values code changes in place. For the port program."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context, ContextVar
    from typing import Any


def changeable(variables: Context) -> list[tuple[ContextVar[Any], Any]]:
    """The variables that a copy of ``variables`` would still share, with copies of their values, which have ``copy()``.

    Arithmetic sets a variable of ``decimal``, and ``getcontext().prec = 5`` changes its value, not the variable.
    """
    decimal = sys.modules.get("decimal")
    if decimal is None:
        return []
    return [(variable, value.copy()) for variable, value in variables.items() if isinstance(value, decimal.Context)]
