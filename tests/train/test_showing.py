"`show_results` and `tta` do with our Learner what they do with fastai's"
import matplotlib
matplotlib.use('Agg')
import numpy as np, pytest, torch
from torch import nn
from sklearn.datasets import load_digits
from upslope.train import Learner as Ours
from fastai.learner import Learner as Theirs
from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms
from PIL import Image

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder,digits = tmp_path_factory.mktemp('digits'),load_digits()
    for i in range(80): Image.fromarray((digits.images[i]*15).astype('uint8')).resize((16, 16)).save(folder/f'{digits.target[i]}_{i}.png')
    return folder

def made(kind, folder):
    torch.manual_seed(0); np.random.seed(0); __import__('random').seed(0)
    dls = ImageDataLoaders.from_name_func(folder, sorted(folder.glob('*.png')), lambda name: name[0], valid_pct=.25, seed=0, item_tfms=Resize(16),
                                          batch_tfms=aug_transforms(size=16, max_rotate=5.), bs=20, num_workers=0, device='cpu')
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    learn = kind(dls, model, loss_func=nn.CrossEntropyLoss(), lr=1e-2)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return learn

def test_test_time_augmentation(files):
    found = []
    for kind in (Theirs, Ours):
        learn = made(kind, files)
        torch.manual_seed(1); np.random.seed(1); __import__('random').seed(1)
        with learn.no_bar(): found.append(learn.tta(n=3))
    for theirs, ours in zip(*found): assert torch.equal(theirs, ours)
    assert found[0][0].shape == (20, 10)

@pytest.mark.parametrize('kind', [Theirs, Ours])
def test_show_results(files, kind):
    import matplotlib.pyplot as plt
    plt.close('all')
    learn = made(kind, files)
    with learn.no_bar(): learn.show_results(max_n=4)
    axes = [a for f in map(plt.figure, plt.get_fignums()) for a in f.axes if a.images]
    assert len(axes) == 4 and all(a.get_title().count('\n') == 1 for a in axes)   # the label and the answer over each picture
    plt.close('all')
