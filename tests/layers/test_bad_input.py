"What is wrong is told in words, with the values and what is needed; nothing half-built is left behind, and nothing wrong is computed silently."
import json
import pytest, torch
from upslope.layers import *
from upslope.core.errors import UpslopeError

x,y = Input((3,), name='x'),Input((4,), name='y')
def itself():
    model = Sequential([Input((3,)), Dense(3)])
    model.add(model)
def each_other():
    a = Sequential([Dense(3)])
    a.add(Sequential([a]))

@pytest.mark.parametrize('f,words', [
    (lambda: Dense(-3), 'got:  units=-3'), (lambda: Dense(2.5), 'need: int >= 1'), (lambda: Dense(3, activation='rleu'), "fix:  'relu'"), (lambda: Dense(3, activatoin='relu'), "got:  activatoin='relu'"), (lambda: Conv2D(4, 3, groups=3), 'need: filters a multiple of groups'),
    (lambda: Conv2D(4, 9)(Input((5, 5, 1))), 'window larger than its input'), (lambda: Conv2D(4, 9)(torch.rand(2, 5, 5, 1)), 'window larger than its input'), (lambda: MaxPooling2D(7)(Input((5, 5, 1))), 'at least 7 cells; there are 5'),
    (lambda: Add()([x, y]), 'got:  (None, 3), (None, 4)'), (lambda: Concatenate()([Input((3, 4)), Input((5, 4))]), 'the same sizes at every other axis'),
    (itself, 'cannot contain itself'), (each_other, 'cannot contain itself'), (lambda: Model([x, y], Dense(2)(x)), 'has an input that nothing uses'), (lambda: Model(x, Dense(2)(y)), "fix:  add 'y' to the inputs"),
    (lambda: Model(x, Dense(2, name='a')(Dense(2, name='a')(x))), "second layer named 'a'"), (lambda: Sequential([Dense(2, name='a'), Dense(3, name='a')]), "second layer named 'a'"), (lambda: Model([x, Input((3,), name='x')], y), 'two inputs of one name'),
    (lambda: Model(torch.rand(2, 3), x), 'The inputs of a model are symbols'), (lambda: Sequential([Input((4, 4, 1)), Flatten(), Dense(3), Conv2D(2, 2)]), "> Conv2D 'conv2d'         here"), (lambda: Reshape((5,))(Input((4,))), '4 numbers for each item'),
    (lambda: x @ torch.rand(5, 2), 'got:  (None, 3), (5, 2)'), (lambda: bool(x > 0), 'cannot be true or false'), (lambda: x.add_(1), 'fix:  .add()'),
    *[(lambda v=v: Dense(2)(v), 'takes tensors') for v in ('abc', [[1., 2.]], None, 3)], (lambda: Dense(2)(torch.tensor([[1, 2]])), 'fix:  x.float()'), (lambda: Embedding(5, 3)(torch.tensor([[7]])), 'fix:  Embedding(8, 3)'), (lambda: Bidirectional(Dense(3)), 'fix:  Bidirectional(LSTM(8))')])
def test_told_in_words(f, words):
    with pytest.raises((ValueError, TypeError)) as told: f()
    assert isinstance(told.value, UpslopeError) and words in str(told.value), str(told.value)

@pytest.mark.parametrize('make,shape', [(lambda: Dense(3), (2, 4)), (lambda: Conv1D(3, 2), (2, 5, 4)), (lambda: Conv2D(3, 2), (2, 5, 5, 4)), (lambda: Conv2DTranspose(3, 2), (2, 5, 5, 4)), (lambda: SeparableConv2D(3, 2), (2, 5, 5, 4)), (lambda: BatchNormalization(), (2, 4)), (lambda: LayerNormalization(), (2, 4)), (lambda: GroupNormalization(2), (2, 5, 4)),
    (lambda: LSTM(3), (2, 5, 4)), (lambda: GRU(3, return_sequences=True), (2, 5, 4)), (lambda: SimpleRNN(3), (2, 5, 4)), (lambda: GRU(3, reset_after=False), (2, 5, 4)), (lambda: RNN(LSTMCell(3)), (2, 5, 4)), (lambda: Bidirectional(LSTM(3)), (2, 5, 4)), (lambda: ConvLSTM1D(3, 2), (2, 3, 6, 4)), (lambda: TimeDistributed(Dense(3)), (2, 5, 4))])
