"Random layers and shapes: ours and Keras's agree, and what Keras rejects is rejected, in words."
import pytest, torch
import keras
import upslope.layers as ours
from against import compare
from hypothesis import HealthCheck, given, settings, strategies as st

fast = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
sizes = st.integers(1, 5)

def both(name, args, kwargs, shapes, **more):
    "Either both reject it, ours with a ValueError or TypeError that says something; or both give the same"
    try:
        theirs = getattr(keras.layers, name)(*args, **kwargs)
        x = [torch.rand(s) for s in shapes] if isinstance(shapes, list) else torch.rand(shapes)
        theirs(x)
    except Exception: theirs = None
    if theirs is None:
        with pytest.raises((ValueError, TypeError)) as told:
            mine = getattr(ours, name)(*args, **kwargs)
            mine(x)
        assert any(word in str(told.value) for word in ('got:', 'need:', 'have:')), told.value
        return
    compare(theirs, getattr(ours, name)(*args, **kwargs).eval(), shapes, **more)

@fast
@given(units=st.integers(-1, 5), shape=st.lists(sizes, min_size=2, max_size=4), activation=st.sampled_from([None, 'relu', 'tanh', 'softplus', 'nonsense']), bias=st.booleans())
def test_dense(units, shape, activation, bias): both('Dense', (units,), dict(activation=activation, use_bias=bias), tuple(shape))

@fast
@given(data=st.data(), rank=st.integers(1, 2), padding=st.sampled_from(['valid', 'same']), strides=st.integers(1, 3), dilation=st.integers(1, 2), groups=st.integers(1, 2), filters=st.integers(1, 4), bias=st.booleans(), first=st.booleans())
def test_convolution(data, rank, padding, strides, dilation, groups, filters, bias, first):
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    space = tuple(data.draw(st.integers(3, 8)) for _ in range(rank))
    channels = data.draw(st.integers(1, 4))
    shape = (2, channels, *space) if first else (2, *space, channels)
    both(f'Conv{rank}D', (filters, kernel), dict(padding=padding, strides=strides, dilation_rate=dilation, groups=groups, use_bias=bias, data_format='channels_first' if first else 'channels_last'), shape)

@fast
@given(data=st.data(), rank=st.integers(1, 3), padding=st.sampled_from(['valid', 'same']), strides=st.integers(1, 3), filters=st.integers(1, 3))
def test_transposed_convolution(data, rank, padding, strides, filters):
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    space = tuple(data.draw(st.integers(1, 5)) for _ in range(rank))
    more = data.draw(st.one_of(st.none(), st.integers(0, strides - 1)))
    both(f'Conv{rank}DTranspose', (filters, kernel), dict(padding=padding, strides=strides, output_padding=more), (2, *space, 2))

@fast
@given(data=st.data(), rank=st.integers(1, 3), padding=st.sampled_from(['valid', 'same']), size=st.integers(1, 3), strides=st.one_of(st.none(), st.integers(1, 3)))
def test_max_pooling(data, rank, padding, size, strides):
    space = tuple(data.draw(st.integers(1, 6)) for _ in range(rank))
    if padding == 'valid' and min(space) < size:   # Keras gives an empty tensor or fails, by rank; here it is an error
        with pytest.raises(ValueError, match='a window larger than its input'): getattr(ours, f'MaxPooling{rank}D')(size, strides, padding)(torch.rand(2, *space, 3))
        return
    both(f'MaxPooling{rank}D', (size, strides, padding), {}, (2, *space, 3))

@fast
@given(first=st.lists(sizes, min_size=2, max_size=4), drop=st.integers(0, 2), ones=st.sets(st.integers(0, 3)), name=st.sampled_from(['Add', 'Multiply', 'Maximum', 'Average', 'Subtract']), change=st.booleans())
def test_merging(first, drop, ones, name, change):
    second = [1 if i in ones and i else n for i, n in enumerate(first)]
    second = second[:1] + second[1 + min(drop, len(second) - 1):]
    if change and len(second) > 1: second[-1] += 1
    both(name, (), {}, [tuple(first), tuple(second)])

@fast
@given(shape=st.lists(sizes, min_size=2, max_size=4), target=st.lists(st.integers(-1, 6), min_size=1, max_size=3))
def test_reshape(shape, target):
    if 0 in target: return
    both('Reshape', (tuple(target),), {}, tuple(shape))

@fast
@given(shape=st.lists(st.integers(2, 5), min_size=2, max_size=4), axis=st.integers(-1, 3), epsilon=st.floats(1e-5, .1))
def test_batch_normalization(shape, axis, epsilon): both('BatchNormalization', (), dict(axis=axis, epsilon=epsilon), tuple(shape))

@fast
@given(units=st.integers(1, 4), steps=st.integers(1, 6), features=sizes, name=st.sampled_from(['LSTM', 'GRU', 'SimpleRNN']), sequences=st.booleans(), back=st.booleans(), bias=st.booleans(), activation=st.sampled_from(['tanh', 'relu', 'sigmoid']))
def test_recurrent(units, steps, features, name, sequences, back, bias, activation):
    both(name, (units,), dict(return_sequences=sequences, go_backwards=back, use_bias=bias, activation=activation), (2, steps, features))

@pytest.mark.parametrize('name,args,kwargs', [('Dense', (0,), {}), ('Dense', ('x',), {}), ('Dense', (3,), dict(nonsense=1)), ('Dense', (3,), dict(kernel_initializer='nonsense')), ('Dense', (3,), dict(kernel_regularizer='nonsense')), ('Dense', (3,), dict(kernel_constraint='nonsense')), ('Conv2D', (3, 0), {}), ('Conv2D', (3, (1, 2, 3)), {}), ('Conv2D', (3, 3), dict(padding='causal')), ('Conv2D', (3, 3), dict(groups=2)),
    ('Conv2D', (3, 3), dict(strides=0)), ('Dropout', (-1,), {}), ('Dropout', (1.5,), {}), ('Embedding', (0, 3), {}), ('LeakyReLU', (-1,), {}), ('ReLU', (-1.,), {}), ('GroupNormalization', (0,), {}), ('LSTM', (-1,), {}), ('Bidirectional', (3,), {}), ('TimeDistributed', (3,), {}), ('Permute', ((0, 1),), {}), ('RepeatVector', (1.5,), {}),     ('GaussianNoise', (-1,), {}), ('CategoryEncoding', (), {}), ('Discretization', (), {}), ('Activation', ('nonsense',), {}), ('RandomRotation', (3,), {}), ('Normalization', (), dict(mean=1.))], ids=str)
def test_constructor_is_rejected(name, args, kwargs):
    with pytest.raises(Exception):
        getattr(keras.layers, name)(*args, **kwargs)
    with pytest.raises((ValueError, TypeError)) as told: getattr(ours, name)(*args, **kwargs)
    assert '\n' in str(told.value)   # in the house's form
