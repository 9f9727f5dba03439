"The same model eager, compiled, exported, called functionally, mapped, copied, saved: one result."
import copy, pickle
import pytest, torch
from upslope.core.seeds import seeded
from upslope.layers import *

def cnn(): return Sequential([Input((8, 8, 1)), Conv2D(4, 3, strides=2, padding='same', activation='relu'), BatchNormalization(), MaxPooling2D(), SeparableConv2D(3, 2), Flatten(), Dropout(.2), Dense(5, 'softmax')]),torch.rand(3, 8, 8, 1)
def residual():
    x = Input((6,))
    h = Dense(6, 'gelu')(x)
    return Model(x, Dense(2)(torch.nn.Tanh()(LayerNormalization()(x + h*2))[:, :4])),torch.rand(3, 6)
def reader():
    x = Input((5,), dtype='int64')
    e = Embedding(7, 4, mask_zero=True)(x)
    h = MultiHeadAttention(2, 3)(e, e)
    return Model(x, Dense(2)(GlobalAveragePooling1D()(h))),torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 1, 2], [3, 0, 0, 0, 0]])
def recurrent(): return Sequential([Input((5, 3)), Bidirectional(GRU(4, return_sequences=True)), LSTM(3), Dense(2)]),torch.rand(3, 5, 3)

makers = [cnn, residual, reader, recurrent]

@pytest.mark.parametrize('make', makers)
def test_copies_agree(make, tmp_path):
    model,x = make()
    model.eval()
    want = model(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), want)
    torch.testing.assert_close(torch.func.functional_call(model, dict(model.state_dict()), (x,)), want)
    other = make()[0].eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), want)
    if make is not residual:   # a plain torch module inside has no description of its own
        model.save(tmp_path/'m')
        torch.testing.assert_close(load(tmp_path/'m').eval()(x), want)
        torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), want)
    other.set_weights(model.get_weights())
    torch.testing.assert_close(other(x), want)

@pytest.mark.parametrize('make', makers)
def test_exported(make):
    model,x = make()
    model.eval()
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))

@pytest.mark.parametrize('make', makers)
def test_compiled(make):
    model,x = make()
    model.eval()
    torch.testing.assert_close(torch.compile(model, backend='eager', fullgraph=make is not recurrent)(x), model(x))

