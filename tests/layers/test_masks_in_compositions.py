"Masks in typed compositions: a padded row gives what the row alone gives, and what the same graph gives in Keras."
import copy, random, warnings
import pytest, torch
import against   # noqa: F401  sets Keras's backend
import keras
from torch import nn
import upslope.layers as ours
from upslope.core import (add, choice, concat, dup, fold, frozen_at, identity, iterate, lift, recurrently, repeat, residual,
                          residual_with, swap, typed, unroll, unroll_last, zero_state)
from upslope.layers.layer import Layer, masked

WIDTH = 8
IDS = torch.tensor([[3, 1, 2, 0, 0], [4, 0, 0, 0, 0], [5, 1, 2, 3, 4]])
LENGTHS = (3, 1, 5)

def embedding(mask_zero=True): return ours.Embedding(7, WIDTH, mask_zero=mask_zero)
def average(): return ours.GlobalAveragePooling1D()
def attention(): return ours.MultiHeadAttention(2, 4)
def transformer_block(): return residual(dup >> attention()) >> ours.LayerNormalization() >> residual(ours.Dense(16, 'relu') >> ours.Dense(WIDTH)) >> nn.LayerNorm(WIDTH)

def padding_changes(model, ids=IDS):
    "The largest difference between a padded row and the row alone"
    model.eval()
    with torch.no_grad():
        padded = model(ids)
        alone = [model(row[None, :n])[0] for row, n in zip(ids, LENGTHS)]
    return max((a[:n] - b[:n]).abs().max().item() for a, b, n in zip(padded, alone, LENGTHS))

@pytest.fixture(autouse=True)
def no_word_is_said():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        yield

# -- random compositions

def part(draw, depth):
    "A random function of (batch, time, WIDTH) that keeps the shape, and uses the mask where it looks along time"
    leaves = [lambda: ours.Dense(WIDTH, 'tanh'), lambda: nn.Linear(WIDTH, WIDTH), lambda: nn.LayerNorm(WIDTH), ours.LayerNormalization, nn.GELU, lambda: lift(torch.tanh),
              lambda: nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.Linear(4, WIDTH)), lambda: nn.Dropout(.5), lambda: nn.Softmax(-1),
              lambda: dup >> attention(), lambda: ours.LSTM(WIDTH, return_sequences=True), lambda: ours.Sequential([ours.Dense(WIDTH), ours.GRU(WIDTH, return_sequences=True)]),
              lambda: unroll(nn.Linear(WIDTH, WIDTH)), lambda: zero_state(unroll(recurrently(concat >> ours.Dense(WIDTH, 'tanh')))), lambda: zero_state(unroll(ours.LSTMCell(WIDTH)))]
    if not depth: return draw.choice(leaves)()
    inner = lambda: part(draw, depth - 1)
    nodes = [lambda: residual(inner()), lambda: lift(inner()) >> inner(), lambda: (lift(inner()) & inner()) >> add, lambda: (lift(inner()) & inner() & inner()) >> lift(_three) >> nn.Linear(2*WIDTH, WIDTH),
             lambda: dup >> (lift(inner()) * inner()) >> swap >> concat >> ours.Dense(WIDTH), lambda: iterate(lift(inner()), 2), lambda: residual_with(lift(inner()), nn.Linear(WIDTH, WIDTH)),
             lambda: (lift(inner()) >> inner()).named(f'part{draw.randrange(10**6)}'), lambda: ours.Sequential([lift(inner()), ours.Dense(WIDTH)]), lambda: nn.Sequential(lift(inner()), nn.Tanh()),
             lambda: (choose & identity) >> choice(lift(inner()), lift(inner()))]
    return draw.choice(nodes)()

@typed("(b t n, b t n), b t n -> b t 2*n")
def _three(xy, z, mask=None): return torch.cat([xy[0] + xy[1], z], -1)

@typed('b t n -> b')
def choose(x, mask=None): return torch.arange(len(x), device=x.device) % 2*0   # the same for a row alone

@pytest.mark.parametrize('seed', range(20))
def test_padded_is_alone(seed):
    draw = random.Random(seed)
    end = [average, lambda: ours.LSTM(4), lambda: unroll_last(ours.Dense(3)), lambda: fold(concat >> ours.Dense(5)), lambda: ours.Dense(3)][seed % 5]()
    model = embedding() >> part(draw, 2) >> part(draw, 1) >> end
    if seed % 5 == 2: model = embedding() >> part(draw, 2) >> zero_state(unroll_last(ours.GRUCell(3)))
    assert padding_changes(model) < 1e-5
    params = {k: v.detach() for k, v in model.named_parameters()}
    for again in (model.apply(model.params, IDS), torch.func.functional_call(model, params, (IDS,)), copy.deepcopy(model)(IDS)): torch.testing.assert_close(again, model(IDS))
    inside = ours.Sequential([model])
    assert padding_changes(inside) < 1e-5
    torch.testing.assert_close(inside(IDS), model(IDS))

# -- everywhere

