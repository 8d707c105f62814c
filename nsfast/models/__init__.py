"""Networks by name, their trained weights, and what is known of them.

`small` (its size is one number), the paper's EfficientNets, and every classifier of timm and torchvision. All of them
take pixels on a 0..1 scale and normalise them themselves, so that labeling, training and attacks cannot disagree.
"""

from nsfast.models.build import architectures, build_model, default_device
from nsfast.models.catalogue import model_rows, multiply_adds
from nsfast.models.efficientnet import EFFICIENTNETS, EfficientNetRow
from nsfast.models.network import Network, Normalize
from nsfast.models.small import SmallBlock, SmallNet
from nsfast.models.weights import load_weights, weights_statistics
from nsfast.models.without_weights import check_resolution, parameter_count

__all__ = [
    "EFFICIENTNETS",
    "EfficientNetRow",
    "Network",
    "Normalize",
    "SmallBlock",
    "SmallNet",
    "architectures",
    "build_model",
    "check_resolution",
    "default_device",
    "load_weights",
    "model_rows",
    "multiply_adds",
    "parameter_count",
    "weights_statistics",
]
