"""What one puts by mistake into the place of an argument or of an input, and what may come of it

A test takes a valid call, spoils one thing in it and asks `outcome`. Two ends are right: the call works, or it ends in
one of upslope's own errors, in the house's form: a sentence that ends in a full stop, then what it got, needs or has,
or how to mend it. Every other error goes through, and the test fails.
"""
import math, re
from contextlib import contextmanager
from pathlib import Path
import numpy as np, torch
from hypothesis import strategies as st
from upslope.core.errors import UpslopeError

class Thing:
    "Of no use to anyone"
def nothing(*args, **kwargs): "A function that gives nothing"
def letters(*args, **kwargs): return 'letters'

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
VALUES = {**MEANT, **NEVER}

def odd():
    "A strategy: the name of one of `VALUES`, or a value that hypothesis makes up, alone in a tuple"
    numbers = st.one_of(st.integers(-9, 9), st.integers(2**40, 2**66), st.floats())
    made = st.one_of(numbers, st.lists(st.integers(-3, 9), max_size=4), st.text(max_size=3))
    named = st.sampled_from(list(MEANT)), st.sampled_from(list(NEVER))
    return st.one_of(*named, *named, made.map(lambda value: (value,)))

def value_of(drawn):
    "The value for what `odd` drew"
    return drawn[0] if isinstance(drawn, tuple) else VALUES[drawn]()

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