WAYS = {
    'alone': lambda: embedding() >> repeat(transformer_block(), 3) >> average(),
    'with its shape': lambda: (embedding() >> repeat(transformer_block(), 3) >> average()).on('b', 't'),
    'in a Sequential': lambda: ours.Sequential([embedding(), repeat(transformer_block(), 3), average()]),
    'short, in a Sequential': lambda: ours.Sequential([embedding(), ours.Dense(8) >> ours.Dense(8), average()]),
    'a Sequential that begins with one': lambda: ours.Sequential([embedding() >> transformer_block(), average()]),
    'a Sequential with an Input': lambda: ours.Sequential([ours.Input((None,), dtype='int64'), embedding(), transformer_block(), ours.LSTM(4)]),
    'around a Sequential': lambda: embedding() >> ours.Sequential([ours.Dense(8), transformer_block()]) >> average(),
    "around PyTorch's": lambda: embedding() >> nn.Sequential(nn.Linear(8, 8), nn.ReLU(), ours.GRU(8, return_sequences=True), transformer_block()) >> average(),
    'in a graph': lambda: graph(lambda e: transformer_block()(transformer_block()(e))),
    'in a Sequential in a graph': lambda: graph(lambda e: ours.Sequential([ours.Dense(8), transformer_block()])(e)),
    'named': lambda: embedding() >> transformer_block().named('first') >> transformer_block().named('second') >> average(),
    'frozen': lambda: frozen_at(embedding() >> transformer_block() >> average(), [], {}),
    'repeated': lambda: embedding() >> iterate(transformer_block(), 3) >> average()}

def graph(body):
    ids = ours.Input((None,), dtype='int64')
    return ours.Model(ids, average()(body(embedding()(ids))))

@pytest.mark.parametrize('way', WAYS)
def test_everywhere(way):
    model = WAYS[way]()
    model(IDS)
    assert padding_changes(model) < 1e-5
    torch.testing.assert_close(torch.func.functional_call(model, dict(model.state_dict()), (IDS,)), model(IDS))
    torch.testing.assert_close(copy.deepcopy(model)(IDS), model(IDS))
    for m in model.modules():
        if isinstance(m, ours.Embedding): m.emits_mask = m.mask_zero = False
    model = copy.deepcopy(model)   # writes its code again
    if 'graph' not in way and 'Sequential' not in way: assert padding_changes(model) > 1e-3   # the mask matters

@pytest.mark.parametrize('way', ['short, in a Sequential', "around PyTorch's", 'in a Sequential in a graph'])
def test_compiled_and_exported(way):
    model = WAYS[way]().eval()
    want = model(IDS)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, backend='aot_eager', fullgraph=True)(IDS), want)
    torch.testing.assert_close(torch.export.export(model, (IDS,)).module()(IDS), want)

def test_many_models_at_once():
    "As a Population trains them: a gradient for each of several sets of weights"
    model = embedding() >> transformer_block() >> average()
    model(IDS); model.eval()
    params = {k: torch.stack([v.detach(), v.detach()*1.1]) for k, v in model.named_parameters()}
    loss = lambda p, x: torch.func.functional_call(model, p, (x,)).square().sum()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')   # PyTorch has no batching rule for its attention
        padded = torch.vmap(torch.func.grad(loss), (0, None))(params, IDS[:1])
        alone = torch.vmap(torch.func.grad(loss), (0, None))(params, IDS[:1, :3])
    for k in padded: torch.testing.assert_close(padded[k], alone[k], atol=1e-5, rtol=1e-4)

# -- the ways in and out

def test_a_mask_by_hand_on_a_tensor_and_out_again():
    x,mask = torch.randn(3, 5, WIDTH),IDS != 0
    chain = residual(ours.Dense(WIDTH)) >> nn.Linear(WIDTH, 4)
    plain = chain(x)
    y,out = chain(x, mask=mask, return_mask=True)
    assert type(plain) is torch.Tensor and type(y) is torch.Tensor and out is mask
    torch.testing.assert_close(y, plain)
    carried = chain(masked(x, mask))
    assert carried._keras_mask is mask
    pooled = chain >> average()
    torch.testing.assert_close(pooled(x, mask=mask), average()(carried))
    assert (pooled(x) - pooled(x, mask=mask)).abs().max() > 1e-3
    both = lift(ours.Dense(WIDTH)) * ours.Dense(WIDTH)
    (a, b),(k, none) = both(x, x, mask=(mask, None), return_mask=True)
    assert k is mask and none is None
    steps = zero_state(unroll(recurrently(concat >> ours.Dense(4))))
    assert steps(x, mask=mask, return_mask=True)[1] is mask

def test_no_mask_costs_nothing():
    "The code that runs without masks is the code that ran before there were any"
    chain = residual(ours.Dense(WIDTH)) >> nn.LayerNorm(WIDTH) >> nn.Linear(WIDTH, 2)
    chain(torch.randn(2, 3, WIDTH))
    assert 'mask' not in chain._run.source and 'k' not in chain._run.__code__.co_varnames and chain._run_masked is None

class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
    def forward(self, x): return self.conv(x.mT).mT

ENDS = {'a function': lambda x: x.flip(1), 'a convolution': Convolved, 'a softmax over time': lambda: nn.Softmax(1), 'a plain GRU': lambda: nn.Sequential(Convolved(), nn.ReLU())}