@pytest.mark.parametrize('size', [1, 3, 5, 8])
@pytest.mark.parametrize('training', [False, True])
def test_two_sizes(make, shape, size, training):
    "PyTorch's recurrent kernels compute something from a row of another size, and say nothing"
    layer = make().train(training)
    before = layer(torch.rand(shape))
    with pytest.raises(ValueError, match='cannot take this input|no channels|groups'): layer(torch.rand(*shape[:-1], size))
    with pytest.raises(ValueError): layer(Input((*shape[1:-1], size)))
    assert layer(torch.rand(shape)).shape == before.shape

def test_nothing_half_built():
    layer = Conv2D(4, 9)
    with pytest.raises(ValueError): layer(torch.rand(2, 5, 5, 1))
    assert not layer.built and not list(layer.parameters())
    assert layer(torch.rand(2, 9, 9, 1)).shape == (2, 1, 1, 4)
    model = Sequential([Conv2D(4, 3), Flatten(), Dense(2), Conv2D(2, 2)])
    with pytest.raises(ValueError): model.build((None, 8, 8, 1))
    assert not model.built
    model.pop()
    assert model(torch.rand(2, 8, 8, 1)).shape == (2, 2)

@pytest.fixture
def saved(tmp_path):
    model = Sequential([Input((8, 8, 1)), Conv2D(4, 3), Flatten(), Dense(3)])
    model.save(tmp_path/'model')
    return tmp_path/'model'

@pytest.mark.parametrize('part', [0, 4, 10, .2, .5, .9, .999])
def test_truncated(saved, part):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:part if isinstance(part, int) else int(part*len(whole))])
    with pytest.raises(UpslopeError, match='is damaged, or no file of ours'): load(saved)

@pytest.mark.parametrize('at', range(0, 100, 7))
def test_one_bit_changed(saved, at):
    whole = bytearray(saved.read_bytes())
    whole[at*(len(whole) - 1)//100] ^= 4
    saved.write_bytes(bytes(whole))
    with pytest.raises(UpslopeError): load(saved)

def test_functions_with_names_and_sizes_that_depend_on_numbers():
    x = Input((4, 6))
    data = torch.rand(2, 4, 6)
    assert torch.equal(Model(x, x.max(1).values)(data), data.max(1).values)
    assert torch.equal(Model(x, torch.topk(x, 2).indices)(data), torch.topk(data, 2).indices)
    assert tuple(x[x > 0].shape) == (None,)

def test_config_of_a_model():
    x = Input((4, 6), name='x')
    model = Model(x, {'y': Dense(2)(torch.relu(x[:, 0]))}, name='m')
    again = Model.from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    data = torch.rand(2, 4, 6)
    assert again.name == 'm' and torch.equal(again(data)['y'], model(data)['y'])
    chain = Sequential.from_config(Sequential([Input((3,)), Dense(2, name='head')]).get_config())
    assert type(chain) is Sequential and chain['head'].units == 2

def test_two_inputs_without_names_are_saved_and_read(tmp_path):
    a,b = Input((3,)),Input((3,))
    model = Model([a, b], Subtract()([Dense(2)(a), Dense(2)(b)]))
    model.save(tmp_path/'m')
    data = [torch.rand(2, 3), torch.rand(2, 3)]
    torch.testing.assert_close(load(tmp_path/'m')(data), model(data))
    assert [o.name for o in model.inputs] == ['input_layer', 'input_layer_1']

@pytest.mark.parametrize('name', ['LSTM', 'GRU', 'SimpleRNN'])
def test_a_recurrent_layer_refuses_pictures(name):
    "PyTorch's kernel reads past the end of each row there: other memory, or no numbers at all, and no error"
    import upslope.layers as layers
    from upslope.core import ShapeError
    make = getattr(layers, name)
    for call in (make(12), layers.Sequential([make(12), layers.Dense(10)])):
        with pytest.raises(ShapeError, match=r'Reshape\(\(8, 24\)\)'): call(torch.randn(4, 8, 8, 3))
    built = make(12)
    built(torch.randn(4, 8, 3))
    with pytest.raises(ShapeError): built(torch.randn(4, 8, 8, 3))
    with pytest.raises(ShapeError): layers.Bidirectional(make(12))(torch.randn(4, 8, 8, 3))
