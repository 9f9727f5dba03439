"""What one puts by mistake into the place of an argument or of an input, and what may come of it

A test takes a valid call, spoils one thing in it and asks `outcome`. Two ends are right: the call works, or it ends in one of upslope's own errors, in
the house's form: a sentence that ends in a full stop, then what it got, needs or has, or how to mend it. Every other error goes through, and the test fails.
"""
import math, re
from contextlib import contextmanager
import numpy as np, torch
from hypothesis import strategies as st
from upslope.core.errors import UpslopeError

class Thing:
    "Of no use to anyone"
def nothing(*args, **kwargs): "A function that gives nothing"
def letters(*args, **kwargs): return 'letters'

# Made anew for each case, since some are used up or changed. What is huge is so huge that no machine has room for it
VALUES = {
    'None': lambda: None, 'True': lambda: True, 'False': lambda: False, '0': lambda: 0, '1': lambda: 1, '2': lambda: 2, '7': lambda: 7, '-1': lambda: -1, '-5': lambda: -5,
    '2**40': lambda: 2**40, '2**62': lambda: 2**62, '2**63': lambda: 2**63, '10**400': lambda: 10**400, '1e11': lambda: 1e11, '0.5': lambda: .5, '2.5': lambda: 2.5, '3.0': lambda: 3., '-0.1': lambda: -.1,
    'inf': lambda: math.inf, '-inf': lambda: -math.inf, 'nan': lambda: math.nan, '1j': lambda: 1j, '()': lambda: (), '(1,)': lambda: (1,), '(1, 2)': lambda: (1, 2), '(2, 1)': lambda: (2, 1), '(0, 0)': lambda: (0, 0),
    '[1, 2, 3]': lambda: [1, 2, 3], '((1, 2), (3, 4))': lambda: ((1, 2), (3, 4)), '(None, 3)': lambda: (None, 3), "('a', 'b')": lambda: ('a', 'b'), '[0.1, nan]': lambda: [.1, math.nan], '(2**62, 2**62)': lambda: (2**62, 2**62),
    '[[1], [2, 3]]': lambda: [[1], [2, 3]], '9 axes': lambda: (1,)*9, "''": lambda: '', "'relu'": lambda: 'relu', "'same'": lambda: 'same', "'zeros'": lambda: 'zeros', "'orthogonal'": lambda: 'orthogonal', 'a long text': lambda: 'é'*3000,
    'bytes': lambda: b'3', '{}': lambda: {}, "{'a': 1}": lambda: {'a': 1}, "{'class_name': 'Dense'}": lambda: {'class_name': 'Dense', 'config': {'units': -1}}, 'set': lambda: {1, 2}, 'generator': lambda: (i for i in range(2)), 'range': lambda: range(2),
    'object': Thing, 'class': lambda: Thing, 'int': lambda: int, 'function': lambda: nothing, 'a function of letters': lambda: letters, 'module': lambda: math, 'a torch module': lambda: torch.nn.Linear(2, 2),
    'tensor(3)': lambda: torch.tensor(3), 'tensor(0.5)': lambda: torch.tensor(.5), 'tensor([1, 1])': lambda: torch.tensor([1, 1]), 'tensor of nothing': lambda: torch.empty(0), 'matrix': lambda: torch.rand(2, 3),
    'array': lambda: np.array([1., 2.]), 'array of texts': lambda: np.array(['a', 'b']), 'int64': lambda: np.int64(3), 'float32': lambda: np.float32(.5), 'bool_': lambda: np.bool_(True), 'dtype': lambda: torch.float16,
}

def odd():
    "A strategy: the name of one of `VALUES`, or a number that hypothesis makes up, alone"
    made = st.one_of(st.integers(-9, 9), st.integers(2**40, 2**66), st.floats(), st.lists(st.integers(-3, 9), max_size=4), st.text(max_size=3))
    return st.one_of(*[st.sampled_from(list(VALUES))]*4, made.map(lambda v: (v,)))

def value_of(drawn):
    "The value for what `odd` drew"
    return drawn[0] if isinstance(drawn, tuple) else VALUES[drawn]()

def outcome(call):
    "What `call` gives, or upslope's error, whose form is right; any other error goes through"
    try: return call()
    except UpslopeError as error:
        first,*rows = str(error).split('\n')
        assert first.endswith('.'), f'its first line is no sentence: {error}'
        assert any(re.match(r'  (got|need|have|fix): ', row) for row in rows), f'it says neither what it got nor what it needs: {error}'
        assert len(first) < 400 and len(str(error)) < 5000, f'nobody can read it: {len(str(error))} letters, {str(error)[:300]}'
        return error

@contextmanager
def little_memory(more=200):
    "At most so many MB more than there are now; what asks for more is refused by the system"
    try: import resource
    except ImportError: resource = None   # Windows
    now = resource and [line for line in open('/proc/self/status') if line.startswith('VmSize')] if __import__('os').path.exists('/proc/self/status') else None
    if not now: yield; return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(now[0].split()[1])*1024 + more*2**20, before[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_AS, before)
