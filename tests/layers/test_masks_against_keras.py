"Masks that enter a model from outside reach the layers inside, and masks that are made inside leave: the same program in both libraries, with the same weights."
import copy, warnings
import numpy as np, pytest, torch
import against   # noqa: F401  sets Keras's backend
import keras
import upslope.layers as ours
from upslope.layers.layer import masked

given = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [5, 1, 2, 3, 4]])

def L(lib): return keras.layers if lib is keras else ours
def model(lib, *args, **kw): return (keras if lib is keras else ours).Model(*args, **kw)
def chain(lib, layers, **kw): return (keras if lib is keras else ours).Sequential(layers, **kw)
def words(lib, name=None):
    ids = L(lib).Input((5,), dtype='int32' if lib is keras else 'int64', name=name)
    return ids,L(lib).Embedding(7, 3, mask_zero=True)(ids)
def average(lib): return L(lib).GlobalAveragePooling1D()

def recurrent_inside(lib):
    x = L(lib).Input((5, 3))
    inner = model(lib, x, L(lib).GRU(4, return_sequences=True)(x))
    ids,e = words(lib)
    return model(lib, ids, average(lib)(inner(e))),(given,)
def pooled_inside(lib):
    x = L(lib).Input((5, 3))
    inner = model(lib, x, average(lib)(L(lib).Dense(4)(x)))
    ids,e = words(lib)
    return model(lib, ids, L(lib).Dense(2)(inner(e))),(given,)
def chain_inside(lib):
    ids,e = words(lib)
    inner = chain(lib, [L(lib).Input((5, 3)), L(lib).Dense(4), L(lib).LSTM(3)])
    return model(lib, ids, inner(e)),(given,)
def two_levels(lib):
    x = L(lib).Input((5, 3)); inner = model(lib, x, L(lib).Bidirectional(L(lib).LSTM(2, return_sequences=True))(x))
    y = L(lib).Input((5, 3)); outer = model(lib, y, L(lib).Dense(3, 'tanh')(inner(y)))
    ids,e = words(lib)
    return model(lib, ids, average(lib)(outer(e))),(given,)
def attention_inside(lib):
    x = L(lib).Input((5, 3)); inner = model(lib, x, L(lib).MultiHeadAttention(2, 3)(x, x))
    ids,e = words(lib)
    return model(lib, ids, average(lib)(inner(e))),(given,)
def one_of_two_inputs(lib):
    x,c = L(lib).Input((5, 3)),L(lib).Input((2,))
    inner = model(lib, [x, c], L(lib).Dense(2)(L(lib).Concatenate()([L(lib).SimpleRNN(3)(x), c])))
    ids,e = words(lib); context = L(lib).Input((2,))
    return model(lib, [ids, context], inner([e, context])),(given, np.ones((3, 2), 'float32'))
def two_outputs(lib):
    x = L(lib).Input((5, 3)); h = L(lib).LSTM(4, return_sequences=True)(x)
    inner = model(lib, x, [h, L(lib).GRU(2)(h)])
    ids,e = words(lib)
    a,b = inner(e)
    return model(lib, ids, L(lib).Concatenate()([average(lib)(a), b])),(given,)
def embedding_inside(lib):
    ids,e = words(lib); inner = model(lib, ids, L(lib).Dense(4)(e))
    x = L(lib).Input((5,), dtype='int32' if lib is keras else 'int64')
    return model(lib, x, L(lib).LSTM(3)(inner(x))),(given,)
def masking_before(lib):
    x = L(lib).Input((5, 2)); inner = model(lib, x, L(lib).Dense(2)(L(lib).LSTM(3, return_sequences=True)(x)))
    y = L(lib).Input((5, 2))
    steps = np.random.default_rng(0).normal(size=(3, 5, 2)).astype('float32'); steps[0, 3:] = steps[1, 1:] = 0
    return model(lib, y, average(lib)(inner(L(lib).Masking()(y)))),(steps,)
def shared_twice(lib):
    x = L(lib).Input((5, 3)); inner = model(lib, x, L(lib).LSTM(4)(x))
    ids,e = words(lib)
    free = L(lib).Input((5, 3))
    return model(lib, [ids, free], L(lib).Subtract()([inner(e), inner(free)])),(given, np.ones((3, 5, 3), 'float32'))

