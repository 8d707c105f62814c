"""The explorer as a page of its own: Voila on this machine alone, behind a token."""
