"""The network: a small llama (RMSNorm, rotary pairs, SwiGLU, tied embedding) in plain PyTorch for a CPU.

A layer is one function of its weights, so that `torch.compile` compiles it once a shape and serves every layer.
Attention is two matmuls with heads of 64. Rotary pairs are interleaved (0,1), (2,3), … as llama.cpp's `llama` has them.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    vocab: int
    width: int = 256
    layers: int = 6
    heads: int = 4
    hidden: int = 640
    context: int = 1024
    theta: float = 10_000.0
    epsilon: float = 1e-5

    def as_dict(self):
        return asdict(self)


def norm(x, weight, epsilon):
    f = x.float()
    return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + epsilon) * weight).to(x.dtype)


def rotate(x, cos, sin):
    """x: batch, heads, positions, 64; cos and sin: positions, 32 (or with a batch in front)."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def layer(x, w, cos, sin, mask, heads, epsilon):
    batch, length, width = x.shape
    # The stream between the layers stays in single precision, or a token's identity drowns in what is added to it.
    half = cos.dtype
    h = norm(x, w["attn_norm"], epsilon).to(half)
    q, k, v = (F.linear(h, w[n].to(half)).view(batch, length, heads, 64).transpose(1, 2) for n in ("q", "k", "v"))
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    scores = (q @ k.transpose(-1, -2)).float() * 0.125 + mask
    mixed = (scores.softmax(-1).to(half) @ v).transpose(1, 2).reshape(batch, length, width)
    x = x + F.linear(mixed, w["o"].to(half))
    h = norm(x, w["ffn_norm"], epsilon).to(half)
    return x + F.linear(F.silu(F.linear(h, w["gate"].to(half))) * F.linear(h, w["up"].to(half)), w["down"].to(half))


class Tiny(nn.Module):
    def __init__(self, shape, seed=1):
        super().__init__()
        self.shape = shape
        torch.manual_seed(seed)
        d, h = shape.width, shape.hidden
        matrix = lambda out, into, scale=1.0: nn.Parameter(torch.randn(out, into) * scale * into ** -0.5)
        # Of the size of what the layers add; the small final norm makes up for it where the same matrix gives the logits.
        self.embedding = nn.Parameter(torch.randn(shape.vocab, d))
        self.blocks = nn.ModuleList(
            nn.ParameterDict({
                "attn_norm": nn.Parameter(torch.ones(d)), "q": matrix(d, d), "k": matrix(d, d), "v": matrix(d, d), "o": matrix(d, d, 0.2),
                "ffn_norm": nn.Parameter(torch.ones(d)), "gate": matrix(h, d), "up": matrix(h, d), "down": matrix(d, h, 0.2),
            })
            for _ in range(shape.layers)
        )
        self.norm = nn.Parameter(torch.full((d,), 0.12))
        angles = torch.outer(torch.arange(shape.context).float(), shape.theta ** (-torch.arange(0, 64, 2).float() / 64))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.layer = layer

    def hidden(self, tokens, dtype=torch.bfloat16):
        length = tokens.shape[1]
        x = F.embedding(tokens, self.embedding)
        cos, sin = self.cos[:length].to(dtype), self.sin[:length].to(dtype)
        mask = torch.full((length, length), -1e9).triu(1)
        for block in self.blocks:
            x = self.layer(x, dict(block.items()), cos, sin, mask, self.shape.heads, self.shape.epsilon)
        return x

    def head(self, x):
        return F.linear(norm(x, self.norm, self.shape.epsilon), self.embedding)


def save(path, model, **more):
    torch.save({"shape": model.shape.as_dict(), "weights": model.state_dict(), **more}, path)


def load(path):
    """(model, everything that was saved)"""
    saved = torch.load(path, map_location="cpu", weights_only=False)
    model = Tiny(Shape(**saved["shape"]))
    model.load_state_dict(saved["weights"])
    return model, saved