programs = [recurrent_inside, pooled_inside, chain_inside, two_levels, attention_inside, one_of_two_inputs, two_outputs, embedding_inside, masking_before, shared_twice]

def tensors(arrays): return [torch.tensor(a) for a in arrays]
def run(m, arrays): return m(tensors(arrays) if len(arrays) > 1 else tensors(arrays)[0])

@pytest.mark.parametrize('program', programs)
def test_mask_reaches_the_layers_inside(program, tmp_path):
    theirs,arrays = program(keras)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        mine,_ = program(ours)
    mine.set_weights(theirs.get_weights())
    want = torch.as_tensor(run(theirs, arrays)).detach()
    mine.eval()
    torch.testing.assert_close(run(mine, arrays).detach(), want, atol=1e-5, rtol=1e-5)
    if program is not embedding_inside:   # the mask matters: with another first input all differ
        changed = [np.where(arrays[0] == 0, 6, arrays[0]) if arrays[0].dtype.kind == 'i' else arrays[0] + 1, *arrays[1:]]
        assert not torch.allclose(run(mine, changed), want, atol=1e-3)
    mine.save(tmp_path/'m')
    for copied in (copy.deepcopy(mine), ours.load(tmp_path/'m').eval()): torch.testing.assert_close(run(copied, arrays).detach(), want, atol=1e-5, rtol=1e-5)
    x = tensors(arrays) if len(arrays) > 1 else tensors(arrays)[0]
    torch.testing.assert_close(torch.func.functional_call(mine, dict(mine.state_dict()), (x,)).detach(), want, atol=1e-5, rtol=1e-5)
    theirs.save(tmp_path/'m.keras')
    torch.testing.assert_close(run(ours.load_keras(tmp_path/'m.keras').eval(), arrays).detach(), want, atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('program', [recurrent_inside, attention_inside, one_of_two_inputs])
def test_compiled_and_exported(program):
    mine,arrays = program(ours)
    mine.eval()
    x = tensors(arrays) if len(arrays) > 1 else tensors(arrays)[0]
    torch.testing.assert_close(torch.compile(mine, backend='eager')(x), mine(x))
    torch.testing.assert_close(torch.export.export(mine, (x,)).module()(x), mine(x))

def test_mask_given_by_hand_and_by_a_tensor():
    "The three ways in: `mask=`, a tensor that carries one, and a symbol; a list and a dict of inputs"
    x = ours.Input((5, 3), name='x')
    inner = ours.Model(x, ours.GRU(4)(x)).eval()
    data,mask = torch.rand(3, 5, 3),torch.tensor(given != 0)
    want = inner['gru'](data, mask=mask)
    torch.testing.assert_close(inner(data, mask=mask), want)
    torch.testing.assert_close(inner(masked(data, mask)), want)
    torch.testing.assert_close(inner({'x': data}, mask={'x': mask}), want)
    a,b = ours.Input((5, 3), name='a'),ours.Input((5, 3), name='b')
    both = ours.Model([a, b], ours.Subtract()([inner(a), inner(b)])).eval()
    torch.testing.assert_close(both([data, data], mask=[mask, None]), want - inner(data))
    torch.testing.assert_close(both({'b': data, 'a': data}, mask={'a': mask}), want - inner(data))

def test_outputs_carry_their_masks_when_called_with_tensors():
    ids,e = words(ours)
    reader = ours.Model(ids, [ours.Dense(4)(e), ours.LSTM(2)(e)])
    steps,last = reader(torch.tensor(given))
    lstm = ours.LSTM(3)
    assert torch.equal(lstm(steps), lstm(steps, mask=torch.tensor(given != 0))) and type(last) is torch.Tensor
    theirs_ids,theirs_e = words(keras)
    assert keras.Model(theirs_ids, keras.layers.Dense(4)(theirs_e))(torch.tensor(given))._keras_mask.tolist() == (given != 0).tolist()

def test_a_lost_mask_is_still_said():
    x = ours.Input((5, 3))
    inner = ours.Model(x, ours.Dense(2)(ours.Flatten()(x)))
    _,e = words(ours)
    with pytest.warns(UserWarning, match="Flatten 'flatten' cannot use the mask"): inner(e)