@pytest.mark.parametrize('make', [cnn, residual, recurrent])
@pytest.mark.parametrize('training', [False, True])
def test_mapped_over_members(make, training):
    "Members stacked and mapped are the members one by one, gradients too"
    members = [make()[0].train(training) for _ in range(3)]
    x = make()[1]
    for m in members:
        for o in m.modules():
            if isinstance(o, Dropout): o.rate = 0.
    states = [dict(m.named_parameters()) | dict(m.named_buffers()) for m in members]
    stacked = {k: torch.stack([s[k].detach() for s in states]) for k in states[0]}
    base = copy.deepcopy(members[0])
    got = torch.func.vmap(lambda s: torch.func.functional_call(base, s, (x,)), randomness='different')(stacked)
    for m, y in zip(members, got): torch.testing.assert_close(y, m(x), atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('policy', ['float16', 'bfloat16', 'mixed_float16', 'mixed_bfloat16', 'float64'])
def test_policies(policy):
    layers = [Dense(4, 'relu', dtype=policy), Dense(3, dtype=policy)]
    model = Sequential([Input((5,)), *layers])
    y = model(torch.rand(2, 5))
    assert y.dtype == getattr(torch, policy.removeprefix('mixed_'))
    assert layers[0].weight.dtype == (torch.float32 if policy.startswith('mixed') else y.dtype)
    y.float().sum().backward()
    assert layers[0].weight.grad.dtype == layers[0].weight.dtype

def test_seeded_twice():
    with seeded(3, 'init'): a = cnn()[0]
    with seeded(3, 'init'): b = cnn()[0]
    for u, v in zip(a.get_weights(), b.get_weights()): assert (u == v).all()

def test_no_growth():
    import gc
    model,x = cnn()
    def run():
        for _ in range(50): model(x).sum().backward()
        for _ in range(20): Sequential([Input((3,)), Dense(4)])(torch.rand(1, 3))
        gc.collect()
        return len(gc.get_objects())
    run()
    before = run()
    assert run() - before < 50

def test_thousand_layers():
    model = Sequential([Input((4,))] + [Dense(4) for _ in range(1000)])
    assert len(Summary(model).rows) == 1000 and copy.deepcopy(model)(torch.rand(1, 4)).shape == (1, 4)
    x = y = Input((4,))
    for _ in range(1000): y = y + 1
    assert Model(x, y)(torch.zeros(1, 4))[0, 0] == 1000

bad = [
    (lambda: Sequential([Input((4,)), Dense(3, name='a'), Dense(3, name='a')]), "second layer named 'a'"),
    (lambda: (lambda d, x, y: (d(x), d(y)))(Dense(3, name='shared'), Input((4,)), Input((5,))), 'need: x (..., 4)'),
    (lambda: (lambda x, y: Model([x, y], Dense(2)(x)))(Input((3,), name='x'), Input((3,), name='y')), 'an input that nothing uses'),
    (lambda: (lambda x, y: Model(x, Add()([x, y])))(Input((3,), name='x'), Input((3,), name='y')), "also depends on Input 'y'"),
    (lambda: Sequential([Input((4, 4, 1)), Conv2D(2, 5)]), 'a window larger than its input'),
    (lambda: Concatenate()([Input((3, 4)), Input((2, 4))]), 'cannot join these shapes'),
    (lambda: Sequential([Input((4,)), Conv2D(2, 3)]), 'need: 4 axes'),
    (lambda: Model(Input((3,)), torch.zeros(3)), 'The outputs of a model are symbols'),
    (lambda: Dense(-3), 'got:  units=-3'),
    (lambda: Model(Input((3,), name='a'), Input((3,), name='b')), "also depends on Input 'b'"),
    (lambda: Model(Input((3,), name='a'), Dense(2)(Input((3,), name='b'))), "fix:  add 'b' to the inputs"),
    (lambda: Model([], []), 'A graph needs both ends'),
    (lambda: (lambda b: Model(dict(a=Input((3,), name='a'), b=b), Dense(2)(b)))(Input((3,), name='b')), 'used are: b')]
@pytest.mark.parametrize('make,words', bad, ids=range(len(bad)))
def test_bad_input_is_told_when_composing(make, words):
    with pytest.raises((ValueError, TypeError)) as told: make()
    assert words in str(told.value), told.value

def test_error_names_the_users_line():
    with pytest.raises(ValueError) as told: Sequential([Input((28, 28)), Dense(3), Dense(4), Conv1D(2, 99)])
    assert 'Conv1D' in str(told.value) and 'test_one_module.py' in str(told.value) and 'dense_1' in str(told.value), told.value

def test_masks_that_are_lost_are_said():
    x = Input((4,), dtype='int64')
    with pytest.warns(UserWarning, match="Flatten 'flatten' cannot use the mask"): Flatten()(Embedding(5, 3, mask_zero=True)(x))

def test_freezing_says_what_batch_normalisation_does(capsys):
    model,x = cnn()
    model.freeze('batch*')
    assert 'uses its moving averages' in capsys.readouterr().out
    before = [w.copy() for w in model['batch_normalization'].get_weights()]
    model(x).sum().backward()
    assert all((a == b).all() for a, b in zip(before, model['batch_normalization'].get_weights()))

def test_mask_leaves_a_nested_model():
    ids,x = Input((5,), dtype='int64'),Input((5,), dtype='int64')
    inner = Model(ids, Dense(3)(Embedding(7, 4, mask_zero=True)(ids)))
    h = inner(x)
    outer = Model(x, GlobalAveragePooling1D()(h))
    given = torch.tensor([[1, 2, 0, 0, 0], [1, 2, 3, 4, 0]])
    y = inner(given)
    want = torch.stack([y[0, :2].mean(0), y[1, :4].mean(0)])
    torch.testing.assert_close(outer(given), want)
    torch.testing.assert_close(copy.deepcopy(outer)(given), want)
    assert torch.equal(inner.compute_mask(given), given != 0)
