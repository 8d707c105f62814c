"""How good pseudo-labels are, with their truth and without."""
