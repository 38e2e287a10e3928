"""The image encoder: EfficientNet-Lite2, cut into a probe (early layers) and a trunk (the rest)."""

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# The probe ends with the first block at stride 4: 24 channels of 56 x 56, in at most 4 ms on one core.
PROBE_BLOCKS = 2
PROBE_CHANNELS = 24
GRID = 7
TOKEN_SIZE = 256
# (x - 127) / 128, as EfficientNet-Lite was trained.
MEAN, STD = 127 / 255, 128 / 255


class Probe(nn.Module):
    """Pixels [N, 3, 224, 224] to early features [N, 24, 56, 56] and the grid [N, 49, 96] that MAS is measured on.

    A row of the grid is one token position: the means of the four quarters of its cell, 24 channels each.
    """

    def __init__(self, net: EfficientNet):
        super().__init__()
        self.stem, self.norm, self.act = net._conv_stem, net._bn0, net._swish
        self.blocks = nn.ModuleList(net._blocks[:PROBE_BLOCKS])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = self.act(self.norm(self.stem(pixels)))
        for block in self.blocks:
            x = block(x)
        quarters = nn.functional.avg_pool2d(x, 4)  # [N, 24, 14, 14]
        grid = quarters.reshape(-1, PROBE_CHANNELS, GRID, 2, GRID, 2).permute(0, 2, 4, 3, 5, 1)
        return x, grid.reshape(-1, GRID * GRID, 4 * PROBE_CHANNELS)


class Trunk(nn.Module):
    """Early features [N, 24, 56, 56] to image tokens [N, 49, 256]."""

    def __init__(self, net: EfficientNet):
        super().__init__()
        self.blocks = nn.ModuleList(net._blocks[PROBE_BLOCKS:])
        self.head, self.norm, self.act = net._conv_head, net._bn1, net._swish
        self.token_norm = nn.LayerNorm(1280)
        self.token = nn.Linear(1280, TOKEN_SIZE)

    def forward(self, features: Tensor) -> Tensor:
        x = features
        for block in self.blocks:
            x = block(x)
        x = self.act(self.norm(self.head(x))).flatten(2).transpose(1, 2)
        return self.token(self.token_norm(x))


class Encoder(nn.Module):
    """Probe and trunk in one: pixels to image tokens."""

    def __init__(self, checkpoint: str | None, name: str = "efficientnet-lite2"):
        """`checkpoint` holds ImageNet's weights; without one they are random."""
        super().__init__()
        net = EfficientNet.from_name(name)
        if checkpoint:
            net.load_state_dict(torch.load(checkpoint, weights_only=True))
        # The ONNX export traces plain ReLU6; the package's block already uses it for the Lite family.
        self.probe, self.trunk = Probe(net), Trunk(net)

    @classmethod
    def folded(cls) -> "Encoder":
        """The shape of an encoder that was trained and folded, to load its weights into."""
        return cls(None).fold()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.trunk(self.probe(pixels)[0])

    def train(self, mode: bool = True) -> "Encoder":
        """Batch norms keep ImageNet's statistics: batches here are small and augmented."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    @torch.no_grad()
    def fold(self) -> "Encoder":
        """Folds batch norms into their convolutions and rounds weights as they are stored: what is trained on the
        encoder from here on sees the very tokens that ship."""
        self.eval()
        pairs = [(self.probe, "stem", "norm"), (self.trunk, "head", "norm")]
        for block in [*self.probe.blocks, *self.trunk.blocks]:
            names = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            pairs += [(block, conv, norm) for conv, norm in names if hasattr(block, conv)]
        for owner, conv, norm in pairs:
            setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
            setattr(owner, norm, nn.Identity())
        return self.store()

    @torch.no_grad()
    def store(self) -> "Encoder":
        """Rounds weights to f16, as they are stored."""
        for parameter in self.parameters():
            parameter.copy_(parameter.half().float())
        return self


def quantise(tokens: Tensor) -> Tensor:
    """Rounds tokens to int8 with one scale a token, finer than they cross the wire; the gradient passes through."""
    scale = tokens.detach().abs().amax(-1, keepdim=True).clamp(min=1e-6) / 127
    rounded = (tokens / scale).round() * scale
    return tokens + (rounded - tokens).detach()
