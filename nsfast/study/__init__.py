"""The paper's questions asked again: grids of profiles, fair comparisons over seeds, verdicts by a fixed rule."""
