"What is told, and when: wrong compositions and the words that they must say, before there is any data"
import pytest, torch
from torch import nn
from upslope.core import *
from upslope.core.composition import Concat, add

from upslope.core.functions import Lifted
from upslope.layers import Conv2D, Dense, Flatten, LSTM, MultiHeadAttention

heads = typed('b t 8*d -> b 8 t d')(lambda x: x.unflatten(-1, (8, -1)).transpose(1, 2))
split = typed('b n -> (b n, b 2*n)')(lambda x: (x, torch.cat([x, x], -1)))
meet = typed('b 3, b 6 -> b 9')(lambda x, y: torch.cat([x, y], -1))
outer = typed('n k, k m -> n m')(torch.matmul)
cell = recurrently(concat >> Dense(8))

# name: (what is composed, words that must be in the error)
WRONG = {
    'a plain chain': (lambda: lift(nn.Linear(784, 128)) >> nn.Linear(64, 10),
        ["Linear 'linear_1' cannot take what Linear 'linear' gives: 128 is not 64", '... 128, from Linear', '... 64, for Linear', '>> linear_1', '^^', 'fix:  Linear(128, 10)']),
    'a chain of layers, told when its input is': (lambda: (Flatten() >> Dense(128, activation='relu') >> nn.Linear(64, 10)),
        ["Linear 'linear' cannot take what Dense 'dense' gives: 128 is not 64", 'b 128, from Dense', 'fix:  Linear(128, 10)']),
    'channels': (lambda: lift(nn.Conv2d(1, 8, 3)) >> nn.BatchNorm2d(16),
        ["BatchNorm2d 'batchnorm2d' cannot take what Conv2d 'conv2d' gives: 8 is not 16", 'b 16 h w']),
    'channels of the next convolution': (lambda: lift(nn.Conv2d(1, 8, 3)) >> nn.Conv2d(16, 8, 3),
        ["8 is not 16", 'fix:  Conv2d(8, 8, ...)']),
    'channels last where they are wanted first': (lambda: lift(nn.Conv2d(3, 8, 3)).on('B', 28, 28, 3),
        ['28 is not 3', 'B 28 28 3', 'fix:  put `lambda x: x.movedim(-1, 1)` between, or `Permute((3, 1, 2))`']),
    'a transpose': (lambda: Dense(10).on('B', 64, 7) >> nn.Conv1d(10, 4, 3), ['64 is not 10', 'fix:  put `lambda x: x.transpose(1, 2)` between, or `Permute((2, 1))`']),
    'ranks': (lambda: Dense(5).on('B', 28, 28) >> Lifted(lambda x: x, 'b 5 -> b 5'),
        ["3 axes are not 2 axes", 'B 28 5, from Dense', 'b 5, for function']),
    'an image into a dense layer': (lambda: (lift(torch.relu) >> nn.Linear(784, 10)).on('B', 28, 28),
        ['28 is not 784', 'B 28 28', 'fix:  put `Flatten()` between']),
    'a flattened size': (lambda: compose(nn.Conv2d(1, 8, 5), torch.relu, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1000, 10)).on('B', 1, 28, 28),
        ["Linear 'linear' cannot take what Flatten 'flatten' gives: 1152 is not 1000", 'B 8 12 12 -> B 1152', 'fix:  Linear(1152, 10)']),
    'a kernel larger than its input': (lambda: (Conv2D(8, 5) >> Conv2D(8, 31)).on('B', 28, 28, 1),
        ["Conv2D 'conv2d_1' cannot take what Conv2D 'conv2d' gives", 'it would give B -6 -6 8, and no size is less than 1']),
    'heads that do not divide': (lambda: Dense(100).on('B', 'T', 30) >> heads,
        ['100 cannot be 8*d for a whole number d', 'B T 100, from Dense', 'b t 8*d']),
    'a residual that changes the shape': (lambda: residual(lift(nn.Linear(64, 128)) >> torch.relu),
        ["cannot add what Chain 'chain' gives to its input: 128 is not 64", 'fix:  ', '64']),
    'a shortcut of another size': (lambda: residual_with(nn.Linear(64, 128), nn.Linear(64, 100)),
        ["to what Linear 'linear_1' gives: 128 is not 100", 'fix:  Linear(64, 100)']),
    'an unequal add': (lambda: (Dense(10) & Dense(12)) >> add,
        ["Sum 'sum' cannot take what FanOut 'fanout' gives: 10 is not 12", '... 10, ... 12']),
    'a concatenation of different steps': (lambda: ((lift(nn.Conv1d(1, 4, 3)) & nn.Conv1d(1, 4, 5)) >> Concat(1)).on('B', 1, 50),
        ["Concat 'concat' cannot take what FanOut 'fanout' gives: ", ' is not ', 'b 4 t-2']),
    'one tensor to be joined': (lambda: Dense(3) >> concat,
        ["... 3 is one tensor, and it joins several", 'Dense']),
    'a pair swapped': (lambda: Dense(3).on('B', 4) >> split >> swap >> meet,
        ['6 is not 3', 'fix:  put `swap` between']),
    'a pair where one tensor is wanted': (lambda: (Dense(3) & Dense(4)) >> Dense(5),
        ['a tuple of 2 is not one tensor', 'fix:  put `concat` or `add` between']),
    'one tensor where a pair is wanted': (lambda: Dense(3) >> meet,
        ['one tensor is not a tuple of 2', 'fix:  put `dup` between']),
    'a stateful chain': (lambda: unroll(cell) >> nn.Linear(16, 1),
        ["Linear 'linear' cannot take what Unroll 'unroll' gives: 8 is not 16", 'fix:  Linear(8, 1)']),
    'a recurrent state': (lambda: recurrently(concat >> nn.Linear(3 + 8, 5)).on('B', 3),
        ['5 is not 8', "Recurrent 'recurrent'", 'as a state', 'fix:  Linear(11, 8)']),
    'feedback that is no endofunction': (lambda: feedback(lift(nn.Linear(3, 2)), 10),
        ["Feedback 'feedback' feeds back Linear 'linear', which cannot take what it gives: 2 is not 3", 'fix:  Linear(3, 3)']),
    'an iteration that changes the shape': (lambda: iterate(nn.Linear(3, 2), 4), ["which cannot take what it gives: 2 is not 3"]),
    'wrong lags': (lambda: lagged(nn.Linear(3, 1), 2),
        ['2 lags', '2*d cannot be 3 for a whole number d', "... 3, for Linear 'linear'"]),
    'no fixed point': (lambda: deq(concat >> nn.Linear(3 + 8, 5)).on('B', 3),
        ['has no fixed point to find', '5 is not 8', 'fix:  Linear(11, 8)']),
    'no time axis': (lambda: zero_state(unroll(cell)).on('B'),
        ['needs a time axis', 'got:  B']),
    'a recurrent layer without steps': (lambda: (Flatten() >> LSTM(8)).on('B', 28, 28),
        ['2 axes are not 3 axes', 'b t n, for LSTM', 'fix:  put `lambda x: x.unsqueeze']),
    'clashing symbols': (lambda: compose(outer).on(('B', 3), (4, 'M')),
        ['4 is not 3', 'B 3, 4 M', 'n k, k m']),
    'a letter that stands for any size': (lambda: lift(torch.tanh).on('B', 3) >> Lifted(torch.relu, '32 n -> 32 n'),
        ['B stands for any size, so it cannot be 32']),
    'two letters that must be one': (lambda: compose(typed('b n, b n -> b')(lambda x, y: (x*y).sum(-1))).on(('B', 'N'), ('B', 'M')),
        ['stands for any size, so it cannot be']),
    'an odd size halved': (lambda: Dense(5).on('B', 4) >> Lifted(lambda x: x[:, ::2], 'b n -> b n/2'), ['5/2 is no whole number']),
    'an odd size that must be even': (lambda: Dense(5).on('B', 4) >> typed('b 2*n -> b n')(lambda x: x[:, ::2]), ['5 cannot be 2*n for a whole number n']),
    'rows that attention cannot compare': (lambda: ((Flatten() >> Dense(8)) & Dense(8)) >> MultiHeadAttention(2, 4), ['2 axes are not 3 axes', "MultiHeadAttention"]),
    'a choice of different shapes': (lambda: choice(Dense(3), Dense(4)), ['cannot choose between functions that give different shapes: 4 is not 3', 'fix:  Dense(3)']),
    'a traced function': (lambda: (Dense(5) >> (lambda x: x@torch.zeros(4, 2))).on('B', 3), ["function 'function' cannot take what Dense 'dense' gives", 'B 5']),
    'a class instead of a layer': (lambda: Dense(5) >> nn.ReLU, ['Only functions can be put together', 'fix:  ReLU(...)']),
}

