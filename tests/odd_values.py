"""What one puts by mistake into the place of an argument or of an input, and what may come of it

A test takes a valid call, spoils one thing in it and asks `outcome`. Two ends are right: the call works, or it ends in
one of upslope's own errors, in the house's form: a sentence that ends in a full stop, then what it got, needs or has,
or how to mend it. Every other error goes through, and the test fails.
"""
import decimal, itertools, math, pathlib, re
from contextlib import contextmanager
from pathlib import Path
import numpy as np, pandas as pd, torch
from hypothesis import strategies as st
from torch import nn
from upslope.core.errors import UpslopeError

class Thing:
    "Of no use to anyone"
def nothing(*args, **kwargs): "A function that gives nothing"
def letters(*args, **kwargs): return 'letters'
def takes_two(a, b): return [a, b]
def gives_three(*args, **kwargs): return 3
def itself(*args, **kwargs): return itself
def fails(*args, **kwargs): return {}['no such key']

def loop():
    "A list that holds itself"
    items = [1]
    items.append(items)
    return items

# Made anew for each case, since some are used up or changed. What might be meant comes first
MEANT = {
    'None': lambda: None,
    'True': lambda: True,
    'False': lambda: False,
    '0': lambda: 0,
    '1': lambda: 1,
    '2': lambda: 2,
    '3': lambda: 3,
    '7': lambda: 7,
    '-1': lambda: -1,
    '-2': lambda: -2,
    '0.5': lambda: .5,
    '1.0': lambda: 1.,
    '-0.1': lambda: -.1,
    '(1,)': lambda: (1,),
    '(1, 2)': lambda: (1, 2),
    '(2, 1)': lambda: (2, 1),
    '[1, 2, 3]': lambda: [1, 2, 3],
    '((1, 2), (3, 4))': lambda: ((1, 2), (3, 4)),
    '(None, 3)': lambda: (None, 3),
    '(0.1, 0.3)': lambda: (.1, .3),
    "'relu'": lambda: 'relu',
    "'same'": lambda: 'same',
    "'valid'": lambda: 'valid',
    "'zeros'": lambda: 'zeros',
    "'l2'": lambda: 'l2',
    "'nearest'": lambda: 'nearest',
    "'channels_first'": lambda: 'channels_first',
    "'max_norm'": lambda: 'max_norm',
    "'orthogonal'": lambda: 'orthogonal',
    "'glu'": lambda: 'glu',
    'sigmoid': lambda: torch.sigmoid,
    'float16': lambda: torch.float16,
    'int64': lambda: np.int64(3),
    'float32': lambda: np.float32(.5),
    'bool_': lambda: np.bool_(True),
}
NEVER = {
    '-5': lambda: -5,
    '2**40': lambda: 2**40,
    '2**62': lambda: 2**62,
    '2**63': lambda: 2**63,
    '10**400': lambda: 10**400,
    '10**5000': lambda: 10**5000,
    '1e11': lambda: 1e11,
    '2.5': lambda: 2.5,
    'inf': lambda: math.inf,
    '-inf': lambda: -math.inf,
    'nan': lambda: math.nan,
    '1j': lambda: 1j,
    '()': lambda: (),
    '(0, 0)': lambda: (0, 0),
    "('a', 'b')": lambda: ('a', 'b'),
    '[0.1, nan]': lambda: [.1, math.nan],
    '(2**62, 2**62)': lambda: (2**62, 2**62),
    '[[1], [2, 3]]': lambda: [[1], [2, 3]],
    '9 axes': lambda: (1,)*9,
    'no text': lambda: '',
    'a long text': lambda: 'é'*3000,
    'bytes': lambda: b'3',
    '{}': lambda: {},
    "{'a': 1}": lambda: {'a': 1},
    'settings': lambda: {'class_name': 'Dense', 'config': {'units': -1}},
    'set': lambda: {1, 2},
    'generator': lambda: (i for i in range(2)),
    'range': lambda: range(2),
    'object': Thing,
    'class': lambda: Thing,
    'int': lambda: int,
    'gives nothing': lambda: nothing,
    'gives letters': lambda: letters,
    'module': lambda: math,
    'linear': lambda: torch.nn.Linear(2, 2),
    'tensor(3)': lambda: torch.tensor(3),
    'tensor(0.5)': lambda: torch.tensor(.5),
    'tensor([1, 1])': lambda: torch.tensor([1, 1]),
    'tensor of nothing': lambda: torch.empty(0),
    'matrix': lambda: torch.rand(2, 3),
    'array': lambda: np.array([1., 2.]),
    'array of texts': lambda: np.array(['a', 'b']),
}
FOREIGN = {   # of other kinds
    'NotImplemented': lambda: NotImplemented,
    'Ellipsis': lambda: ...,
    '3.0': lambda: 3.,
    'Decimal': lambda: decimal.Decimal('0.1'),
    'x': lambda: 'x',
    'digits': lambda: 'digits',
    'min': lambda: 'min',
    'a zero byte': lambda: '\0',
    'half a pair': lambda: '\ud800',
    '(2, 2)': lambda: (2, 2),
    '[1, 2]': lambda: [1, 2],
    '["a"]': lambda: ['a'],
    '[None]': lambda: [None],
    '[[1], 2]': lambda: [[1], 2],
    '[{}]': lambda: [{}],
    '[nan]': lambda: [math.nan],
    'itself in a list': loop,
    '{1: 2}': lambda: {1: 2},
    "{'a': [1]}": lambda: {'a': [1]},
    "{'function': 3}": lambda: {'function': 3},
    'without end': itertools.count,
    'iterator of nothing': lambda: iter(()),
    'meta tensor': lambda: torch.empty(1, device='meta'),
    'array(2)': lambda: np.array(2),
    'array of objects': lambda: np.array(['a', None], dtype=object),
    'datetime64': lambda: np.datetime64('2020-01-01'),
    'Series': lambda: pd.Series([1, 2]),
    'frame': lambda: pd.DataFrame({'a': [1, 2]}),
    'Path': lambda: pathlib.Path('x'),
    'dict': lambda: dict,
    'layer': lambda: nn.Linear(2, 2),
    'layers': lambda: nn.Sequential(nn.ReLU()),
    'lambda': lambda: lambda: 3,
    'takes two': lambda: takes_two,
    'gives three': lambda: gives_three,
    'gives itself': lambda: itself,
    'fails': lambda: fails,
    'len': lambda: len,
}
VALUES = {**MEANT, **NEVER, **FOREIGN}
JUNK = [   # names of values for arguments that may hold anything
    'None', 'True', 'False', 'NotImplemented', 'Ellipsis', '3', '0', '-1', '2**62', '10**400', '0.5', '3.0', 'nan', 'inf', '-inf',
    '1j', 'Decimal', 'no text', 'x', "'relu'", 'digits', 'min', 'a long text', 'a zero byte', 'half a pair', 'bytes', '()',
    '(1,)', '(2, 2)', '[1, 2]', '["a"]', '[None]', '[[1], 2]', '[{}]', '[nan]', 'itself in a list', '{}', "{'a': 1}", '{1: 2}',
    "{'a': [1]}", "{'function': 3}", 'set', 'range', 'generator', 'without end', 'iterator of nothing', 'tensor([1, 1])',
    'tensor(3)', 'tensor of nothing', 'meta tensor', 'array', 'array(2)', 'array of objects', 'int64', 'float32', 'bool_',
    'datetime64', 'Series', 'frame', 'Path', 'object', 'class', 'int', 'dict', 'module', 'layer', 'layers', 'lambda', 'takes two',
    'gives nothing', 'gives three', 'gives letters', 'gives itself', 'fails', 'len',
]

