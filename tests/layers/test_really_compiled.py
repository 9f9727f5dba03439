"One model of each kind through the real compiler and the strict exporter."
import pytest, torch
from upslope.layers import *

def dense(): return Sequential([Input((6,)), Dense(8, 'gelu'), LayerNormalization(), Dense(3, 'softmax')]),torch.rand(4, 6)
def convolution(): return Sequential([Input((8, 8, 1)), Conv2D(4, 3, padding='same', activation='relu'), MaxPooling2D(), Flatten(), Dense(5)]),torch.rand(4, 8, 8, 1)
def recurrent(): return Sequential([Input((5, 3)), LSTM(4), Dense(2)]),torch.rand(4, 5, 3)
def attention():
    x = Input((5, 6))
    return Model(x, Dense(2)(GlobalAveragePooling1D()(x + MultiHeadAttention(2, 3)(x, x)))),torch.rand(4, 5, 6)
@pytest.fixture(autouse=True)
def fresh(): torch._dynamo.reset()   # else what was compiled for one model makes the next one's sizes dynamic

kinds = [dense, convolution, recurrent, attention]

@pytest.mark.slow
@pytest.mark.parametrize('make', kinds)
def test_inductor(make):
    "Outputs and gradients of the compiled model are those of the model"
    model,x = make()
    fast = torch.compile(model)   # inductor, the default
    want,got = model(x),fast(x)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    weights = list(model.parameters())
    slope = torch.linspace(.5, 1.5, want.numel()).reshape(want.shape)
    for a, b in zip(torch.autograd.grad((got*slope).sum(), weights), torch.autograd.grad((want*slope).sum(), weights)): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)

@pytest.mark.slow
@pytest.mark.parametrize('make', kinds)
def test_strict_export(make):
    model,x = make()
    model.eval()
    torch.testing.assert_close(torch.export.export(model, (x,), strict=True).module()(x), model(x), atol=1e-5, rtol=1e-5)
