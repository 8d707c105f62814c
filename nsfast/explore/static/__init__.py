"""The explorer where nothing is live: matplotlib figures, a picture, a page of HTML."""