def odd():
    "A strategy: the name of one of `VALUES`, or a value that hypothesis makes up, alone in a tuple"
    numbers = st.one_of(st.integers(-9, 9), st.integers(2**40, 2**66), st.floats())
    made = st.one_of(numbers, st.lists(st.integers(-3, 9), max_size=4), st.text(max_size=3))
    named = st.sampled_from(list(MEANT)), st.sampled_from(list(NEVER))
    return st.one_of(*named, *named, made.map(lambda value: (value,)))

def junk(more=()):
    "A strategy: one of `JUNK`, or of more values by name, or what hypothesis makes up, alone in a tuple"
    items = st.one_of(st.integers(-3, 3), st.floats(-2, 2), st.text(max_size=2), st.none())
    made = st.one_of(st.integers(-2**65, 2**65), st.floats(), st.text(max_size=4), st.lists(items, max_size=3))
    named = st.sampled_from([*JUNK, *more])
    return st.one_of(named, named, named, made.map(lambda value: (value,)))   # three of four by name

def value_of(drawn, more=()):
    "The value for what `odd` or `junk` drew"
    if isinstance(drawn, tuple): return drawn[0]
    return {**VALUES, **dict(more)}[drawn]()

def kin_of(value, at):
    "A value of `MEANT` of the type of a right one, the one at a place; of any type, if there is none of its own"
    same = [make for make in MEANT.values() if type(make()) is type(value)] or list(MEANT.values())
    return same[at % len(same)]()

def outcome(call):
    "What `call` gives with little memory, or upslope's error, whose form is right; any other error goes through"
    try:
        with little_memory(): return call()
    except UpslopeError as error:
        first,*rows = str(error).split('\n')
        assert first.endswith('.'), f'its first line is no sentence: {error}'
        told = any(re.match(r'  (got|need|have|fix): ', row) for row in rows)
        assert told, f'it says neither what it got nor what it needs: {error}'
        assert len(first) < 400 and len(str(error)) < 5000, f'nobody reads all this: {str(error)[:300]}'
        return error

@contextmanager
def little_memory(megabytes=200):
    "What asks for so much more memory than there is now is refused by the system, where the system can (Linux)"
    status = Path('/proc/self/status')
    if not status.exists():
        yield
        return
    import resource
    now = int(re.search(r'VmSize:\s+(\d+) kB', status.read_text())[1])*1024
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + megabytes*2**20, before[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_AS, before)
