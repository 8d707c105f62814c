"""Robustness: corrupted pictures (`corruptions`, numpy) and adversarial pictures (`attacks`, torch)."""
