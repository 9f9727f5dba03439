"The type of PyTorch's own chain is the type that running it shows; a wrong one is told when it is composed."
import random
import pytest, torch
from torch import nn
from upslope.core import ShapeError, compose, lift
from upslope.core.functions import structure_of_tensors
from upslope.core.signatures import shown
from upslope.core.tracing import signature_of
from upslope.core.unification import Unifier

class Doubled(nn.Sequential):
    def forward(self, x): return 2*super().forward(x)
class Renamed(nn.Sequential): "Computes what `nn.Sequential` computes"

def dense(draw):
    "(modules, an input) of features in the last axis"
    sizes = [draw.randint(1, 6) for _ in range(draw.randint(2, 5))]
    modules = []
    for a, b in zip(sizes, sizes[1:]):
        lazy = draw.random() < .2
        modules += [nn.LazyLinear(b) if lazy else nn.Linear(a, b), draw.choice([nn.ReLU, nn.Tanh, nn.Identity, nn.Dropout])()]
        if draw.random() < .3: modules.append(nn.LayerNorm(b))
    return modules,torch.randn(*[2]*draw.randint(1, 3), sizes[0])

def pictures(draw):
    "(modules, an input) of channels first"
    channels = [draw.randint(1, 4) for _ in range(3)]
    modules = [nn.Conv2d(channels[0], channels[1], 3, padding=draw.choice([0, 1])), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(channels[1], channels[2], draw.choice([1, 2]), stride=draw.choice([1, 2]))]
    if draw.random() < .5: modules += [nn.BatchNorm2d(channels[2])]
    if draw.random() < .7: modules += [nn.Flatten(), nn.LazyLinear(3)]
    return modules,torch.randn(2, channels[0], draw.randint(9, 12), draw.randint(9, 12))

def nested(draw, modules):
    "The same modules, some of them in chains of their own"
    if len(modules) < 3: return nn.Sequential(*modules)
    i,j = sorted(draw.sample(range(len(modules) + 1), 2))
    kind = draw.choice([nn.Sequential, Renamed])
    return kind(*modules[:i], nested(draw, modules[i:j]) if j - i < len(modules) else nn.Sequential(*modules[i:j]), *modules[j:])

@pytest.mark.parametrize('seed', range(40))
def test_as_running_shows(seed):
    draw = random.Random(seed)
    modules,x = draw.choice([dense, pictures])(draw)
    chain = nested(draw, modules).eval()
    u = Unifier()
    s = u.fresh(signature_of(chain))
    u.unify(structure_of_tensors(x), s.takes)
    u.settle()
    assert shown(u(s.gives)) == ' '.join(map(str, chain(x).shape))
    composed = lift(chain) >> torch.tanh
    torch.testing.assert_close(composed(x), torch.tanh(chain(x)))

def test_known_before_the_data_come():
    assert str(lift(nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 2))).signature) == '... 2 -> ... 2'
    assert str(lift(Renamed(nn.Linear(2, 8), nn.Sequential(nn.ReLU(), nn.Linear(8, 3)))).signature) == '... 2 -> ... 3'
    assert str(compose(nn.Linear(5, 2), nn.Sequential()).signature) == '... 5 -> ... 2'
    assert str(signature_of(Doubled(nn.Linear(2, 3)))) == "'a -> 'b"   # it may compute anything
    assert str(signature_of(nn.Sequential(nn.GRU(2, 3, batch_first=True)))) == "'a -> 'b"   # its state is part of what it gives

@pytest.mark.parametrize('compose_it', [lambda f: lift(torch.tanh) >> f, lambda f: lift(f) >> torch.tanh, lambda f: compose(f, nn.ReLU()), lift, lambda f: nn.Linear(3, 2) and lift(nn.Linear(3, 2)) >> nn.Sequential(f)])
def test_a_wrong_one_is_told_when_composed(compose_it):
    with pytest.raises(ShapeError, match=r'8 is not 4[\s\S]*fix:  Linear\(8, 2\)'): compose_it(nn.Sequential(nn.Linear(2, 8), nn.Linear(4, 2)))
