"""Valid calls with one thing spoiled: what one gives by mistake, and what may come of it

A test takes a valid call, puts one value of `JUNK` in the place of one argument, and asks `outcome`. Two ends are right: the call works, or it ends in
an error of upslope that says what it got, needs or has. Any other error is raised as it is, so that the test fails with its traceback.
"""
import decimal, itertools, math, pathlib
import numpy as np, pandas as pd, torch
from hypothesis import strategies as st
from torch import nn
from upslope.core.errors import UpslopeError

class Empty: "Of no use to anyone"

def takes_two(a, b): return [a, b]
def gives_nothing(*args, **kwargs): return None
def gives_three(*args, **kwargs): return 3
def gives_letters(*args, **kwargs): return 'abc'
def gives_itself(*args, **kwargs): return gives_itself
def fails(*args, **kwargs): return {}['no such key']

def loop():
    "A list that holds itself"
    items = [1]
    items.append(items)
    return items

# Made anew for each case, as some are used up or changed
JUNK = {
    'None': lambda: None, 'True': lambda: True, 'False': lambda: False, 'NotImplemented': lambda: NotImplemented, 'Ellipsis': lambda: ...,
    '3': lambda: 3, '0': lambda: 0, '-1': lambda: -1, '2**62': lambda: 2**62, '10**400': lambda: 10**400,
    '0.5': lambda: .5, '3.0': lambda: 3., 'nan': lambda: math.nan, 'inf': lambda: math.inf, '-inf': lambda: -math.inf, '1j': lambda: 1j, 'Decimal': lambda: decimal.Decimal('0.1'),
    'empty text': lambda: '', 'x': lambda: 'x', 'relu': lambda: 'relu', 'digits': lambda: 'digits', 'min': lambda: 'min', 'a long text': lambda: 'é' * 300, 'a zero byte': lambda: '\0', 'half a pair': lambda: '\ud800', 'bytes': lambda: b'x',
    '()': lambda: (), '(1,)': lambda: (1,), '(2, 2)': lambda: (2, 2), '[1, 2]': lambda: [1, 2], '["a"]': lambda: ['a'], '[None]': lambda: [None], '[[1], 2]': lambda: [[1], 2], '[{}]': lambda: [{}], '[nan]': lambda: [math.nan], 'itself in a list': loop,
    '{}': lambda: {}, "{'a': 1}": lambda: {'a': 1}, '{1: 2}': lambda: {1: 2}, "{'a': [1]}": lambda: {'a': [1]}, "{'function': 3}": lambda: {'function': 3}, 'set': lambda: {1, 2},
    'range': lambda: range(3), 'generator': lambda: (i for i in range(3)), 'without end': itertools.count, 'iterator of nothing': lambda: iter(()),
    'tensor([1, 1])': lambda: torch.tensor([1, 1]), 'tensor(3)': lambda: torch.tensor(3), 'tensor of nothing': lambda: torch.empty(0), 'meta tensor': lambda: torch.empty(1, device='meta'),
    'array': lambda: np.array([1., 2.]), 'array(2)': lambda: np.array(2), 'array of objects': lambda: np.array(['a', None], dtype=object), 'int64': lambda: np.int64(3), 'float32': lambda: np.float32(.5), 'bool_': lambda: np.bool_(True), 'datetime64': lambda: np.datetime64('2020-01-01'),
    'Series': lambda: pd.Series([1, 2]), 'frame': lambda: pd.DataFrame({'a': [1, 2]}), 'Path': lambda: pathlib.Path('x'), 'object': Empty, 'class': lambda: Empty, 'int': lambda: int, 'dict': lambda: dict, 'module': lambda: math,
    'layer': lambda: nn.Linear(2, 2), 'layers': lambda: nn.Sequential(nn.ReLU()), 'lambda': lambda: lambda: 3, 'takes two': lambda: takes_two, 'gives nothing': lambda: gives_nothing, 'gives three': lambda: gives_three,
    'gives letters': lambda: gives_letters, 'gives itself': lambda: gives_itself, 'fails': lambda: fails, 'len': lambda: len,
}
ROWS = '\n  got:', '\n  need:', '\n  have:', '\n  fix:'

def junk(more=()):
    "A strategy: the name of a value of `JUNK`, or a number, a text, a list made up by hypothesis"
    made = st.one_of(st.integers(-2**65, 2**65), st.floats(), st.text(max_size=4), st.lists(st.one_of(st.integers(-3, 3), st.floats(-2, 2), st.text(max_size=2), st.none()), max_size=3))
    named = st.sampled_from([*JUNK, *more])
    return st.one_of(named, named, named, made.map(lambda v: (v,)))   # three of four by name

def value_of(drawn, more=()):
    "The value for what `junk` drew"
    if isinstance(drawn, tuple): return drawn[0]
    return ({**JUNK, **dict(more)})[drawn]()

def outcome(call):
    "What `call` gives, or the words of upslope's error, which must have the house's form; any other error is raised as it is"
    try: return call()
    except UpslopeError as error:
        text = str(error)
        first = text.splitlines()[0]
        assert any(row in text for row in ROWS), f'an error that says neither got, need, have nor fix: {text}'
        assert len(first) < 600 and len(text) < 4000, f'an error that nobody can read: {len(text)} letters, {text[:400]}'
        return text