@pytest.mark.parametrize('name', ENDS)
@pytest.mark.parametrize('inside', [False, True])
def test_what_cannot_keep_it_says_so_once(name, inside):
    f = ENDS[name] if name == 'a function' else ENDS[name]()
    model = embedding() >> ours.Dense(WIDTH) >> f >> average()
    if inside: model = ours.Sequential([embedding(), lift(f) >> ours.Dense(WIDTH), average()])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        for _ in range(3): model(IDS)
    assert len(told) == 1 and 'cannot keep the mask of its input and drops it' in str(told[0].message)

@pytest.mark.parametrize('module', [nn.Conv1d(5, 5, 1), nn.Flatten(), nn.Softmax(1)])
def test_a_plain_module_between_layers_says_so(module):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        ours.Sequential([ours.Input((5,), dtype='int64'), embedding(), module, ours.Dense(3)])
    assert 'cannot keep the mask' in str(told[0].message)
    with warnings.catch_warnings():   # and one that keeps it says nothing
        warnings.simplefilter('error')
        model = ours.Sequential([ours.Input((None,), dtype='int64'), embedding(), nn.Linear(8, 8), nn.Sequential(nn.GELU(), nn.LayerNorm(8)), average()])
    assert padding_changes(model) < 1e-6

def test_nothing_is_lost_without_a_word_in_compiled_code():
    "Between two compositions that PyTorch's own chain calls, no tensor carries a mask while the code is compiled"
    model = nn.Sequential(embedding() >> residual(ours.Dense(WIDTH)), ours.Dense(WIDTH) >> average())
    model(IDS)
    assert padding_changes(model) < 1e-6
    torch._dynamo.reset()
    with pytest.warns(UserWarning, match='cannot keep the mask'): torch.compile(model, backend='eager')(IDS)

def test_a_function_that_names_the_mask_gets_it():
    def total(x, mask=None): return x.sum(1) if mask is None else (x*mask.unsqueeze(-1)).sum(1)
    assert padding_changes(embedding() >> residual(ours.Dense(WIDTH)) >> total) < 1e-6

# -- against the graph of Keras

def library(lib): return keras.layers if lib is keras else ours

def keras_graph(body):
    L = keras.layers
    ids = L.Input((5,), dtype='int32')
    return keras.Model(ids, body(L, L.Embedding(7, WIDTH, mask_zero=True)(ids)))

def feed_forward(L, x): return L.Add()([L.Dense(WIDTH)(L.Dense(16, 'relu')(x)), x])
def attended(L, x): return L.Add()([L.MultiHeadAttention(2, 4)(x, x), x])

PROGRAMS = {
    'transformer': (lambda L, x: L.GlobalAveragePooling1D()(feed_forward(L, L.LayerNormalization(epsilon=1e-3)(attended(L, x)))),
                    lambda: residual(dup >> attention()) >> ours.LayerNormalization() >> residual(ours.Dense(16, 'relu') >> ours.Dense(WIDTH)) >> average()),
    'two ways': (lambda L, x: L.LSTM(4)(L.Concatenate()([L.Dense(3)(x), L.GRU(5, return_sequences=True)(x)])),
                 lambda: (lift(ours.Dense(3)) & ours.GRU(5, return_sequences=True)) >> concat >> ours.LSTM(4)),
    'added': (lambda L, x: L.GlobalAveragePooling1D()(L.Add()([L.Bidirectional(L.LSTM(4, return_sequences=True))(x), L.Dense(8)(x)])),
              lambda: (lift(ours.Bidirectional(ours.LSTM(4, return_sequences=True))) & ours.Dense(8)) >> add >> average()),
    'one after the other in time': (lambda L, x: L.GlobalAveragePooling1D()(L.Concatenate(axis=1)([L.Dense(4)(x), L.Dense(4)(x)])),
                                    lambda: (lift(ours.Dense(4)) & ours.Dense(4)) >> type(concat)(1) >> average())}

@pytest.mark.parametrize('name', PROGRAMS)
def test_as_in_keras(name):
    theirs_body,mine_body = PROGRAMS[name]
    theirs,mine = keras_graph(theirs_body),embedding() >> mine_body()
    mine(IDS); mine.eval()
    weights = theirs.get_weights()
    parts = [m for m in mine.modules() if isinstance(m, Layer) and m._weight_names or isinstance(m, ours.MultiHeadAttention)]
    for p in top_layers(mine):
        n = len(p.get_weights())
        p.set_weights(weights[:n])
        weights = weights[n:]
    assert not weights and parts
    want = torch.as_tensor(theirs(IDS.int())).detach()
    torch.testing.assert_close(mine(IDS).detach(), want, atol=1e-5, rtol=1e-5)
    unmasked = copy.deepcopy(mine)
    unmasked.embedding.emits_mask = unmasked.embedding.mask_zero = False
    assert (unmasked(IDS) - want).abs().max() > 1e-3

def top_layers(module):
    "The layers in it, without those inside of layers"
    if isinstance(module, Layer): return [module]
    return [m for child in module.children() for m in top_layers(child)]
