"""The explorer in a notebook: ipywidgets, one plotly figure and one small grid of pictures."""
