"""Classifiers of timm by their own names."""

from __future__ import annotations

from torch import nn

from nsfast.errors import NsfastError, nearest


def timm_names() -> list[str]:
    """Return the names of timm's classifiers."""
    import timm

    return timm.list_models()


def is_timm_name(architecture: str) -> bool:
    """Whether timm has this network; a name may end in the tag of pretrained weights, `.ns_jft_in1k`."""
    import timm

    return timm.is_model(architecture)


def timm_settings(architecture: str):
    """Return what timm says of the pretrained weights of a network (its `PretrainedCfg`), None where it has none.

    Raises:
        NsfastError: the tag behind the dot is none of this network.
    """
    import timm
    from timm.models import get_pretrained_cfg

    try:
        return get_pretrained_cfg(architecture)
    except RuntimeError:
        known = timm.list_pretrained(f"{architecture.split('.')[0]}.*")
        raise NsfastError(f"timm has no weights {architecture!r}{nearest(architecture, known)}") from None


def build_timm(
    architecture: str, classes: int, channels: int = 3, dropout: float = 0.0, pixels: int | None = None
) -> nn.Module:
    """Build a classifier of timm with fresh weights, without the layer that normalises pixels.

    Args:
        pixels: height and width of its pictures, for networks that are built for one resolution (transformers).

    Raises:
        NsfastError: a dropout, a resolution or a number of channels that the network does not take.
    """
    import timm

    options = {"drop_rate": dropout} if dropout else {}
    if pixels and getattr(timm_settings(architecture), "fixed_input_size", False):
        options["img_size"] = pixels
    try:
        return timm.create_model(
            architecture, pretrained=False, num_classes=classes, in_chans=channels, **options
        )
    except TypeError as error:
        for option, refusal in (
            ("drop_rate", "takes no dropout ({}); set dropout to 0"),
            ("img_size", "cannot be built for another resolution than its own ({})"),
        ):
            if option in str(error):
                raise NsfastError(f"architecture {architecture!r} {refusal.format(error)}") from None
        raise
    except NotImplementedError:  # of the meta device
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        what = f"{channels} channel(s)" + (f" of {pixels} x {pixels} pixels" if pixels else "")
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NsfastError(f"architecture {architecture!r} cannot be built for {what}: {reason}") from None
