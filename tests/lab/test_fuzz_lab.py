"A recipe, a study and their parts, with one argument spoiled: they are made, or an error says what was wrong"
import pytest
from hypothesis import given, settings, strategies as st
from torch import nn
from upslope.lab import Queue, Recipe, Store, Study
from upslope.lab.axes import Only, Range, axis_to_json
from upslope.lab.baselines import logistic_regression, most_frequent
from upslope.lab.design import Design, factorial, latin_hypercube, random
from upslope.lab.halving import Halving
from upslope.lab.search import search
import odd_values

def dense(width=16, act='relu', dropout=0.): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.LazyLinear(10))
def conv(width=8): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.LazyLinear(10))
def near(recipe): return [recipe['lr']/2, recipe['lr']*2]
def own_data(split=0): raise RuntimeError('no test loads it')

MORE = {
    'a recipe': lambda: Recipe('digits', dense), 'a model': lambda: dense, 'models': lambda: [dense, conv], 'a range': lambda: Range(.1, 1.), 'only': lambda: Only([0., .1], opt='sgd'), 'only three': lambda: Only(Range(1, 3), epochs=3),
    'near': lambda: near, 'a design': lambda: Design('grid'), 'an axis': lambda: dict(lr=[1e-3, 1e-2]), 'steps': lambda: [dict(lr=[1e-3, 1e-2]), {}], 'a list design': lambda: ['random', dict(n=3)], 'a wrong option': lambda: ['random', dict(n=3, m=1)],
    'a random design': lambda: random(3), 'a search': lambda: search(3), 'half': lambda: factorial(1/2), 'Only of text': lambda: {'width': 'ab'}, 'axis of a dict': lambda: dict(width={'a': 1}), 'axis of None': lambda: dict(width=[None, 16]),
    'axis without end': lambda: dict(width=odd_values.itertools.count(1)), 'axis of itself': lambda: dict(width=odd_values.itself), 'axis of nothing': lambda: dict(width=odd_values.nothing), 'axis that fails': lambda: dict(lr=odd_values.fails),
}
def junk(): return odd_values.junk(MORE)
def of(drawn): return odd_values.value_of(drawn, MORE)

def spoil(make, valid, name, drawn, look):
    "`make(**valid)` with one argument spoiled; what comes of it must bear being looked at"
    def call():
        thing = make(**{**valid, name: of(drawn)})
        look(thing)
        return thing
    return odd_values.outcome(call)

# -- recipe -----------------------------------------------------------------------------------------------------------
RECIPES = [
    dict(data='digits', model=dense),
    dict(data='digits', model=dense, loss='cross_entropy', opt='sgd', lr=1e-2, weight_decay=1e-4, schedule='constant', epochs=3, batch_size=32, metrics=('accuracy',), pipeline=(), target_pipeline=None, patience=2, split=1, placebo=1, width=8),
    dict(data=own_data, model=conv, width=4, epochs=2),
]
SETTINGS = ['data', 'model', 'loss', 'opt', 'lr', 'weight_decay', 'schedule', 'epochs', 'batch_size', 'metrics', 'pipeline', 'target_pipeline', 'patience', 'split', 'placebo', 'width', 'dropout', 'act', 'no_such']

def look_at_recipe(recipe):
    assert len(recipe.key) == 24
    repr(recipe), recipe._repr_html_()
    assert recipe.but() == recipe

@settings(max_examples=600)
@given(st.sampled_from(RECIPES), st.sampled_from(SETTINGS), junk())
def test_recipe(valid, name, drawn): spoil(Recipe, valid, name, drawn, look_at_recipe)

@settings(max_examples=100)
@given(st.sampled_from(SETTINGS), junk())
def test_recipe_but(name, drawn): spoil(Recipe('digits', dense).but, {}, name, drawn, look_at_recipe)

# -- study ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def store(tmp_path_factory): return Store(tmp_path_factory.mktemp('fuzz')/'store.db')

