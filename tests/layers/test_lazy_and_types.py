"PyTorch's lazy modules are layers too; `.double()` and the like hold for weights that are still to be made; a wrong type of numbers is told in words"
import numpy as np, pytest, torch
from torch import nn
from upslope.core import lift, residual
from upslope.core.errors import ShapeError
from upslope.data import loaders, sources
from upslope.layers import GRU, LSTM, BatchNormalization, Bidirectional, Conv2D, Dense, Embedding, Flatten, GlobalAveragePooling2D, Input, LayerNormalization, Model, MultiHeadAttention, Sequential, SignatureError
from upslope.train import Learner

# -- lazy modules
def lazy(make):
    "The model as we build it, and the same one as PyTorch does"
    return Sequential(make()), nn.Sequential(*make())

@pytest.mark.parametrize('make,shape', [
    (lambda: [nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2)], (5, 4)),
    (lambda: [nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)], (5, 3, 8, 8)),
    (lambda: [nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyInstanceNorm1d(affine=True)), nn.Flatten(), nn.LazyLinear(2)], (5, 3, 8))], ids=['dense', 'conv', 'nested'])
def test_a_lazy_module_is_made_by_the_first_shape_as_pytorch_makes_it(make, shape):
    ours, theirs = lazy(make)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0); ours.build((None, *shape[1:]))
    assert not any(map(nn.parameter.is_lazy, (*ours.parameters(), *ours.buffers())))   # before any data
    torch.manual_seed(0); theirs.eval()(x); ours.eval()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert all(b.eq({'num_batches_tracked': 0, 'running_mean': 0, 'running_var': 1}[n.split('.')[-1]]).all() for n, b in ours.named_buffers())   # no data have been seen
    for p, q in zip(ours.parameters(), theirs.parameters()): assert torch.equal(p, q)
    assert torch.equal(ours(x), theirs(x))

def test_in_a_graph_a_chain_and_a_residual():
    i = Input((3, None, None))
    model = Model(i, GlobalAveragePooling2D(data_format='channels_first')(nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d())(i)))
    assert model(torch.ones(2, 3, 9, 7)).shape == (2, 4)                     # the size of the pictures may stay open
    chain = (lift(nn.LazyLinear(3)) >> Dense(2)).on('b', 7)
    assert str(chain.signature) == 'b 7 -> b 2' and [tuple(p.shape) for p in chain.parameters()] == [(3, 7), (3,), (2, 3), (2,)]
    assert residual(lift(nn.LazyLinear(4)))(torch.ones(2, 4)).shape == (2, 4)
    with pytest.raises(ShapeError, match=r'3 is not 4(.|\n)*fix:  LazyLinear\(4\)'): residual(lift(nn.LazyLinear(3))).on('b', 4)
    for make in (lambda: nn.LazyLinear(3)(Input((None,))), lambda: list((lift(nn.LazyLinear(3)) >> Dense(2)).on('b', 'n').parameters())):
        with pytest.raises(ShapeError, match='one that is not known'): make()
    with pytest.raises(ShapeError, match=r'got:  \(None, 4\)'): nn.LazyConv2d(3, 3)(Input((4,)))

def test_a_learner_trains_them():
    torch.manual_seed(0)
    learn = Learner(loaders(sources.digits(), pipeline='standardize'), Sequential([Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(10)]), 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    learn.fit(3, 1e-2)
    assert learn.recorder.rows[-1]['accuracy'] > .8

# -- types of numbers
MADE = dict(
    dense=(lambda: Sequential([Dense(5, 'relu'), LayerNormalization(), Dense(3)]), (2, 4)), conv=(lambda: Sequential([Conv2D(3, 3), BatchNormalization(), Flatten(), Dense(2)]), (1, 5, 5, 2)),
    words=(lambda: Sequential([Embedding(5, 3), LSTM(4), Dense(2)]), None), both_ways=(lambda: Bidirectional(GRU(2)), (1, 5, 4)), chain=(lambda: Dense(3) >> Dense(4), (2, 4)))
DTYPES = {'double': torch.float64, 'bfloat16': torch.bfloat16, 'float': torch.float32}

@pytest.mark.parametrize('built', [False, True])
@pytest.mark.parametrize('how', DTYPES)
@pytest.mark.parametrize('name', MADE)
def test_a_conversion_holds_before_and_after_the_weights_are_made(name, how, built):
    make, shape = MADE[name]
    x = torch.tensor([[1, 2, 0]]) if shape is None else torch.ones(shape)
    model = make()
    if built: model(x)
    model = getattr(model, how)()
    given = x if shape is None else x.to(DTYPES[how])
    assert model(given).dtype == DTYPES[how] and {p.dtype for p in model.parameters()} == {DTYPES[how]}
    assert getattr(model, how)().float()(x).dtype == torch.float32            # and back

def test_a_converted_model_takes_arrays_and_is_described_as_it_is():
    model = MADE['dense'][0]().double()
    assert model(np.ones((2, 4))).dtype == model(np.ones((2, 4), 'float32')).dtype == torch.float64
    again = type(model).from_config(model.get_config())
    assert again(torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64

@pytest.mark.parametrize('make', [lambda: Dense(3), lambda: MADE['dense'][0](), lambda: Sequential([nn.Linear(4, 3)]), lambda: Model(i := Input((4,)), Dense(3)(Dense(5)(i)))])
@pytest.mark.parametrize('dtype', [torch.float64, torch.float16])
def test_other_fractions_than_the_weights_are_told(make, dtype):
    with pytest.raises(SignatureError, match=rf'weights of float32(.|\n)*got:  x {str(dtype)[6:]}\n  need: x float32\n  fix:  x.float\(\)'): make()(torch.ones(2, 4, dtype=dtype))
def test_of_recurrent_layers_convolutions_and_attention_too():
    x = torch.ones(1, 5, 4, dtype=torch.float64)
    for call in (lambda: LSTM(3)(x), lambda: Bidirectional(GRU(2))(x), lambda: MultiHeadAttention(2, 3)(x, x), lambda: Conv2D(3, 3)(torch.ones(1, 5, 5, 2, dtype=torch.float64))):
        with pytest.raises(SignatureError, match=r'weights of float32(.|\n)*\.double\(\) for more digits'): call()
    with pytest.raises(SignatureError, match=r'multiplies numbers with fractions(.|\n)*got:  x int64'): Dense(3)(torch.ones(2, 4, dtype=torch.int64))
