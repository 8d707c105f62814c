"""The one error of pictures that do not make an image set."""

from nsfast.errors import NsfastError


class ImageProblem(NsfastError):
    """The pictures do not make an image set; one line says what is missing and where."""
