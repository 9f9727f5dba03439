"A valid call of a layer with one thing spoiled works, or is told in the house's form; nothing huge is allocated on the way"
import warnings
import pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
import upslope.layers as ours
from odd_values import Thing, little_memory, odd, outcome, value_of
from valid_calls import CALLS, ELSEWHERE, LOSSES, RULES, arguments_of, inputs_of, seeds

NAMES = sorted(CALLS)
GROUPS = [NAMES[i::8] for i in range(8)]   # as many tests, so that several processes share them

def fuzz(n): return settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)

@pytest.fixture(autouse=True, scope='module')
def quiet_and_poor():
    "Warnings are nobody's concern here, and memory is scarce"
    with warnings.catch_warnings(), little_memory():
        warnings.simplefilter('ignore')
        yield

def called(name, arguments, inputs, training=True):
    layer = getattr(ours, name)(**arguments)
    return layer.train(training)(*inputs)

def test_the_table_is_whole_and_its_calls_are_valid():
    layers = {n for n in ours.__all__ if isinstance(getattr(ours, n), type) and issubclass(getattr(ours, n), ours.Layer)}
    aliases = {n for n in layers if getattr(ours, n).__name__ != n}
    assert layers - aliases - ELSEWHERE <= set(CALLS)
    for name in NAMES: called(name, arguments_of(name), inputs_of(name))

# -- one argument
@pytest.mark.parametrize('group', range(8))
def test_an_argument(group):
    @fuzz(360)
    @given(name=st.sampled_from(GROUPS[group]), at=st.integers(0, 10**6), drawn=odd(), training=st.booleans())
    def one(name, at, drawn, training):
        arguments = arguments_of(name)
        arguments[list(arguments)[at % len(arguments)]] = value_of(drawn)
        outcome(lambda: called(name, arguments, inputs_of(name), training))
    one()

# -- the input
INPUTS = {
    'no batch': lambda x: x[:0], 'no features': lambda x: x[..., :0], 'an axis less': lambda x: x[0], 'an axis more': lambda x: x.unsqueeze(0), 'no axes': lambda x: x.flatten()[0], 'a size more': lambda x: torch.cat([x, x[..., :1]], -1),
    'whole numbers': lambda x: x.long(), 'bytes': lambda x: x.to(torch.uint8), 'bools': lambda x: x > .5, 'complex': lambda x: x.to(torch.complex64), 'half': lambda x: x.half(), 'bfloat16': lambda x: x.bfloat16(), 'double': lambda x: x.double(),
    'NaN': lambda x: x*torch.nan, 'infinite': lambda x: x/0, 'below 0': lambda x: -x - 1, 'huge': lambda x: x.double()*1e300, 'with gradient': lambda x: x.float().requires_grad_(), 'meta': lambda x: x.to('meta'), 'sparse': lambda x: x.to_sparse(), 'backwards': lambda x: x.flip(-1).mT if x.ndim > 1 else x,
    'array': lambda x: x.numpy(), 'array of whole numbers': lambda x: x.long().numpy(), 'in a list': lambda x: [x], 'in a tuple': lambda x: (x, x), 'in a dict': lambda x: {'x': x}, 'numbers': lambda x: x.tolist(), 'nothing': lambda x: None, 'empty list': lambda x: [],
    'a text': lambda x: 'x', 'a number': lambda x: 3, 'a thing': lambda x: Thing(), 'symbol': lambda x: ours.Input(tuple(x.shape[1:])), 'strings': lambda x: x.numpy().astype(str),
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
    @fuzz(360)
    @given(name=st.sampled_from(GROUPS[group]), kind=st.sampled_from(list(INPUTS)), at=st.integers(0, 3), built=st.booleans(), training=st.booleans())
    def one(name, kind, at, built, training):
        inputs,layer = inputs_of(name),getattr(ours, name)(**arguments_of(name)).train(training)
        if built: layer(*inputs_of(name))
        i = at % len(inputs)
        inputs[i] = spoiled(inputs[i], INPUTS[kind], at)
        outcome(lambda: layer(*inputs))
        if built: layer(*inputs_of(name))   # and is as before
    one()

# -- which arguments there are
@pytest.mark.parametrize('name', NAMES)
def test_the_number_and_the_names_of_arguments(name):
    cls,arguments = getattr(ours, name),arguments_of(name)
    for given in ((1,)*40, ()): assert isinstance(outcome(lambda: cls(*given)), cls | ours.SignatureError | ValueError)
    told = outcome(lambda: cls(**arguments, nonsense=3))
    assert isinstance(told, ours.SignatureError) and name in str(told) and "nonsense" in str(told)
    told = outcome(lambda: cls(**arguments, trainabel=True))
    assert told.fix and 'trainable' in told.fix

# -- what layers are made with
def rule_called(name, arguments): return RULES[name](**arguments)(*(((4, 4),) if hasattr(RULES[name], 'draw') else (torch.rand(4, 4),)))
def loss_called(name, arguments, truth, prediction): return LOSSES[name](**arguments)(truth, prediction)
def pair_of(name):
    "Truth and prediction of a valid call"
    if name == 'CTC': return [torch.tensor([[1, 2], [1, 0]]), torch.rand(2, 5, 4)]
    if name in ('Circle', 'SparseCategoricalCrossentropy', 'CategoricalGeneralizedCrossEntropy'): return [torch.tensor([0, 1, 1]), torch.rand(3, 4)]
    return [torch.eye(4)[:3], torch.rand(3, 4)]

@fuzz(400)
@given(name=st.sampled_from(sorted(RULES)), at=st.integers(0, 9), drawn=odd())
def test_an_argument_of_a_rule(name, at, drawn):
    arguments = seeds(RULES[name])
    if arguments: arguments[list(arguments)[at % len(arguments)]] = value_of(drawn)
    outcome(lambda: rule_called(name, arguments))

@fuzz(300)
@given(name=st.sampled_from(sorted(LOSSES)), at=st.integers(0, 9), drawn=odd())
def test_an_argument_of_a_loss(name, at, drawn):
    arguments = seeds(LOSSES[name])
    arguments[list(arguments)[at % len(arguments)]] = value_of(drawn)
    outcome(lambda: loss_called(name, arguments, *pair_of(name)))

@fuzz(300)
@given(name=st.sampled_from(sorted(LOSSES)), at=st.integers(0, 1), kind=st.sampled_from(list(INPUTS)))
def test_an_input_of_a_loss(name, at, kind):
    pair = pair_of(name)
    pair[at] = INPUTS[kind](pair[at])
    outcome(lambda: loss_called(name, seeds(LOSSES[name]), *pair))

@fuzz(200)
@given(kind=st.sampled_from(['activation', 'initializer', 'regularizer', 'constraint', 'loss']), drawn=odd())
def test_a_choice(kind, drawn): outcome(lambda: getattr(ours, kind)(value_of(drawn)))