@pytest.mark.parametrize('name', WRONG)
def test_it_says(name):
    make,words = WRONG[name]
    with pytest.raises(UpslopeError) as told: make()
    text = str(told.value)
    for w in words: assert w in text, f'{w!r} is not in:\n{text}'

@pytest.mark.parametrize('name', [n for n in WRONG if n not in ('a class instead of a layer',)])
def test_it_names_the_users_line(name):
    with pytest.raises(ShapeError) as told: WRONG[name][0]()
    assert 'test_wrong_compositions.py, line' in str(told.value)

def test_it_is_told_before_data(monkeypatch):
    "No tensor with memory is made while a wrong composition is refused"
    made = []
    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type != 'meta': made.append(func)
            return out
    a,b = Flatten() >> Dense(4096, activation='relu'),nn.Linear(64, 10)
    with Watch(), pytest.raises(ShapeError): a >> b
    with Watch(), pytest.raises(ShapeError): (a >> Dense(7)).on('B', 28, 28) >> b
    assert made == []

def test_the_mark_stands_under_the_size():
    with pytest.raises(ShapeError) as told: compose(nn.Linear(784, 128), torch.relu) >> nn.Linear(64, 10)
    lines = str(told.value).split('\n')
    at = next(i for i, l in enumerate(lines) if '^' in l)
    assert lines[at - 1][lines[at].index('^'):][:2] == '64'

def test_a_long_chain_shows_the_place():
    f = compose(*(nn.Linear(8, 8) for _ in range(50)))
    with pytest.raises(ShapeError) as told: f >> nn.Linear(9, 1)
    assert len(str(told.value).split('\n')) < 16 and 'linear_49' in str(told.value)

def test_deep_inside_it_names_the_inner_functions():
    block = residual(lift(nn.LayerNorm(64)) >> nn.Linear(64, 64))
    with pytest.raises(ShapeError) as told: lift(nn.Linear(10, 64)) >> block >> (lift(torch.tanh) & (lift(nn.Linear(32, 3)) >> torch.tanh))
    assert '64 is not 32' in str(told.value)

def test_errors_cross_processes():
    import pickle
    with pytest.raises(ShapeError) as told: lift(nn.Linear(3, 4)) >> nn.Linear(5, 6)
    again = pickle.loads(pickle.dumps(told.value))
    assert str(again) == str(told.value) and again.fix == 'Linear(4, 6)'
