"Token ids under stress: they are replaced, lost and swapped, never pushed as numbers; every function answers or says why not"
import inspect
import pytest, torch
from torch import nn
import upslope.stress as stress_room
from upslope.core.seeds import seeded
from upslope.data import loaders
from upslope.data.sources import Dataset, Part
from upslope.lab import Recipe
from upslope.layers import LSTM, Dense, Embedding, GlobalAveragePooling1D, Input, Sequential
from upslope.stress import breaking_point, check_attack, fewer_rows, fgsm, label_noise, largest, learning_curve, perturbations, pgd, stress, subgroups, wrong_labels
from upslope.stress.perturbations import Scale
from upslope.train import Learner
import odd_values
from upslope.core.errors import UpslopeError

WORDS,LENGTH = 20,12

def sentences(n, seed, dtype=torch.int64):
    "Rows of ids, some of them short and filled up with 0; the class says whether more are below 10 or above"
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, WORDS, (n, LENGTH), generator=g)
    ids = torch.where(torch.arange(LENGTH) < torch.randint(6, LENGTH+1, (n, 1), generator=g), ids, 0)
    return Part(ids.to(dtype), (((ids > 0) & (ids < 10)).sum(1) > (ids >= 10).sum(1)).long())

def corpus(split=0, dtype=torch.int64): return Dataset('corpus', 'classification', *(sentences(n, i, dtype) for i, n in enumerate((400, 100, 120))), classes=('few', 'many'), version='1')

class Last(nn.Module):
    def forward(self, x): return x[0][:,-1]

def pooled(units=8): return Sequential([Input((LENGTH,)), Embedding(WORDS, units), GlobalAveragePooling1D(), Dense(2)])
def recurrent(units=8): return Sequential([Input((LENGTH,)), Embedding(WORDS, units, mask_zero=True), LSTM(units), Dense(2)])
def plain(units=8): return nn.Sequential(nn.Embedding(WORDS, units, padding_idx=0), nn.LSTM(units, units, batch_first=True), Last(), nn.Linear(units, 2))
MODELS = [pooled, recurrent, plain]

@pytest.fixture(scope='module', params=MODELS, ids=lambda m: m.__name__)
def learn(request):
    with seeded(0, request.param.__name__):
        learn = Learner(loaders(corpus(), 50, pipeline=[]), request.param(), loss_func='cross_entropy', opt_func='adam', verbose=False)
        learn.fit(12, 1e-2)
    return learn

def test_the_scorecard(learn):
    card = stress(learn, draws=1, rows=100)
    assert [p.name for p in card.pushes] == ['replaced', 'lost', 'swapped', 'weight_noise', 'quantization']
    assert card['replaced'].model.point.clean > .7
    assert card['replaced'].model.point.broke, card
    repr(card), card._repr_html_(), card.history(), card.sentences()
    by_module = stress(learn.model, corpus(), pushes='replaced', draws=1, rows=100, baseline=None)
    assert (by_module['replaced'].model.scores == card['replaced'].model.scores).all()

def test_an_average_does_not_see_the_order():
    model = pooled().eval()
    card = stress(model, corpus(), pushes='swapped', draws=1, rows=50, baseline=None)
    scores = card['swapped'].model.scores
    assert (scores == scores[0]).all()

@pytest.mark.parametrize('dtype', [torch.int64, torch.int32, torch.int16, torch.uint8, torch.float32])
@pytest.mark.parametrize('model', MODELS)
def test_ids_of_every_type(model, dtype):
    stress(model().eval(), corpus(dtype=dtype), pushes=['replaced', 'weight_noise'], draws=1, rows=20)

@pytest.mark.parametrize('pushes', ['fgsm', 'pgd', ['swapped', 'pgd']])
def test_the_adversary_is_refused_in_words(learn, pushes):
    with pytest.raises(ValueError, match='token ids are names'): stress(learn, pushes=pushes)
    x, y = corpus().test.x, corpus().test.y
    for attack in (fgsm, pgd, check_attack):
        for ids in (x, x.float()):
            with pytest.raises(ValueError, match='token ids are names'): attack(learn.model, ids, y, .1)

