"What is composed is an ordinary module: it is trained, compiled, exported, copied, saved, hooked and shown; and each combinator is the module that one would write"
import copy, io, pickle
import pytest, torch
from torch import nn
from hypothesis import given, settings, strategies as st
from upslope.core import *
from upslope.core.composition import Concat, add
from upslope.layers import BatchNormalization, Dense, Dropout, Embedding, Flatten, GlobalAveragePooling1D, Input, LSTMCell, LayerNormalization, Model, LSTM, SimpleRNNCell

torch.manual_seed(0)
def mlp(): return Flatten() >> Dense(16, activation='relu') >> residual(Dense(16) >> torch.tanh) >> Dense(10)
def cell(): return recurrently(concat >> Dense(8) >> torch.tanh)
def at_time(): return typed('b t n 1 -> b t n')(lambda x: x.squeeze(-1))   # the rows of a picture, one after the other

def test_a_learner_trains_it():
    from upslope.data import loaders, sources
    from upslope.train import Learner
    torch.manual_seed(0)
    model = mlp().on('B', 8, 8, 1)
    learn = Learner(loaders(sources.digits(), pipeline='standardize'), model, 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    learn.fit(2, 1e-2)
    assert learn.validate()[1] > .85

@pytest.mark.parametrize('make', [lambda: mlp(), lambda: at_time() >> zero_state(unroll_last(cell())) >> Dense(10)], ids=['mlp', 'rnn'])
def test_a_population_trains_it(make):
    "Stacked, the members of a composition are the same runs as one after the other, and they learn"
    from upslope.data import loaders, sources
    from upslope.train import Population
    dls = loaders(sources.digits(), pipeline='standardize')
    stacked, alone = (Population(make, dls, [dict(seed=s, lr=lr) for s, lr in ((0, .01), (1, .003), (2, .01))], metrics='accuracy', engine=e).fit(2) for e in ('stacked', 'loop'))
    for i in range(3):
        assert stacked.losses(i)[:10] == pytest.approx(alone.losses(i)[:10], abs=1e-5)
        assert stacked.member(i)(dls.valid.xs[0][:3]).shape == (3, 10)
    assert stacked.table.accuracy.max() > .4, stacked.table   # a tenth is chance

def test_weights_are_made_when_they_are_asked_for():
    declared = mlp().on('B', 8, 8, 1)
    assert not declared.dense.built
    assert len(list(declared.parameters())) == 6 and declared.dense.built
    assert len(mlp().on('B', 8, 8, 1).state_dict()) == 6
    assert len(list(mlp().parameters())) == 0
    assert [tuple(p.shape) for p in train_state(unroll(cell())).on('B', 'T', 3).parameters()] == [(1, 8), (8, 11), (8,)]
    f = mlp()
    f.build((None, 8, 8, 1))
    assert len(list(f.parameters())) == 6
    with pytest.raises(ArgumentError, match='does not know its input yet'): mlp().build()

@pytest.mark.parametrize('f,x', [(mlp(), torch.randn(3, 8, 8, 1)), (zero_state(unroll(cell())), torch.randn(2, 4, 3)), (Embedding(9, 4) >> LSTM(5) >> Dense(2), torch.randint(9, (2, 6))), ((Dense(3) & Dense(4)) >> concat, torch.randn(2, 5))], ids=['mlp', 'rnn', 'lstm', 'fan'])
def test_copied_saved_compiled_exported(f, x):
    y = f(x)
    assert torch.equal(copy.deepcopy(f)(x), y) and torch.equal(pickle.loads(pickle.dumps(f))(x), y)
    other = copy.deepcopy(f)
    with torch.no_grad():
        for p in other.parameters(): p.zero_()
    assert not torch.equal(other(x), y)
    kept = io.BytesIO()
    torch.save(f.state_dict(), kept); kept.seek(0)
    other.load_state_dict(torch.load(kept, weights_only=True))
    assert torch.equal(other(x), y)
    assert torch.allclose(torch.export.export(f, (x,)).module()(x), y, atol=1e-6)
    with torch.no_grad(): assert torch.allclose(torch.compile(f, fullgraph=True, backend='eager')(x), y, atol=1e-6)

def test_compiled_before_it_was_called():
    x = torch.randn(3, 8, 8, 1)
    f = mlp()
    run = torch.compile(f, backend='eager')
    assert torch.allclose(run(x), f(x)) and torch.allclose(run(x), f(x))
    built = mlp().on('B', 8, 8, 1).build()
    assert torch.allclose(torch.compile(built, backend='eager', fullgraph=True)(x), built(x))

def test_many_members_at_once():
    "What a population needs: parameters stacked, one call"
    f,x = mlp(),torch.randn(3, 8, 8, 1)
    f(x)
    stacked = torch.utils._pytree.tree_map(lambda p: torch.stack([p, 2*p]), f.params)
    both = torch.vmap(lambda p: f.apply(p, x))(stacked)
    assert torch.allclose(both[0], f(x), atol=1e-6) and not torch.allclose(both[1], f(x))

def test_train_and_eval_reach_the_parts():
    f,x = Dense(4) >> Dropout(.5) >> BatchNormalization(),torch.randn(64, 3)
    f.eval()
    assert torch.equal(f(x), f(x))
    f.train()
    assert not torch.equal(f(x), f(x))

def test_masks_pass_through():
    x = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]])
    f = Embedding(5, 4, mask_zero=True) >> Dense(4) >> GlobalAveragePooling1D()
    table,dense = f.embedding,f.dense
    assert torch.allclose(f(x)[1], dense(table(torch.tensor([[3]]))).reshape(4), atol=1e-6)

