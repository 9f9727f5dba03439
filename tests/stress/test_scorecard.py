"`stress` finds differences that are there, and none that are not"
import numpy as np, torch
from torch import nn
from upslope.core.seeds import seeded
from upslope.data import loaders, sources
from upslope.data.tables import RandomShift
from upslope.stress import largest, stress
from upslope.train import Learner

def trained(augment=None, seed=0, epochs=10):
    dls = loaders(sources.digits(), 64, seed=seed, pipeline=['standardize'], augment=augment)
    with seeded(seed, 'scorecard'):
        learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), loss_func='cross_entropy', opt_func='adam', verbose=False)
        learn.fit(epochs, 3e-3)
    return learn

def test_a_model_trained_on_shifted_pictures_breaks_later_under_shift_than_one_that_was_not():
    plain,hardy = trained(),trained([RandomShift(2)], epochs=25)
    card = stress(hardy, pushes=['shift'], baseline=plain)
    assert card['shift'].verdict == 'breaks later', card
    assert stress(plain, pushes=['shift'], baseline=hardy)['shift'].verdict == 'breaks sooner'

def test_the_same_model_beside_itself_cannot_be_told_apart():
    learn = trained(epochs=4)
    for p in stress(learn, pushes=['rotation', 'occlusion', 'weight_noise'], baseline=learn).pushes:
        assert p.verdict in ('cannot be told apart', 'neither breaks') and np.array_equal(p.model.scores, p.baseline.scores)

def test_an_untrained_model_has_nothing_to_break():
    learn = trained(epochs=0)
    nn.init.zeros_(learn.model[-1].weight); nn.init.zeros_(learn.model[-1].bias)
    card = stress(learn, pushes=['gaussian_noise'], baseline=None)
    assert np.isnan(card['gaussian_noise'].model.point.point) and 'no better than' in str(card)

def test_model_and_modes_are_left_as_they_were():
    learn = trained(epochs=2)
    learn.model.train()
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    stress(learn, pushes=['pgd', 'weight_noise', 'quantization', 'shift'], rows=50)
    assert learn.model.training and all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())

def test_a_bare_module_with_a_pipeline_scores_as_its_learner():
    learn = trained(epochs=4)
    a,b = stress(learn, pushes='rotation', baseline=None),stress(learn.model, sources.digits(), pushes='rotation', pipeline=['standardize'], baseline=None)
    assert np.array_equal(a['rotation'].model.scores, b['rotation'].model.scores)

def test_the_step_that_is_weighed_leaves_batch_statistics_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = largest(model, torch.randn(8, 4, 4, 1), 'input', megabytes=.5)
    assert found.largest == 4 and found.why == 'the model takes no other size'
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

def test_a_list_of_models_is_their_mean_and_its_interval_counts_the_seeds():
    seeds = [trained(seed=s, epochs=3) for s in range(3)]
    card = stress(seeds, pushes=['rotation'], baseline=seeds[:1])
    p, alone = card['rotation'], [stress(s, pushes=['rotation'], baseline=None)['rotation'].model for s in seeds]
    n = min(len(p.model.severities), *(len(a.severities) for a in alone))
    for i, a in enumerate(alone): np.testing.assert_allclose(p.model.by_model[:n, i], a.scores.mean(1)[:n])
    np.testing.assert_allclose(p.model.scores[:n], np.mean([a.scores[:n] for a in alone], 0))
    points = [a.point.point for a in alone]
    assert min(points) <= p.model.point.point <= max(points) and p.model.point.high - p.model.point.low > 0 and p.baseline.by_model.shape[1] == 1
    assert card.table().push.tolist() == ['rotation'] and '3 models break first' in str(card)
    assert not set(card.history().columns) - {'subject', 'push', 'severity', 'draw', 'score'}

def test_few_models_stretch_the_interval_as_t_does_and_many_hardly():
    from upslope.stress.breaking import _stretch
    from scipy import stats
    rng = np.random.default_rng(0)
    both = rng.normal(3, 1, 200_000)
    for k in (2, 5, 50):   # all of the variance is the models'; half of it; none
        assert abs(_stretch(both, np.full(9, 3.), k, .95) - stats.t.ppf(.975, k-1)/stats.norm.ppf(.975)) < .02*stats.t.ppf(.975, k-1)
        half = ((stats.t.ppf(.975, k-1)**2 + stats.norm.ppf(.975)**2)/2)**.5   # half of the variance is the models', half the rows'
        assert abs(_stretch(both, rng.normal(3, .5**.5, 200_000), k, .95) - half/stats.norm.ppf(.975)) < .02*half
        assert _stretch(both, both, k, .95) == 1.
    assert _stretch(np.full(9, np.inf), np.full(9, np.inf), 5, .95) == 1.
