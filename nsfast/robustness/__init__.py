"""Robustness: corrupted pictures (`corruptions`) and adversarial pictures (`attacks`, torch)."""
