"""The explorer of pseudo-labels: `core` counts (numpy), `static` draws (matplotlib), `live` slides."""
