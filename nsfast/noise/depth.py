"""Stochastic depth (Huang et al., arXiv 1603.09382) for the training part of a fit, on any common residual network.

In training, the residual branch of a block is left out for single pictures at random, and scaled up for the others so
that its expectation stays. Block i of N, counted from 0 over all blocks, is left out at `rate * i / N`, and only where
its shortcut is the identity: this is the released Noisy Student code (efficientnet_model.py). timm's ResNets and
transformers count to `rate` itself, i / (N - 1); here there is one rule for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nsfast.errors import NsfastError, choice, within
from nsfast.while_training import WhileTraining, refuse_compiled

RULES = ("linear", "uniform")
SUBSET_ABOVE = (
    0.1  # below, copying the surviving pictures costs more than it saves (DINOv2, block.py; and measured)
)


@dataclass
class ResidualBlock:
    """A block of a network and the modules whose outputs are its residual branches.

    Args:
        name: in `named_modules`.
        block: the block.
        branches: modules whose output is what is added to the shortcut; empty where there is no identity shortcut.
        activation: what follows the sum, None for nothing.
        alone: whether block(x) = activation(x + branch(x)) with a single branch, which the subset form needs.
    """

    name: str
    block: nn.Module
    branches: list[nn.Module]
    activation: nn.Module | None = None
    alone: bool = True


# timm's blocks that are x + drop_path(branch(x)) and nothing else, and nsfast's own
_PLAIN_SUM = {
    *(
        "InvertedResidual",
        "DepthwiseSeparableConv",
        "EdgeResidual",
        "CondConvResidual",
        "UniversalInvertedResidual",
    ),
    *("ConvBnAct", "ConvNeXtBlock", "SmallBlock"),
}


def residual_blocks(model: nn.Module) -> list[ResidualBlock]:
    """Return the blocks of a network in order, those without an identity shortcut included.

    Known are blocks with torchvision's `stochastic_depth` (EfficientNet, ConvNeXt, Swin) or timm's `drop_path`, its
    empty slots too (EfficientNet, ResNet, ConvNeXt, ViT, ...), fastai's xresnet, torchvision's ResNets and MobileNets.
    """
    found, inside = [], ()
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        block = _recognise(name, module)
        if block is not None:
            found.append(block)
            inside = (*inside, f"{name}." if name else "")
    return found


def _recognise(name: str, module: nn.Module) -> ResidualBlock | None:
    parts = dict(module.named_children())

    def first(*names):
        return next((parts[n] for n in names if n in parts), None)

    kinds = {"stochastic_depth", "stochastic_dropout"} & parts.keys()
    if kinds or hasattr(module, "use_res_connect"):  # torchvision
        branch = first(*kinds, "conv", "block")
        skip = getattr(module, "use_res_connect", True) and isinstance(parts.get("proj"), nn.Identity | None)
        # the blocks of Swin and MaxViT call the module twice
        alone = not {"attn", "attn_layer"} & parts.keys()
        return ResidualBlock(name, module, [branch] if skip else [], alone=alone)
    if slots := [parts[n] for n in ("drop_path1", "drop_path2") if n in parts]:  # transformers of timm
        projected = getattr(module, "do_expand", False)  # the shortcut of the first branch, in Hiera
        return ResidualBlock(name, module, slots[projected:], alone=False)
    if "convpath" in parts and "idpath" in parts:  # fastai
        return ResidualBlock(name, module, [] if len(module.idpath) else [module.convpath], module.act)
    skip = isinstance(getattr(module, "downsample", None), nn.Identity | None)
    # ResNets of timm and torchvision
    if {"conv1", "conv2", "bn2"} <= parts.keys() and hasattr(module, "downsample"):
        branch = first("drop_path", "se", "se_module", "bn3", "bn2")
        return ResidualBlock(name, module, [branch] if skip else [], first("act3", "act2", "relu"))
    batch_norm_shortcut = hasattr(module, "identity")  # RepVGG, MobileOne
    if "drop_path" in parts and not batch_norm_shortcut:  # timm
        skip = skip and getattr(module, "has_skip", True)
        skip = skip and isinstance(getattr(module, "shortcut", None), nn.Identity | None)
        plain = type(module).__name__ in _PLAIN_SUM
        return ResidualBlock(name, module, [module.drop_path] if skip else [], alone=plain)
    return None


def depth_rates(blocks: list[ResidualBlock], rate: float, rule: str = "linear") -> list[float]:
    """Return the drop rate of each block: `rate * i / N` or `rate`; 0 where there is no identity shortcut."""
    count = len(blocks)
    rates = [rate * i / count if rule == "linear" else rate for i in range(count)]
    return [r if block.branches else 0.0 for r, block in zip(rates, blocks, strict=True)]


@dataclass
class _First:
    """How many pictures of a batch are noised, the first ones, and how many pictures that batch has."""

    pictures: int
    batch: int = 0

    def look(self, module, inputs):
        self.batch = len(inputs[0])

    def rows(self, count: int) -> int:
        """How many of `count` rows are theirs: some transformers make several of a picture, one after the other."""
        batch = self.batch or count  # a block may be asked by itself
        if count % batch:
            raise NsfastError(
                f"a block has {count} rows of {batch} pictures, so stochastic depth cannot tell those of the first "
                f"{self.pictures}; set first to None (a student's pseudo_noise to 'all')"
            )
        return self.pictures * (count // batch)


@dataclass
class _Drop:
    """The hooks of one block: they draw who survives, narrow the batch or mask the branch, and scale it."""

    block: ResidualBlock
    rate: float
    subset: bool
    first: _First | None = None
    whole: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    factor: torch.Tensor | float = 1.0

    def install(self) -> list:
        """Register the hooks and return their handles."""
        block = self.block.block
        hook = self.scale if self.subset else self.mask
        handles = [branch.register_forward_hook(hook) for branch in self.block.branches]
        if self.subset:
            handles.append(block.register_forward_pre_hook(self.narrow))
            handles.append(block.register_forward_hook(self.widen))
        return handles

    def survivors(self, count: int) -> torch.Tensor:
        # drawn on the CPU: the host then knows how many there are without waiting for a GPU
        return torch.rand(count) >= self.rate

    def factors(self, count: int) -> torch.Tensor:
        """What each picture's branch is multiplied by: 0, 1 / (1 - rate), or 1 where the picture is spared."""
        factors = self.survivors(count).float().div_(1 - self.rate)
        if self.first is not None:
            factors[self.first.rows(count) :] = 1.0
        return factors

    def mask(self, module, inputs, branch):
        if not self.block.block.training:
            return None
        keep = self.factors(len(branch))
        return (branch * _per_picture(keep, branch)).to(branch.dtype)

    def narrow(self, module, inputs):
        if not module.training:
            return None
        self.whole = inputs[0]
        factors = self.factors(len(self.whole))
        rows = factors.nonzero()[:, 0]
        one_factor = len(rows) > 1 and self.first is None
        if len(rows) < 2:
            # batch normalisation needs two pictures: others come along, with a branch of zero
            rows = (factors > 0).int().argsort(descending=True)[:2]
        self.factor = 1 / (1 - self.rate) if one_factor else factors[rows]
        self.rows = rows.to(self.whole.device, non_blocking=True)
        narrowed = _inner(self.whole).index_select(0, self.rows)
        return (_outer(narrowed, self.whole), *inputs[1:])

    def scale(self, module, inputs, branch):
        if self.rows is None:
            return None
        factor = self.factor
        if isinstance(factor, torch.Tensor):
            return (branch * _per_picture(factor, branch)).to(branch.dtype)
        return branch * factor

    def widen(self, module, inputs, out):
        if self.rows is None:
            return None
        rows, whole, self.rows, self.whole = self.rows, self.whole, None, None
        if self.block.activation is not None:
            whole = self.block.activation(whole.clone())  # it may work in place
        layout = _inner(whole)
        merged = layout.to(out.dtype).index_copy(0, rows, _inner(out, whole))
        return _outer(merged, whole)


