"A valid call of the core's functions with one thing spoiled works, or is told in the house's form"
import warnings
import pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn
from upslope import core
from upslope.core import fixed_points, shapes, signatures
from odd_values import odd, outcome, value_of

def fuzz(n):
    "So many cases, the same on every run"
    return settings(max_examples=n, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])

@pytest.fixture(autouse=True, scope='module')
def quiet():
    "Warnings are nobody's concern here"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield

def linear(n=4, m=4): return core.lift(nn.Linear(n, m))
def step(): return core.concat >> linear(8, 4)     # of (input, state)
def memory(): return core.recurrently(step())
def seed_of(seed, name):
    with core.seeded(seed, name) as value: return value

# name -> (function, its arguments by name, made anew each time)
CALLS = {
    'Shape': (core.Shape, lambda: dict(sizes=(None, 4))),
    'filled': (lambda sizes, n: core.Shape(sizes).filled(n), lambda: dict(sizes=(None, 4), n=3)),
    'per_axis': (lambda value: shapes.per_axis(value, 2, 'size'), lambda: dict(value=(2, 2))),
    'derive': (core.derive, lambda: dict(seed=3)),
    'seeded': (seed_of, lambda: dict(seed=3, name='init')),
    'parse': (signatures.parse, lambda: dict(text='b t 64 -> b t 10')),
    'parse_structure': (signatures.parse_structure, lambda: dict(text='b 28 28')),
    'typed': (lambda signature: core.typed(signature)(torch.relu), lambda: dict(signature='b n -> b n')),
    'lift': (core.lift, lambda: dict(f=nn.Linear(4, 4), signature='... 4 -> ... 4')),
    'compose': (lambda f, g: core.compose(f, g), lambda: dict(f=linear(), g=linear())),
    'then': (lambda f, g: f >> g, lambda: dict(f=linear(), g=linear())),
    'beside': (lambda f, g: f*g, lambda: dict(f=linear(), g=linear())),
    'both': (lambda f, g: f & g, lambda: dict(f=linear(), g=linear())),
    'on': (lambda a, b, check: linear().on(a, b, check=check), lambda: dict(a='B', b=4, check=True)),
    'on, two inputs': (lambda a, b: (linear()*linear()).on(a, b), lambda: dict(a=('B', 4), b=('B', 4))),
    'on, a text': (lambda text: linear().on(text), lambda: dict(text='b 4')),
    'build': (lambda input_shape: core.compose(linear()).build(input_shape), lambda: dict(input_shape=(None, 4))),
    'named': (lambda name: linear().named(name), lambda: dict(name='head')),
    'batch': (core.batch, lambda: dict(f=linear())),
    'choice': (lambda f, g: core.choice(f, g), lambda: dict(f=linear(), g=linear())),
    'first': (core.first, lambda: dict(f=linear())),
    'second': (core.second, lambda: dict(f=linear())),
    'iterate': (core.iterate, lambda: dict(f=linear(), n=2)),
    'repeat': (core.repeat, lambda: dict(f=linear(), n=2)),
    'pick': (core.pick, lambda: dict(i=0, of=2)),
    'route': (core.route, lambda: dict(way='a, b -> b, a')),
    'residual': (core.residual, lambda: dict(f=linear())),
    'residual_with': (core.residual_with, lambda: dict(f=linear(4, 3), shortcut=linear(4, 3))),
    'deq': (core.deq, lambda: dict(f=step(), tol=1e-5, max_steps=10)),
    'fixed_point': (lambda tol, max_steps: fixed_points.fixed_point(torch.cos, torch.zeros(3), tol, max_steps),
        lambda: dict(tol=1e-5, max_steps=10)),
    'at': (lambda path: core.at(path).get(linear().params), lambda: dict(path='linear.weight')),
    'set': (lambda tree, value: core.at('a').set(tree, value), lambda: dict(tree={'a': 1}, value=2)),
    'freeze_with': (core.freeze_with, lambda: dict(f=linear(), values=None, where='*')),
    'share': (core.share, lambda: dict(f=linear() >> linear(), ties={'linear_1.weight': 'linear.weight'}, via=None)),
    'apply': (lambda params: linear().apply(params, torch.ones(2, 4)), lambda: dict(params=linear().params)),
    'feedback': (core.feedback, lambda: dict(f=linear(), n=2, axis=1)),
    'lagged': (core.lagged, lambda: dict(f=linear(8, 4), n=2)),
    'fold': (core.fold, lambda: dict(f=step(), axis=1)),
    'recurrently': (core.recurrently, lambda: dict(f=step())),
    'recurrently_with': (core.recurrently_with, lambda: dict(f=step(), store=linear())),
    'unroll': (core.unroll, lambda: dict(f=memory(), axis=1)),
    'unroll_last': (core.unroll_last, lambda: dict(f=memory(), axis=1)),
    'zero_state': (core.zero_state, lambda: dict(f=memory())),
    'train_state': (core.train_state, lambda: dict(f=memory())),
    'fix_state': (core.fix_state, lambda: dict(f=memory(), state=torch.zeros(4))),
    'prime': (core.prime, lambda: dict(f=memory(), xs=torch.ones(2, 3, 4), state=None, axis=1)),
    'from_spec': (core.from_spec, lambda: dict(spec=core.lift(torch.relu, '... -> ...').spec())),
}
# What functions that were put together are called with
MADE = {
    'then': lambda: linear() >> linear(),
    'residual': lambda: core.residual(linear()),
    'fold': lambda: core.fold(step()),
    'iterate': lambda: core.iterate(linear(), 2),
    'lifted': linear,
    'checked': lambda: linear().on('b', 4, check=True),
    'feedback': lambda: core.feedback(linear(), 2),
}
def input_of(name): return torch.ones((2, 3, 4) if name == 'fold' else (2, 4))
SIGNATURES = ('b t 64 -> b t 10', 'b n, b m -> b k', '... h -> ... h/2', "'a, 'b -> 'b",
    '{image: b h w c, label: b} -> b 10', 'b n -> b n [state b 32]')
SIGNS = [*"bn64 ->,.()[]{}'/*+:%#\n\0é", '', '...', '**', ' -> ', '9'*400, 'prod(', '/0', 'lambda: 0', 'state']

def called(name, at, value):
    function,make = CALLS[name]
    arguments = make()
    key = list(arguments)[at % len(arguments)]
    return function(**{**arguments, key: value})

def test_the_calls_are_valid():
    for function,make in CALLS.values(): function(**make())
    for name, make in MADE.items(): make()(input_of(name))
    for text in SIGNATURES: signatures.parse(text)

@pytest.mark.parametrize('group', range(4))
def test_an_argument(group):
    names = sorted(CALLS)[group::4]
    @fuzz(400)
    @given(name=st.sampled_from(names), at=st.integers(0, 9), drawn=odd())
    def one(name, at, drawn): outcome(lambda: called(name, at, value_of(drawn)))
    one()

@fuzz(200)
@given(name=st.sampled_from(sorted(MADE)), drawn=odd())
def test_an_input(name, drawn): outcome(lambda: MADE[name]()(value_of(drawn)))

@fuzz(400)
@given(text=st.sampled_from(SIGNATURES), at=st.integers(0, 40), letter=st.sampled_from(SIGNS), cut=st.integers(0, 3))
def test_a_signature(text, at, letter, cut):
    at %= len(text)
    outcome(lambda: core.lift(torch.relu, text[:at] + letter + text[at + cut:]))
