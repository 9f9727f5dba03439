"What preprocessing layers learned is in their state; the arguments that Keras documents are honoured or refused."
import io
import numpy as np, pytest, torch
from upslope.layers.lookup import IntegerLookup, StringLookup, TextVectorization, fingerprint, keyed_hash
from upslope.layers.preprocessing import Discretization, Normalization
from upslope.layers.saving import load, save
try: import keras
except ImportError: pass   # the closed form is there too

texts = ['the cat sat', 'the cat', 'a dög']
numbers = [[12, 7, 7], [12, 7, 3]]
values = torch.linspace(-3, 5, 40)
cases = [
    (Discretization, dict(num_bins=4), values, values),
    (Discretization, dict(num_bins=3, output_mode='one_hot'), values, values),
    (Discretization, dict(num_bins=1), values, values),
    (StringLookup, {}, ['a', 'b', 'a', 'é'], ['b', 'é', 'x']),
    (StringLookup, dict(output_mode='tf_idf'), [['a', 'b'], ['a', 'c']], [['b', 'a'], ['x', 'a']]),
    (StringLookup, dict(output_mode='tf_idf', max_tokens=9, pad_to_max_tokens=True), [['a', 'b'], ['a', 'c']], [['b', 'a'], ['x', 'a']]),
    (IntegerLookup, dict(mask_token=0), numbers, [[7, 3, 0, 99]]),
    (IntegerLookup, dict(output_mode='tf_idf', num_oov_indices=2), numbers, [[7, 3, 98, 99]]),
    (TextVectorization, {}, texts, ['the dög ran', 'cat']),
    (TextVectorization, dict(output_mode='tf_idf', ngrams=2), texts, ['the dög ran', 'cat'])]
ids = [f'{c.__name__} {k}' for c, k, *_ in cases]

def adapted(cls, kwargs, data):
    layer = cls(**kwargs)
    layer.adapt(data)
    return layer

@pytest.mark.parametrize('cls,kwargs,data,x', cases, ids=ids)
def test_state_dict_brings_the_table_back(cls, kwargs, data, x):
    layer,fresh,file = adapted(cls, kwargs, data),cls(**kwargs),io.BytesIO()
    with pytest.raises(ValueError, match='adapt'): fresh(x)
    torch.save(layer.state_dict(), file); file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), layer(x))
    if cls is not Discretization: assert fresh.get_vocabulary() == layer.get_vocabulary()
    assert fresh.get_config() | dict(name=0, bin_boundaries=0) == layer.get_config() | dict(name=0, bin_boundaries=0)

@pytest.mark.parametrize('cls,kwargs,data,x', cases, ids=ids)
def test_file_brings_the_table_back(cls, kwargs, data, x, tmp_path):
    layer = adapted(cls, kwargs, data)
    layer(x)
    save(layer, tmp_path/'m.safetensors')
    assert torch.equal(load(tmp_path/'m.safetensors')(x), layer(x))

@pytest.mark.parametrize('cls,kwargs,data,x', cases, ids=ids)
def test_a_state_without_a_table_takes_the_table_away(cls, kwargs, data, x):
    layer = adapted(cls, kwargs, data)
    layer.load_state_dict(cls(**kwargs).state_dict())
    with pytest.raises(ValueError, match='adapt'): layer(x)

def test_a_state_is_a_copy():
    layer = adapted(StringLookup, {}, ['a', 'b'])
    state = layer.state_dict()
    layer.adapt(['c'])
    layer.load_state_dict(state)
    assert layer.get_vocabulary() == ['[UNK]', 'b', 'a']

def test_a_table_that_does_not_fit_is_refused():
    many,weighed = adapted(StringLookup, {}, list('abcdef')),adapted(StringLookup, dict(output_mode='tf_idf'), [['a', 'b']])
    with pytest.raises(ValueError, match='max_tokens=3'): StringLookup(max_tokens=3).load_state_dict(many.state_dict())
    with pytest.raises(ValueError, match='weights'): StringLookup(output_mode='tf_idf').load_state_dict(many.state_dict())
    with pytest.raises(ValueError, match='weights'): StringLookup().load_state_dict(weighed.state_dict())
    with pytest.raises(ValueError, match='no table'): StringLookup().load_state_dict({'_extra_state': torch.tensor([255], dtype=torch.uint8)})

def test_unknown_integers_are_hashed_as_asked():
    ids,x = [2, 4],[[10, 12, 14, -16, 1000]]
    flat = lambda **kwargs: IntegerLookup(vocabulary=ids, num_oov_indices=4, **kwargs)(x)[0].tolist()
    assert flat() == [o % 4 for o in x[0]]
    assert flat(oov_method='farmhash') == [fingerprint(str(o).encode()) % 4 for o in x[0]] != flat()
    assert flat(oov_method='farmhash', salt=[133, 137]) == [keyed_hash(str(o).encode(), (133, 137)) % 4 for o in x[0]] != flat(oov_method='farmhash')
    assert flat(oov_method='farmhash', salt=133) == flat(oov_method='farmhash', salt=(133, 133))
    layer = IntegerLookup(vocabulary=ids, num_oov_indices=4, oov_method='farmhash', salt=133)
    assert IntegerLookup.from_config(layer.get_config())(x).tolist() == layer(x).tolist()

