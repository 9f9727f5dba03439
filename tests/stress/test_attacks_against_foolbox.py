"FGSM and PGD against foolbox: the same step gives the same picture, the same budget does at least as much harm"
import pytest, torch
from torch import nn
foolbox = pytest.importorskip('foolbox', reason='foolbox is not installed')
from upslope.core.seeds import seeded
from upslope.data import loaders, sources
from upslope.stress import fgsm, pgd
from upslope.train import Learner

@pytest.fixture(scope='module')
def digits():
    "A trained network, the test part as it sees it, its range"
    dls = loaders(sources.digits(), 64, pipeline=['standardize'])
    with seeded(0, 'foolbox'):
        learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), loss_func='cross_entropy', opt_func='adam', verbose=False)
        learn.fit(8, 3e-3)
    (x,),(y,) = learn.dls.loaders[2].xs,learn.dls.loaders[2].ys
    return learn.model.eval(),x,y,(x.min().item(), x.max().item())

def right(model, x, y): return float((model(x).argmax(1) == y).float().mean())

@pytest.mark.parametrize('eps', [.05, .2, 1.])
def test_fgsm_is_foolbox_s(digits, eps):
    model,x,y,bounds = digits
    theirs = foolbox.attacks.FGSM()(foolbox.PyTorchModel(model, bounds=bounds, device='cpu'), x, y, epsilons=eps)[1]
    ours = fgsm(model, x, y, eps, *bounds)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert (ours != x).any()

@pytest.mark.parametrize('norm, attack, eps', [('inf', 'LinfPGD', .2), ('inf', 'LinfPGD', .5), ('2', 'L2PGD', 1.), ('2', 'L2PGD', 2.)])
def test_pgd_does_at_least_as_much_harm_as_foolbox_s(digits, norm, attack, eps):
    model,x,y,bounds = digits
    torch.manual_seed(0)
    theirs = getattr(foolbox.attacks, attack)(steps=20, rel_stepsize=2.5/20)(foolbox.PyTorchModel(model, bounds=bounds, device='cpu'), x, y, epsilons=eps)[1]
    ours = pgd(model, x, y, eps, norm, steps=20, low=bounds[0], high=bounds[1])
    size = (ours - x).abs().max() if norm == 'inf' else (ours - x).flatten(1).norm(dim=1).max()
    assert size <= eps + 1e-5
    assert right(model, ours, y) <= right(model, theirs, y) + .01 < right(model, x, y)
    loss = lambda z: nn.functional.cross_entropy(model(z), y).item()
    assert loss(ours) >= .99*loss(theirs)