STUDIES = [
    dict(name='s', axes=dict(width=[8, 16], lr=near)),
    dict(name='s', axes=[dict(model=[dense, conv]), dict(width=[8, 16])], seeds=[0, 1, 2], baselines=[most_frequent, logistic_regression], metric='valid_accuracy', mode='max', half_width=.01),
    dict(name='s', axes=dict(opt=['adam', 'sgd'], weight_decay=Only([0., .1], opt='sgd')), design='grid', placebo=True, seeds=3),
    dict(name='s', axes=dict(width=Range(4, 32, log=True, n=3)), nuisance=dict(lr=[1e-3, 1e-2]), seeds=3),
    dict(name='s', axes=dict(width=Range(4, 32), lr=[1e-3, 1e-2]), design=random(3), seeds=2, baselines=None),
]
PARTS = ['name', 'recipe', 'axes', 'seeds', 'baselines', 'design', 'metric', 'mode', 'nuisance', 'placebo', 'half_width']

FITTING = dict(model=conv, loss='cross_entropy', opt='sgd', schedule='constant', metrics=('f1',), pipeline=('minmax',), target_pipeline=('standardize',), split=3, dropout=.1, act='tanh')

def look_at_study(study):
    repr(study)
    for step in study.steps:
        study.design.variants(study.recipe, step)
        for axis in step.values(): axis_to_json(axis)
    for axis in study.nuisance.values(): axis_to_json(axis)
    assert all(isinstance(s, int) and s >= 0 for s in study.seeds) and isinstance(study.placebo, bool)

@settings(max_examples=400)
@given(st.sampled_from(STUDIES), st.sampled_from(PARTS), junk())
def test_study(store, valid, name, drawn): spoil(Study, dict(recipe=Recipe('digits', dense), store=store, **valid), name, drawn, look_at_study)

@settings(max_examples=300)
@given(st.sampled_from(['axes', 'nuisance', 'steps']), st.sampled_from(SETTINGS[1:]), junk(), st.booleans())
def test_one_axis(store, place, name, drawn, beside):
    "One axis spoiled, alone or as a value among others"
    def call():
        axis = [FITTING.get(name, 16), of(drawn)] if beside else of(drawn)
        given = dict(axes=[{}, {name: axis}]) if place == 'steps' else {place: {name: axis}}
        study = Study('s', Recipe('digits', dense), store=store, **given)
        look_at_study(study)
    odd_values.outcome(call)

@settings(max_examples=60)
@given(junk())
def test_store_of_a_study(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp('store')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        odd_values.outcome(lambda: Study('s', Recipe('digits', dense), store=of(drawn)))
        odd_values.outcome(lambda: Queue(of(drawn)))

# -- parts ------------------------------------------------------------------------------------------------------------
VALID = [
    (random, dict(n=3, seed=1)), (latin_hypercube, dict(n=3, seed=1)), (factorial, dict(fraction=1/2)), (search, dict(n=4, sampler='tpe', pruner='median', seed=1, batch=2)),
    (Design, dict(name='random', options=dict(n=2))), (Halving, dict(first=1, factor=3)), (Range, dict(low=1e-3, high=1e-1, log=True, n=4, integer=False)), (Range, dict(low=2, high=16, log=False, n=3, integer=True)),
    (Only, dict(values=[0., .1], opt='sgd')), (Only, dict(values=Range(0., 1.), width=(8, 16))),
]

def look_at_part(part):
    repr(part)
    if isinstance(part, Design) and part.options.get('n', 1) < 5: part.variants(Recipe('digits', dense), dict(width=[16, 32], lr=[1e-3, 1e-2]))
    if isinstance(part, Range): assert part.values and part.low <= part.at(.3) <= part.high and 0 <= part.place(part.at(.7)) <= 1 + 1e-9
    if isinstance(part, Only): part.applies(Recipe('digits', dense))
    if isinstance(part, (Range, Only)): axis_to_json(part)
    if isinstance(part, Halving): assert part.next(2) > 2 and part.survivors(dict(a=1., b=None, c=2.))

@settings(max_examples=400)
@given(st.sampled_from([(make, valid, name) for make, valid in VALID for name in valid]), junk())
def test_part(case, drawn):
    make, valid, name = case
    spoil(make, valid, name, drawn, look_at_part)

@settings(max_examples=60)
@given(junk())
def test_queue(store, drawn): spoil(Queue, dict(store=store), 'active', drawn, repr)