@pytest.mark.parametrize('cls', [IntegerLookup, StringLookup])
def test_an_unknown_oov_method_is_refused(cls):
    with pytest.raises(ValueError, match='have: floormod, farmhash'): cls(oov_method='sha')

def test_what_integers_cannot_use_is_refused():
    with pytest.raises(ValueError, match="fix:  oov_method='farmhash'"): IntegerLookup(salt=3)
    with pytest.raises(ValueError, match='whole number, or two'): IntegerLookup(oov_method='farmhash', salt=[1, 2, 3])
    with pytest.raises(ValueError, match="got:  vocabulary_dtype='int32'"): IntegerLookup(vocabulary_dtype='int32')

def test_a_given_vocabulary_is_not_adapted():
    given = TextVectorization(vocabulary=['a', 'b'])
    with pytest.raises(ValueError, match='was given its vocabulary'): given.adapt(['c d'])
    assert given.get_vocabulary() == ['', '[UNK]', 'a', 'b']
    later = TextVectorization()
    later.set_vocabulary(['a']); later.adapt(['c']); later.adapt(['d'])
    assert later.get_vocabulary() == ['', '[UNK]', 'd']

def test_whole_texts_one_hot():
    layer = TextVectorization(split=None, output_mode='one_hot', vocabulary=['red wine', 'beer'])
    want = torch.eye(3)[[1, 2, 0]]
    assert torch.equal(layer(['Red wine!', 'beer', 'red']), want) and torch.equal(layer([['Red wine!'], ['beer'], ['red']]), want)
    assert tuple(layer.compute_output_shape((3, 1))) == (3, 3) and torch.equal(layer('beer'), want[1])
    with pytest.raises(ValueError, match='fix:  split=None'): TextVectorization(output_mode='one_hot', vocabulary=['a'])(['a a'])

rows = np.array([[0., 7, 4], [2, 9, 8], [1, 1, 7], [5, 2, 2]], dtype='float32')
@pytest.mark.parametrize('x,axis', [(rows, 0), (rows, (0, 1)), (rows, -2), (rows[:, 0], 0), (rows[:, 0], None), (rows[None]*[[[1]], [[3]]], (0, 2))], ids=['items', 'both', 'from the end', 'numbers', 'one mean', 'three axes'])
@pytest.mark.parametrize('invert', [False, True])
def test_normalization_for_each_item(x, axis, invert):
    x = x.astype('float32')
    kept = () if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
    over = tuple(a for a in range(x.ndim) if a not in kept)
    mean,deviation = x.mean(over, keepdims=True),np.maximum(x.std(over, keepdims=True), 1e-7)
    layer = Normalization(axis, invert=invert)
    layer.adapt(x)
    np.testing.assert_allclose(layer(torch.tensor(x)), x*deviation + mean if invert else (x - mean)/deviation, atol=1e-5)
    if 'keras' in globals():
        theirs = keras.layers.Normalization(axis, invert=invert)
        theirs.adapt(x)
        np.testing.assert_allclose(layer(torch.tensor(x)), np.asarray(theirs(x)), atol=1e-5)

def test_normalization_for_each_item_from_batches():
    layer = Normalization(0)
    layer.adapt(iter([rows, rows*3]))
    np.testing.assert_allclose(layer.adapt_mean, np.stack([rows, rows*3]).mean((0, 2)), rtol=1e-6)
    np.testing.assert_allclose(layer.adapt_variance, np.stack([rows, rows*3]).var((0, 2)), rtol=1e-6)
    with pytest.raises(ValueError, match='equally many items'): Normalization(0).adapt(iter([rows, rows[:2]]))
    with pytest.raises(ValueError, match='x'): layer(torch.tensor(rows[:2]))

def test_normalization_for_each_item_with_given_moments():
    layer = Normalization(0, mean=[1., 2], variance=[4., 9])
    np.testing.assert_allclose(layer(torch.tensor([[3., 1], [5, 2]])), [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match='axis=\\(2,\\)'): Normalization(2).adapt(rows)

def test_bins_count_as_classes():
    bins = Discretization([0.])(torch.tensor([[-1., 1]]))
    assert bins.dtype == torch.int64 == Discretization([0.]).compute_output_dtype(torch.float32)
    torch.nn.functional.one_hot(bins)

def test_weights_of_a_learned_table_reach_a_fresh_one(tmp_path):
    from upslope.layers import StringLookup
    learned, fresh = StringLookup(), StringLookup()
    learned.adapt(['a', 'b', 'a'])
    learned.save_weights(tmp_path/'words.safetensors')
    fresh.load_weights(tmp_path/'words.safetensors')
    assert fresh.get_vocabulary() == learned.get_vocabulary() == ['[UNK]', 'a', 'b']
