"A valid call of a layer with one thing spoiled works, or is told in the house's form; nothing huge is allocated"
import warnings
import pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
import upslope.layers as ours
from upslope.core.errors import UpslopeError
from odd_values import Thing, kin_of, odd, outcome, value_of
from valid_calls import CALLS, ELSEWHERE, LOSSES, RULES, arguments_of, defaults_of, inputs_of, places_of

NAMES = sorted(CALLS)
GROUPS = [NAMES[i::8] for i in range(8)]   # as many tests, so that several processes share them

def fuzz(n):
    "So many cases, the same on every run"
    return settings(max_examples=n, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])

@pytest.fixture(autouse=True, scope='module')
def quiet():
    "Warnings are nobody's concern here"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield

def called(name, arguments, inputs, training=True):
    layer = getattr(ours, name)(**arguments)
    return layer.train(training)(*inputs)

def test_the_table_is_whole_and_its_calls_are_valid():
    classes = {name: getattr(ours, name) for name in ours.__all__ if isinstance(getattr(ours, name), type)}
    layers = {name for name, cls in classes.items() if issubclass(cls, ours.Layer) and cls.__name__ == name}
    assert layers - ELSEWHERE <= set(CALLS)
    for name in NAMES: called(name, arguments_of(name), inputs_of(name))

# -- one argument
@pytest.mark.parametrize('group', range(8))
def test_an_argument(group):
    @fuzz(500)
    @given(st.sampled_from(GROUPS[group]), st.integers(0, 10**6), odd(), st.none() | st.integers(0, 40), st.booleans())
    def one(name, at, drawn, kin, training):
        arguments,places = arguments_of(name),places_of(name)
        place = places[at % len(places)]
        arguments[place] = value_of(drawn) if kin is None else kin_of(arguments[place], kin)
        outcome(lambda: called(name, arguments, inputs_of(name), training))
    one()

# -- the input
INPUTS = {
    'no batch': lambda x: x[:0],
    'no features': lambda x: x[..., :0],
    'an axis less': lambda x: x[0],
    'an axis more': lambda x: x.unsqueeze(0),
    'no axes': lambda x: x.flatten()[0],
    'a size more': lambda x: torch.cat([x, x[..., :1]], -1),
    'whole numbers': lambda x: x.long(),
    'bytes': lambda x: x.to(torch.uint8),
    'bools': lambda x: x > .5,
    'complex': lambda x: x.to(torch.complex64),
    'half': lambda x: x.half(),
    'bfloat16': lambda x: x.bfloat16(),
    'double': lambda x: x.double(),
    'NaN': lambda x: x*torch.nan,
    'infinite': lambda x: x/0,
    'below 0': lambda x: -x - 1,
    'huge': lambda x: x.double()*1e300,
    'with gradient': lambda x: x.float().requires_grad_(),
    'meta': lambda x: x.to('meta'),
    'sparse': lambda x: x.to_sparse(),
    'backwards': lambda x: x.flip(-1).mT if x.ndim > 1 else x,
    'array': lambda x: x.numpy(),
    'array of whole numbers': lambda x: x.long().numpy(),
    'in a list': lambda x: [x],
    'in a tuple': lambda x: (x, x),
    'in a dict': lambda x: {'x': x},
    'numbers': lambda x: x.tolist(),
    'nothing': lambda x: None,
    'empty list': lambda x: [],
    'a text': lambda x: 'x',
    'a number': lambda x: 3,
    'a thing': lambda x: Thing(),
    'symbol': lambda x: ours.Input(tuple(x.shape[1:])),
    'strings': lambda x: x.numpy().astype(str),
}
def spoiled(value, change, at):
    "One tensor of a nest changed"
    if isinstance(value, torch.Tensor): return change(value)
    if isinstance(value, dict):
        key = list(value)[at % len(value)]
        return {**value, key: spoiled(value[key], change, at)}
    return [spoiled(v, change, at) if i == at % len(value) else v for i, v in enumerate(value)]

@pytest.mark.parametrize('group', range(8))
def test_an_input(group):
    @fuzz(500)
    @given(st.sampled_from(GROUPS[group]), st.sampled_from([*INPUTS]), st.integers(0, 3), st.booleans(), st.booleans())
    def one(name, kind, at, built, training):
        inputs,layer = inputs_of(name),getattr(ours, name)(**arguments_of(name)).train(training)
        if built: layer(*inputs_of(name))
        i = at % len(inputs)
        inputs[i] = spoiled(inputs[i], INPUTS[kind], at)
        outcome(lambda: layer(*inputs))
        if built: layer(*inputs_of(name))   # and it goes on as before
    one()

# -- which arguments there are
@pytest.mark.parametrize('name', NAMES)
def test_the_number_and_the_names_of_arguments(name):
    cls,arguments = getattr(ours, name),arguments_of(name)
    told = outcome(lambda: cls(*(1,)*40))
    assert isinstance(told, UpslopeError) and f'{name} ' in str(told)
    outcome(cls)
    told = outcome(lambda: cls(**arguments, nonsense=3))
    assert isinstance(told, ours.SignatureError) and f"{name} has no argument 'nonsense'" in str(told)
    told = outcome(lambda: cls(**arguments, trainabel=True))
    assert told.fix and 'trainable' in told.fix

# -- what layers are made with
def rule_called(name, arguments):
    rule = RULES[name](**arguments)
    return rule((4, 4) if hasattr(rule, 'draw') else torch.rand(4, 4))
def loss_called(name, arguments, truth, prediction): return LOSSES[name](**arguments)(truth, prediction)

NUMBERED = 'Circle', 'SparseCategoricalCrossentropy', 'CategoricalGeneralizedCrossEntropy'   # truth is a class's number
def pair_of(name):
    "Truth and prediction of a valid call"
    if name == 'CTC': return [torch.tensor([[1, 2], [1, 0]]), torch.rand(2, 5, 4)]
    if name in NUMBERED: return [torch.tensor([0, 1, 1]), torch.rand(3, 4)]
    return [torch.eye(4)[:3], torch.rand(3, 4)]

@fuzz(400)
@given(name=st.sampled_from(sorted(RULES)), at=st.integers(0, 9), drawn=odd())
def test_an_argument_of_a_rule(name, at, drawn):
    arguments = defaults_of(RULES[name])
    if arguments: arguments[list(arguments)[at % len(arguments)]] = value_of(drawn)
    outcome(lambda: rule_called(name, arguments))

@fuzz(300)
@given(name=st.sampled_from(sorted(LOSSES)), at=st.integers(0, 9), drawn=odd())
def test_an_argument_of_a_loss(name, at, drawn):
    arguments = defaults_of(LOSSES[name])
    arguments[list(arguments)[at % len(arguments)]] = value_of(drawn)
    outcome(lambda: loss_called(name, arguments, *pair_of(name)))

@fuzz(300)
@given(name=st.sampled_from(sorted(LOSSES)), at=st.integers(0, 1), kind=st.sampled_from(list(INPUTS)))
def test_an_input_of_a_loss(name, at, kind):
    pair = pair_of(name)
    pair[at] = INPUTS[kind](pair[at])
    outcome(lambda: loss_called(name, defaults_of(LOSSES[name]), *pair))

@fuzz(200)
@given(st.sampled_from([ours.activation, ours.initializer, ours.regularizer, ours.constraint, ours.loss]), odd())
def test_a_choice(choose, drawn): outcome(lambda: choose(value_of(drawn)))