@pytest.mark.parametrize('push', ['replaced', 'lost', 'swapped'])
def test_padding_stays_and_all_ids_are_known(learn, push):
    seen = []
    hook = learn.model[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    try: stress(learn, pushes=push, draws=1, rows=60, baseline=None)
    finally: hook.remove()
    assert set(torch.cat(seen).unique().tolist()) <= set(corpus().train.x.unique().tolist()) and not any(x.is_floating_point() for x in seen)
    if isinstance(learn.model[0], nn.Embedding):   # its padding_idx is 0
        zeros = torch.stack([(x == 0).sum(1) for x in seen])
        assert (zeros == zeros[0]).all() or push == 'lost' and (zeros >= zeros[0]).all()

def every_call(learn):
    "name -> a call of each public function with this model"
    data, model = corpus(), learn.model
    x, y = data.test.x, data.test.y
    scale = Scale.fit(x, 'tokens')
    recipe = Recipe(corpus, pooled, epochs=1, batch_size=50, pipeline=())
    return dict(
        perturbations=lambda: [p(x, s, scale) for p in perturbations('tokens').values() for s in (0, .5, 3, 30)], perturbation=lambda: perturbations('tokens', names='lost'),
        Perturbation=lambda: perturbations('tokens')['lost'].constant(2), check_attack=lambda: check_attack(model, x, y, .1), fgsm=lambda: fgsm(model, x, y, .1), pgd=lambda: pgd(model, x, y, .1),
        breaking_point=lambda: breaking_point([0, 1, 2], torch.rand(3, 40), torch.zeros(40)), Scorecard=lambda: stress(learn, pushes='lost', draws=1, rows=20).table(), stress=lambda: stress([learn, learn], baseline=learn, draws=1, rows=20, pushes=['lost', 'quantization']),
        subgroups=lambda: subgroups(learn, lambda x: (x[:,0] > 9).numpy(), draws=100), fewer_rows=lambda: fewer_rows(data, .5), wrong_labels=lambda: wrong_labels(data, .2),
        label_noise=lambda: label_noise(recipe, (.2,), 1), learning_curve=lambda: learning_curve(recipe, (.5,), 1), extrapolate=lambda: stress_room.extrapolate(learning_curve(recipe, (.3, .5, .7, 1.), 1), 1000, draws=5),
        largest=lambda: [largest(model, x, what, most=64) for what in ('batch', 'input')])

def test_every_public_function_answers_or_says_why_not(learn):
    calls = every_call(learn)
    functions = {n for n in stress_room._all_ if callable(getattr(stress_room, n))}
    assert set(calls) == functions, functions ^ set(calls)
    refusals = {name for name, call in calls.items() if isinstance(odd_values.outcome(call), UpslopeError)}
    assert refusals == {'check_attack', 'fgsm', 'pgd'}

SPOILED = [(dict(pushes='lost', draws=1, rows=20, baseline=None, seed=0, share=.5, part='test', kind='tokens'), name) for name in ('data', 'pushes', 'part', 'rows', 'kind', 'baseline', 'draws', 'share', 'seed')]

@pytest.mark.parametrize('name', sorted(odd_values.JUNK))
def test_one_argument_of_stress_spoiled(name):
    model = pooled().eval()
    for valid, argument in SPOILED:
        if argument == 'draws' and name in ('2**62', '10**400'): continue   # as many draws as one asks for
        odd_values.outcome(lambda: stress(model, **{'data': corpus(), **valid, argument: odd_values.value_of(name)}))

def test_ids_that_the_table_has_not_are_told():
    few = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(4*LENGTH, 2))
    with pytest.raises(ValueError, match='cannot answer for these rows'): stress(few, corpus(), pushes='lost', draws=1)

def test_a_table_of_whole_numbers_stays_a_table():
    model = nn.Sequential(nn.Linear(LENGTH, 2))
    card = stress(model, corpus(), pushes=['noise', 'pgd'], draws=1, rows=30, baseline=None)
    assert [p.name for p in card.pushes] == ['noise', 'pgd'] and inspect.signature(stress).parameters['kind'].default is None
