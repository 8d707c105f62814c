"""What the pictures are: image sets from folders or arrays, the embedded digits, and their splits."""

from nsfast.images.files import PictureFiles
from nsfast.images.image_set import SPLITS, ImageSet, Split, load_images, save_images
from nsfast.images.problem import ImageProblem

__all__ = ["SPLITS", "ImageProblem", "ImageSet", "PictureFiles", "Split", "load_images", "save_images"]