def _is_channels_last(x: torch.Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _inner(x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """The view whose memory is contiguous; indexing by pictures would otherwise give up channels-last."""
    return x.permute(0, 2, 3, 1) if _is_channels_last(x if like is None else like) else x


def _outer(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Back from `_inner`, for a result of what was in the layout of `like`."""
    return x.permute(0, 3, 1, 2) if _is_channels_last(like) else x


def _per_picture(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    values = values.to(like.device, non_blocking=True)
    return values.view(-1, *[1] * (like.ndim - 1))


class StochasticDepth(WhileTraining):
    """Leave out residual branches at random, picture by picture, while a fit trains; any common residual network.

    Drop rates that the network brings with it (timm, torchvision) are replaced for the time. With `subset`, blocks that
    drop more than a tenth compute the surviving pictures only: the same function in less time, but for batch
    normalisation, whose statistics are then those of the survivors. Blocks with several branches always mask.

    Args:
        rate: drop rate 0..1 of the last block, below 1; the paper's survival of 0.8 is 0.2.
        rule: "linear" (`rate * i / N`) or "uniform" (`rate` everywhere).
        subset: the compute-saving form above a rate of 0.1.
        first: how many pictures of each batch, the first ones, are noised; None for all.

    Raises:
        NsfastError: `rate`, `rule` or `first` is out of range; in a fit, a network without a residual block.
    """

    order = 8

    def __init__(
        self, rate: float = 0.2, rule: str = "linear", subset: bool = True, first: int | None = None
    ):
        super().__init__()
        if within("stochastic_depth", rate, 0, 1) == 1:
            raise NsfastError("stochastic_depth is 1, which leaves no block; it must be below 1")
        if first is not None:
            within("first", first, 0)
        self.rate, self.rule, self.subset = rate, choice("rule of stochastic depth", rule, RULES), subset
        self.first, self.handles, self.replaced = first, [], []

    def plan(self, model: nn.Module) -> list[tuple[ResidualBlock, float, str]]:
        """Return every block with its drop rate and its form: "subset", "mask" or "-" where nothing is dropped.

        Raises:
            NsfastError: the network has no residual block with an identity shortcut, or none with a rate.
        """
        refuse_compiled(model, "stochastic depth")
        if isinstance(model, nn.DataParallel):
            raise NsfastError(
                "stochastic depth does not know DataParallel; train with DistributedDataParallel"
            )
        blocks = residual_blocks(model)
        if not any(block.branches for block in blocks):
            raise NsfastError(
                f"{type(model).__name__} has no residual block that stochastic depth knows; set the rate to 0, or take "
                "a ResNet, ConvNeXt, ViT, or an EfficientNet with identity shortcuts"
            )
        rates = depth_rates(blocks, self.rate, self.rule)
        if self.rate and not any(rates):
            raise NsfastError(
                f"the linear rule drops nothing in {type(model).__name__}: only its first block has an identity "
                "shortcut, whose rate is 0; set rule to 'uniform', or the rate to 0"
            )
        forms = [
            "subset" if self.subset and b.alone and r > SUBSET_ABOVE else "mask"
            for b, r in zip(blocks, rates, strict=True)
        ]
        return [(b, r, form if r else "-") for b, r, form in zip(blocks, rates, forms, strict=True)]

    def summary(self, model: nn.Module | None = None) -> None:
        """Print the drop rate of every block of a network, by default the learner's."""
        lines = [f"{'block':32} {'drop rate':>9}  form"]
        for block, rate, form in self.plan(self.learn.model if model is None else model):
            form = form if block.branches else "- (no identity shortcut)"
            lines.append(f"{block.name or '(network)':32} {rate:9.4f}  {form}")
        print("\n".join(lines))

    def install(self):
        model = self.learn.model
        for module in model.modules():
            attribute = {"DropPath": "drop_prob", "StochasticDepth": "p"}.get(type(module).__name__)
            if attribute:
                self.replaced.append((module, attribute, getattr(module, attribute)))
                setattr(module, attribute, 0.0)
        if self.rate and self.first != 0:
            first = None if self.first is None else _First(self.first)
            if first is not None:
                self.handles.append(model.register_forward_pre_hook(first.look))
            for block, rate, form in self.plan(model):
                if form != "-":
                    self.handles += _Drop(block, rate, form == "subset", first).install()

    def undo(self):
        for handle in self.handles:
            handle.remove()
        for module, attribute, value in self.replaced:
            setattr(module, attribute, value)
        self.handles, self.replaced = [], []