def test_in_a_graph_it_is_its_layers():
    f = Dense(4, activation='relu') >> residual(Dense(4)) >> Dense(2)
    inputs = Input((3,))
    model = Model(inputs, f(inputs))
    x = torch.randn(5, 3)
    assert torch.equal(model(x), f(x)) and {'dense', 'dense_1', 'dense_2'} <= set(model._modules) | {l.name for l in model.layers}

def test_hooks_of_named_parts_and_of_layers():
    inner = (Dense(4) >> torch.tanh).named('encoder')
    f,seen = inner >> Dense(2),[]
    inner.register_forward_hook(lambda *a: seen.append('encoder'))
    f.dense.register_forward_hook(lambda *a: seen.append('dense'))
    f(torch.randn(2, 3))
    assert seen == ['encoder', 'dense'] and list(f.params) == ['encoder', 'dense']

def test_it_is_shown():
    from upslope.layers.summary import Summary, rows_of
    f = mlp().on('B', 8, 8, 1).build()
    text = Summary(f).text()
    assert '1,482' in text and 'residual.add' in text    # 64*16+16, 16*16+16, 16*10+10
    assert sum(r.params for r in rows_of(f)) == sum(p.numel() for p in f.parameters())
    assert 'residual.add' in f.plot(graphviz=False).svg
    assert 'Flatten' in repr(f) and 'B 8 8 1 -> B 10' in repr(f)
    rows_of(unroll(cell()).on('B', 'T', 3)); (Dense(3)*Dense(4)).on(('B', 2), ('B', 3)).plot(graphviz=False)

def test_keras_cells_are_steps():
    for make in (SimpleRNNCell, LSTMCell):
        step,xs = make(6),torch.randn(2, 5, 3)
        ys,state = unroll(step)(xs)
        assert ys.shape == (2, 5, 6) and (state[0] if isinstance(state, tuple) else state).shape == (2, 6)
        again = unroll(step)(xs[:, :2])
        assert torch.allclose(unroll(step)(xs[:, 2:], again[1])[0], ys[:, 2:], atol=1e-6)

def test_torchs_modules_with_a_state():
    own = nn.GRU(3, 4, batch_first=True)
    f = lift(own) >> nn.Linear(4, 2)
    x = torch.randn(2, 5, 3)
    y,state = f(x)
    assert torch.allclose(y, f.linear(own(x)[0])) and state.shape == (1, 2, 4)
    assert zero_state(f)(x).shape == (2, 5, 2)

def test_several_inputs_in_any_form():
    f = typed('b n, b n -> b n')(torch.add) >> Dense(2)
    a,b = torch.randn(2, 2, 3)
    assert torch.equal(f(a, b), f((a, b)))
    g = typed('{image: b n, label: b} -> b n')(lambda o: o['image']*o['label'][:, None]) >> Dense(2)
    assert str(g.on({'image': ('B', 3), 'label': ('B',)}).signature) == '{image: B 3, label: B} -> B 2'
    assert g({'image': a, 'label': torch.ones(2)}).shape == (2, 2)

# -- each combinator, against the module that one would write: value and gradient

