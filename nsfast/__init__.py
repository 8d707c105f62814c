"""nsfast: Noisy Student Training (Xie et al., arXiv 1911.04252) in notebooks, from a few labels to a robust student."""

__version__ = "0.1.0"
