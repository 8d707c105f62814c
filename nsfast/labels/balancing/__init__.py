"""Filtering and balancing: which pseudo-labels a student sees, and how often."""
