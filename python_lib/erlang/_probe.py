"""A module that is loaded again and again, to see whether modules can be loaded: see :mod:`erlang._health`."""

import sys

FOUND = sys is not None
