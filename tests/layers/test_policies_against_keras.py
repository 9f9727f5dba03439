"Every layer of the grids under the narrow and mixed policies: dtypes of outputs, weights and gradients, and the numbers near those in float32."
import pytest, torch
from against import data, is_nest, of, tensors
from test_against_keras import convolution, core, merging, normalization, pooling
import upslope.layers as ours

def seldom(cases, n): return [c for i, c in enumerate(cases) if i % n == 0]   # each class many times still: dtypes do not depend on strides
grid = core + merging + seldom(convolution, 3) + seldom(pooling, 2) + normalization + [
    *[pytest.param(name, (3, 5, 3), (4,), setting, {}, 'float32', {}, id=f'{name}-{setting}') for name in ('SimpleRNN', 'LSTM', 'GRU') for setting in (dict(return_sequences=True), dict(activation='relu'), dict(return_state=True, go_backwards=True))],
    pytest.param('RNN', (3, 5, 3), (of(lambda L: [L.GRUCell(4), L.LSTMCell(6)]),), {}, {}, 'float32', {}, id='RNN'),
    *[pytest.param('Bidirectional', (3, 5, 3), (of(lambda L, n=n: getattr(L, n)(4, return_sequences=True)),), {}, {}, 'float32', {}, id=f'Bidirectional-{n}') for n in ('LSTM', 'GRU', 'SimpleRNN')],
    *[pytest.param(f'ConvLSTM{r}D', s, (3, 2), {}, {}, 'float32', {}, id=f'ConvLSTM{r}D') for r, s in ((1, (2, 3, 6, 2)), (2, (2, 3, 6, 5, 2)), (3, (1, 2, 4, 5, 4, 2)))],
    *[pytest.param(n, [(2, 4, 6), (2, 3, 6)], (), k, {}, 'float32', {}, id=f'{n}-{k}') for n, k in (('Attention', {}), ('Attention', dict(use_scale=True)), ('Attention', dict(score_mode='concat')), ('AdditiveAttention', {}))],
    *[pytest.param(n, [(2, 4, 8), (2, 3, 8)], a, k, dict(apart=True), 'float32', {}, id=f'{n}-{k}') for n, a in (('MultiHeadAttention', (2, 3)), ('GroupQueryAttention', (3, 4, 2))) for k in ({}, dict(use_gate=True), dict(use_bias=False))]]

class Names:
    "The layers of the room, each made with one policy"
    def __init__(self, policy): self.policy = policy
    def __getattr__(self, name): return lambda *args, **kwargs: getattr(ours, name)(*args, **kwargs, dtype=self.policy)

def made(name, args, kwargs, policy):
    library = Names(policy)
    def own(v): return v(library) if getattr(v, 'made', False) else v
    return getattr(library, name)(*map(own, args), **{k: own(v) for k, v in kwargs.items()})

@pytest.mark.parametrize('policy', ['float16', 'bfloat16', 'mixed_float16', 'mixed_bfloat16'])
@pytest.mark.parametrize('name,shapes,args,kwargs,call,dtype,check', grid)
def test_policy(name, shapes, args, kwargs, call, dtype, check, policy):
    call = dict(call)
    apart,narrow,variable = call.pop('apart', False),getattr(torch, policy.removeprefix('mixed_')),torch.float32 if policy.startswith('mixed') else getattr(torch, policy)
    xs = [torch.tensor(data(s, dtype, i)) for i, s in enumerate(shapes if is_nest(shapes) else [shapes])]
    if narrow == torch.float16: xs = [x.clamp(-3, 3) for x in xs]
    def run(layer): return tensors(layer(*xs, **call) if apart or len(xs) == 1 else layer(xs, **call))
    full,layer = made(name, args, kwargs, 'float32'),made(name, args, kwargs, policy)
    if 'training' not in call: full.eval(), layer.eval()
    run(full), run(layer)
    layer.set_weights(full.get_weights())
    want,got = run(full),run(layer)
    for w, g in zip(want, got, strict=True):
        assert g.dtype == (narrow if w.is_floating_point() else w.dtype) and g.shape == w.shape
        scale = float(w.detach().abs().max()) + 1e-3
        error = float((g.detach().float() - w.detach().float()).abs().max())/scale
        assert error < (.1 if narrow == torch.bfloat16 else .02), error
    weights = list(layer.parameters())
    assert all(w.dtype == variable for w in weights), [w.dtype for w in weights]
    trained = [w for w in weights if w.requires_grad]
    if trained and 'SpectralNormalization' not in name:
        sum(g.float().sum() for g in got if g.requires_grad).backward()
        used = [w.grad for w in trained if w.grad is not None]
        assert used and all(g.dtype == variable and g.isfinite().all() for g in used)
