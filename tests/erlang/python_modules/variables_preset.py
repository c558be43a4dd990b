"""Sets context variables when it is imported."""

import variables

variables.set_both(50)
