"""What the pictures are: image sets from folders or arrays, the embedded digits, and their splits."""

from nsfast.images.image_set import SPLITS, ImageProblem, ImageSet, Split, load_images, save_images

__all__ = ["SPLITS", "ImageProblem", "ImageSet", "Split", "load_images", "save_images"]
