"Compositions that fit: a type checker says nothing"
from typing import Any, Literal as L
import torch
from torch import nn
from upslope.core import Function, Vec, compose, dup, iterate, lift, residual, residual_with, typed
from upslope.layers import Conv2D, Dense, Flatten, ReLU

mlp = Dense[L[784], L[128]](128) >> Dense[L[128], L[10]](10)
typed_mlp: Function[Vec[L[784]], Vec[L[10]]] = mlp
backwards = Dense[L[128], L[10]](10) << Dense[L[784], L[128]](128)
same: Function[Vec[L[784]], Vec[L[10]]] = backwards
block = residual(Dense[L[64], L[64]](64))
deep = Dense[L[784], L[64]](64) >> block >> iterate(block, 3) >> Dense[L[64], L[10]](10)
wide = residual_with(Dense[L[64], L[32]](32), Dense[L[64], L[32]](32)) >> Dense[L[32], L[10]](10)
pair: Function[tuple[Vec[L[3]], Vec[L[4]]], tuple[Vec[L[5]], Vec[L[6]]]] = Dense[L[3], L[5]](5)*Dense[L[4], L[6]](6)
two_views: Function[Vec[L[3]], tuple[Vec[L[5]], Vec[L[6]]]] = Dense[L[3], L[5]](5) & Dense[L[3], L[6]](6)
through = two_views >> Dense[L[5], L[2]](2)*Dense[L[6], L[2]](2)
plain = Dense(128) >> Dense(10)                                          # no brackets: found when composed
mixed = Dense[L[784], L[128]](128) >> ReLU() >> Dense[L[128], L[10]](10)
image = Conv2D(8, 3) >> Flatten() >> Dense(10)
lifted = Dense(8) >> lift(nn.Linear(8, 3)) >> lift(torch.tanh)
chain = compose(nn.Linear(3, 4), torch.relu, nn.Linear(4, 5))
declared = mlp.on('B', 784)
x: Any = mlp(torch.zeros(2, 784))

@typed('b n -> b n')
def double(x: torch.Tensor) -> torch.Tensor: return 2*x
doubled = Dense(3) >> double >> dup