def by_hand():
    lin = lambda a, b: nn.Linear(a, b, dtype=torch.float64)
    p,q,r,s = lin(4, 4),lin(4, 4),lin(4, 3),lin(8, 4)
    def loop(f, n):
        def run(x):
            for _ in range(n): x = f(x)
            return x
        return run
    def recur(xs):
        h,out = torch.zeros(xs.shape[0], 4, dtype=xs.dtype),[]
        for x in xs.unbind(1): h = torch.tanh(s(torch.cat([x, h], -1))); out.append(h)
        return torch.stack(out, 1)
    def lags(xs):
        before = torch.cat([torch.zeros_like(xs[:, :1]), xs[:, :-1]], 1)
        return s(torch.cat([before, xs], -1))
    def alone(x):
        out = []
        for _ in range(3): x = torch.tanh(p(x)); out.append(x)
        return torch.stack(out, 1)
    one = recurrently(concat >> s >> torch.tanh)
    return {
        'chain': (lift(p) >> torch.tanh >> r, lambda x: r(torch.tanh(p(x)))), 'backwards': (lift(r) << p, lambda x: r(p(x))), 'fan-out': ((lift(p) & r) >> concat, lambda x: torch.cat([p(x), r(x)], -1)),
        'parallel': (dup >> lift(p)*q >> add, lambda x: p(x) + q(x)), 'first': (dup >> first(p) >> concat, lambda x: torch.cat([p(x), x], -1)), 'second': (dup >> second(r) >> concat, lambda x: torch.cat([x, r(x)], -1)),
        'swap': ((lift(p) & r) >> swap >> concat, lambda x: torch.cat([r(x), p(x)], -1)), 'residual': (residual(p), lambda x: x + p(x)), 'residual_with': (residual_with(p, q), lambda x: p(x) + q(x)),
        'iterate': (iterate(lift(p) >> torch.tanh, 3), loop(lambda x: torch.tanh(p(x)), 3)), 'concat at an axis': ((lift(p) & q) >> Concat(0), lambda x: torch.cat([p(x), q(x)], 0)),
        'choice': (lift(lambda x: ((x[:, 0] > 0).long(), x), 'b n -> b, b n') >> choice(p, q), lambda x: torch.where((x[:, :1] > 0), q(x), p(x))), 'batch': (batch(p), p),
        'unroll': (zero_state(unroll(one)), recur), 'unroll_last': (zero_state(unroll_last(one)), lambda x: recur(x)[:, -1]), 'fold': (fold(concat >> s >> torch.tanh), lambda x: recur(x)[:, -1]),
        'lagged': (zero_state(unroll(lagged(s, 2))), lags), 'feedback': (feedback(lift(p) >> torch.tanh, 3), alone), 'shared twice': (lift(p) >> torch.tanh >> p, lambda x: p(torch.tanh(p(x)))),
        'frozen': (freeze_with(lift(p) >> q, where='linear.*') , lambda x: nn.functional.linear(x, p.weight.detach(), p.bias.detach())@q.weight.T + q.bias),
        'tied': (share(lift(p) >> q, {'linear_1.weight': 'linear.weight'}, via=lambda w: w.T), lambda x: p(x)@p.weight + q.bias),
    }
PAIRS = by_hand()

@pytest.mark.parametrize('name', PAIRS)
@settings(max_examples=5, deadline=None, database=None, derandomize=True)
@given(n=st.integers(1, 4), t=st.integers(1, 4), seed=st.integers(0, 99))
def test_value_and_gradient_are_those_of_the_module_by_hand(name, n, t, seed):
    ours,hand = PAIRS[name]
    g = torch.Generator().manual_seed(seed)
    shape = (n, t, 4) if name in ('unroll', 'unroll_last', 'fold', 'lagged') else (n, 4)
    x = torch.randn(shape, dtype=torch.float64, generator=g).requires_grad_()
    weights = [p for p in ours.parameters()]
    y,z = ours(x),hand(x)
    assert torch.allclose(y, z, atol=1e-12)
    w = torch.randn(y.shape, dtype=torch.float64, generator=g)
    for a, b in zip(torch.autograd.grad((y*w).sum(), [x, *weights]), torch.autograd.grad((z*w).sum(), [x, *weights])): assert torch.allclose(a, b, atol=1e-10)

def test_repeat_draws_each_anew():
    f = repeat(LayerNormalization() >> Dense(4, activation='tanh'), 3)
    x = torch.randn(2, 4)
    y = x
    f(x)
    for i in range(3): y = f.part(f'dense_{i}' if i else 'dense')(f.part(f'layer_normalization_{i}' if i else 'layer_normalization')(y))
    assert torch.equal(f(x), y) and len(list(f.parameters())) == 12
    assert not torch.equal(f.dense.weight, f.dense_1.weight)
