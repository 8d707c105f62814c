"""Analysis: measures (`metrics`), intervals and tests (`comparisons`), `figures`; all from plain arrays."""
