"""Augmentation against Keras with the draws fixed in both: a uniform number is the same part of its range for each picture, a normal one is the same noise,
an order is reversed. What is left is arithmetic, and must agree; where we depart on purpose, the departure is here as a test."""
import random
import numpy as np, pytest, torch
from against import pair
import keras
from keras.src.backend.torch import random as theirs
import upslope.layers as ours
from upslope.layers.augmentation import _Image

def pictures(n=3, h=14, w=10, c=3, seed=0): return torch.tensor(np.random.default_rng(seed).integers(0, 256, (n, h, w, c)).astype('float32'))
def noise(shape): return torch.tensor(np.random.default_rng(7).normal(size=tuple(shape)).astype('float32'))

@pytest.fixture
def fixed(monkeypatch):
    "Call it with the parts for the pictures of a batch, and the choices in turn"
    def set_to(parts, choices=()):
        parts = torch.tensor(parts)
        def spread(shape):
            shape = tuple(shape)
            return parts[0].expand(shape) if not shape or shape[0] != len(parts) else parts.reshape(-1, *(1,)*(len(shape) - 1)).expand(shape)
        def uniform(shape, minval=0., maxval=1., dtype=None, seed=None): return minval + (maxval - minval)*spread(shape)
        def integers(shape, minval, maxval, dtype='int32', seed=None):
            return torch.tensor(choices[:shape[0]]) if choices and shape[0] != len(parts) else (minval + (maxval - minval)*spread(shape)).floor().int()
        monkeypatch.setattr(theirs, 'uniform', uniform); monkeypatch.setattr(theirs, 'randint', integers)
        monkeypatch.setattr(theirs, 'normal', lambda shape, mean=0., stddev=1., dtype=None, seed=None: mean + stddev*noise(shape))
        monkeypatch.setattr(theirs, 'shuffle', lambda x, axis=0, seed=None: torch.as_tensor(x).flip(0))
        monkeypatch.setattr(theirs, 'beta', lambda shape, alpha, beta, dtype=None, seed=None: spread(shape))
        monkeypatch.setattr(theirs, 'gamma', lambda shape, alpha, dtype=None, seed=None: torch.ones(shape))
        mine = iter(choices)
        monkeypatch.setattr(_Image, 'draw', lambda self, x, low, high, *shape: low + (high - low)*(parts if len(x) == len(parts) else parts[:1]).reshape(-1, *(1,)*len(shape)).expand(len(x), *shape))
        monkeypatch.setattr(_Image, 'normal', lambda self, x, *shape: noise((len(x), *shape[1:], shape[0])).movedim(-1, 1))   # theirs is channels last
        monkeypatch.setattr(_Image, 'choice', lambda self, x, n: next(mine))
        monkeypatch.setattr(_Image, 'shares', lambda self, x, weights: torch.stack([parts, 1 - parts], 1)[:len(weights)] if weights.ndim == 2 else torch.stack([parts[0], 1 - parts[0]]) if len(weights) == 2 else torch.full((len(weights),), 1/len(weights)))
        monkeypatch.setattr(_Image, 'drawn', lambda self, x, make: torch.arange(len(x)).flip(0))   # what is left: the order of a mixture
    return set_to

parts = [[.3, .3, .3], [.05, .45, .95], [.7, .2, .6]]
cases = [
    *[('RandomShear', (), dict(x_factor=a, y_factor=b, fill_mode=m, interpolation=i)) for a, b in ((.3, 0.), (0., .4), (.3, .2), ((.1, .3), (.2, .4))) for m in ('constant', 'nearest') for i in ('bilinear', 'nearest')],
    *[('RandomPerspective', (), kw) for kw in ({}, dict(scale=.5), dict(factor=(1., 1.), fill_value=9.), dict(factor=(1., 1.), interpolation='nearest'))],
    *[('RandomRotation', (f,), dict(fill_mode=m)) for f in (.2, (-.1, .3)) for m in ('constant', 'nearest', 'wrap')],
    *[('RandomTranslation', (.3, (-.2, .1)), dict(fill_mode=m)) for m in ('constant', 'nearest', 'wrap')],
    *[('RandomZoom', a, dict(fill_mode=m)) for a in ((.3,), (.3, .5), ((-.2, .1), (0., .4))) for m in ('constant', 'nearest')],
    ('RandomFlip', ('horizontal',), {}), ('RandomFlip', ('vertical',), {}),
    ('RandomBrightness', (.4,), {}), ('RandomBrightness', ((-.1, .5),), dict(value_range=(0, 300))), ('RandomContrast', ((.2, .7),), {}), ('RandomHue', (.6,), {}), ('RandomHue', ((.2, .3),), {}), ('RandomSaturation', ((0., .9),), dict(value_range=(0, 1))), ('RandomSaturation', ((.3, .8),), dict(value_range=(0, 1))),
    ('RandomColorDegeneration', ((0., .7),), {}), ('RandomSharpness', ((.1, .9),), {}), ('RandomPosterization', ((2, 6),), {}), ('RandomPosterization', (4,), {}), ('RandomGrayscale', (.5,), {}), ('RandomInvert', (.9,), {}), ('RandomInvert', ((.2, .8),), {}), ('Solarization', (.3, .6), {}),
    ('RandomErasing', (), dict(fill_value=3.)), ('RandomErasing', ((.9, 1.),), dict(fill_value=(1., 200., 300.))), ('RandomErasing', ((1., 1.),), dict(scale=.6)), ('RandomErasing', ((1., 1.),), dict(scale=(.3, .4), value_range=(0, 100))),
    ('MixUp', (), {}), ('CutMix', (), {}), ('CutMix', ((.2, .8),), {}),
    ('RandomColorJitter', (), dict(brightness_factor=.3, contrast_factor=(.1, .4), hue_factor=.2)), ('RandomColorJitter', (), dict(value_range=(0, 1), saturation_factor=(.2, .6), hue_factor=.3))]

@pytest.mark.parametrize('part', parts, ids=str)
@pytest.mark.parametrize('name,args,kwargs', cases, ids=str)
def test_same_numbers(name, args, kwargs, part, fixed):
    theirs,mine = pair(name, args, **kwargs)
    fixed(part)
    x = pictures()/(255 if kwargs.get('value_range') == (0, 1) else 1)
    want,got = torch.as_tensor(theirs(x.clone(), training=True)),mine(x.clone())
    off = (got - want).abs().amax(-1)/(1 if kwargs.get('value_range') == (0, 1) else 255) > 2e-4
    assert off.float().mean() <= (.06 if 'nearest' in kwargs.values() else 0), off.float().mean()   # between two pixels of the same distance, rounding decides
    one = mine(x[0].clone())   # one picture by itself is drawn for as the first of a batch
    assert one.shape == x[0].shape and (name in ('MixUp', 'CutMix') or name == 'RandomErasing' and kwargs.get('fill_value') is None or torch.allclose(one, got[0], atol=1e-3))

@pytest.mark.parametrize('kwargs', [{}, dict(kernel_size=5), dict(kernel_size=3, sigma=(.4, .9), factor=(.8, 1.)), dict(kernel_size=(7, 7), value_range=(0, 100))], ids=str)
@pytest.mark.parametrize('part', [.2, .6, .9])
def test_blur(kwargs, part, fixed):
    "One sigma for the batch in Keras, one for each picture here: equal when the draws are"
    theirs,mine = pair('RandomGaussianBlur', **kwargs)
    fixed([part]*3)
    torch.testing.assert_close(mine(pictures()), torch.as_tensor(theirs(pictures(), training=True)), atol=2e-3, rtol=1e-4)

def test_blur_where_keras_has_a_bug(fixed):
    "A kernel that is not square: Keras gives the picture another size"
    theirs,mine = pair('RandomGaussianBlur', kernel_size=(3, 7), factor=(1., 1.))
    fixed([.5]*3)
    assert mine(pictures()).shape == (3, 14, 10, 3) != tuple(theirs.transform_images(pictures(), theirs.get_random_transformation(pictures())).shape if _runs(theirs) else ())

def _runs(layer):
    try: layer.transform_images(pictures(), layer.get_random_transformation(pictures())); return True
    except Exception: return False

@pytest.mark.parametrize('kwargs', [dict(factor=(1., 1.)), dict(factor=(1., 1.), scale=(.2, .5), fill_mode='constant'), dict(factor=.9, scale=.5, fill_mode='nearest', interpolation='nearest')], ids=str)
def test_elastic(kwargs, fixed, monkeypatch):
    theirs,mine = pair('RandomElasticTransform', **kwargs)
    fixed([.6, .3, .8])
    both = noise((3, 2, 20, 30))
    turn = iter([both[:, 0], both[:, 1]])
    monkeypatch.setattr(torch, 'normal', lambda *args, **kw: next(turn))
    want = torch.as_tensor(theirs(pictures(h=20, w=30), training=True))
    monkeypatch.setattr(_Image, 'normal', lambda self, x, *shape: both)
    got = mine(pictures(h=20, w=30))
    if kwargs.get('fill_mode') != 'nearest' and 'scale' not in kwargs: assert not torch.equal(got, pictures(h=20, w=30))
    if 'fill_mode' in kwargs: assert ((got - want).abs().amax(-1) > .05).float().mean() <= (.03 if 'interpolation' in kwargs else 0)   # 'reflect' is 'mirror' in Keras on torch

@pytest.mark.parametrize('choices', [(0, 5), (1, 3), (2, 9), (4, 6), (7, 8), (8, 4), (10,)], ids=str)
def test_rand_augment(choices, fixed):
    "The same list of changes in the same order, as strong"
    theirs,mine = pair('RandAugment', num_ops=len(choices))
    part,x = [.3, .8, .6],pictures() if 10 not in choices else pictures(1).repeat(3, 1, 1, 1)   # Keras equalises a whole batch together
    for layer in (*mine.choices, *(getattr(theirs, n) for n in theirs._AUGMENT_LAYERS)):
        if hasattr(layer, 'fill_mode'): layer.fill_mode = 'constant'
    for name in theirs._AUGMENT_LAYERS:   # each is run whether it was drawn or not, and RandomBrightness changes its input in place
        layer = getattr(theirs, name)
        layer.transform_images = lambda images, *args, change=layer.transform_images, **kw: change(images.clone(), *args, **kw)
    fixed(part, choices)
    torch.testing.assert_close(mine(x.clone()), torch.as_tensor(theirs(x.clone(), training=True)), atol=.03, rtol=1e-3)

@pytest.mark.parametrize('all_ops', [True, False])
def test_aug_mix(all_ops, fixed, monkeypatch):
    theirs,mine = pair('AugMix', num_chains=2, chain_depth=2, all_ops=all_ops)
    for layer in (*mine.choices, *(getattr(theirs, n) for n in theirs._augment_layers)):
        if hasattr(layer, 'fill_mode'): layer.fill_mode = 'constant'
    words = ['random_shear', 'random_posterization', 'solarization', None]
    turn = iter(words)
    monkeypatch.setattr(random, 'choice', lambda of: next(turn))
    fixed([.3, .8], [0, 4, 3, len(mine.choices)])
    monkeypatch.setattr(_Image, 'shares', lambda self, x, w, at=iter([torch.tensor([.5, .5]), torch.tensor([.3, .7])]): next(at))
    torch.testing.assert_close(mine(pictures(2)), torch.as_tensor(theirs(pictures(2), training=True)), atol=.03, rtol=1e-3)
    assert len(mine.choices) == len(theirs._augment_layers)

@pytest.mark.parametrize('kwargs', [{}, dict(tile_grid_size=(3, 4)), dict(clip_limit=0.), dict(clip_limit=1.5, value_range=(0, 1))], ids=str)
@pytest.mark.parametrize('h,w', [(32, 40), (17, 23), (5, 3)])
def test_clahe(kwargs, h, w, monkeypatch):
    from keras.src.backend.torch import nn
    monkeypatch.setattr(nn, 'one_hot', lambda x, n, axis=-1, dtype=None, sparse=False: torch.nn.functional.one_hot(x.long(), n).float())   # on torch Keras counts in whole numbers, and cuts the limit off to one: 0, for small tiles
    theirs,mine = pair('ContrastLimitedAdaptiveHistogramEqualization', **kwargs)
    x = pictures(2, h, w)/(255 if 'value_range' in kwargs else 1)
    want,got = torch.as_tensor(theirs(x.clone())),mine(x)
    assert ((got - want).abs() > 1e-3*kwargs.get('value_range', (0, 255))[1]).float().mean() < .01   # a number on the edge of a shade

def test_boxes():
    theirs,mine = pair('MaxNumBoundingBoxes', (4,), fill_value=-2, bounding_box_format='xyxy')
    for n in (2, 4, 6):
        data = lambda: dict(images=pictures(2), bounding_boxes=dict(boxes=torch.arange(2.*n*4).reshape(2, n, 4), labels=torch.arange(2*n).reshape(2, n)))
        want,got = theirs(data()),mine(data())
        for k in ('boxes', 'labels'): assert torch.equal(torch.as_tensor(want['bounding_boxes'][k]).to(got['bounding_boxes'][k].dtype), got['bounding_boxes'][k])

@pytest.mark.parametrize('name', ['MixUp', 'CutMix'])
def test_labels(name, fixed):
    theirs,mine = pair(name)
    fixed([.3, .6, .9])
    data = lambda: dict(images=pictures(), labels=torch.eye(3))
    want,got = theirs(data(), training=True),mine(data())
    torch.testing.assert_close(got['images'], torch.as_tensor(want['images']), atol=1e-3, rtol=1e-4)
    # we count the pixels that CutMix took; Keras takes the area before it is rounded to pixels
    torch.testing.assert_close(got['labels'], torch.as_tensor(want['labels']).float(), atol=1e-5 if name == 'MixUp' else .15, rtol=0)

@pytest.mark.parametrize('name,args,kwargs', [('RandomFlip', ('horizontal',), {}), ('RandomTranslation', (.2, .3), dict(fill_mode='constant')), ('RandomShear', (.2, .3), dict(fill_mode='constant')), ('RandomPerspective', ((1., 1.),), {}), ('RandomZoom', (.4,), dict(fill_mode='nearest')), ('RandomHue', (.4,), {}), ('CutMix', (), {}), ('Resizing', (7, 5), {}), ('CenterCrop', (6, 5), {})], ids=str)
def test_dicts(name, args, kwargs, fixed):
    "Labels and segmentation masks go with the pictures (not compared: RandomRotation, which in Keras on torch changes its matrix in place and turns the mask by another)"
    theirs,mine = pair(name, args, **kwargs)
    fixed([.2, .6, .9])
    masks = pictures(c=1, seed=3).int() % 4
    data = lambda whole=True: dict(images=pictures(), labels=torch.eye(3), segmentation_masks=masks.clone() if whole else masks.float())   # Keras computes places in the masks' dtype
    want = theirs(data(False), training=True) if name not in ('Resizing', 'CenterCrop') else theirs(data(False))
    got = mine(data())
    wrong = torch.as_tensor(want['segmentation_masks']).float() != got['segmentation_masks'].float()
    assert wrong.float().mean() < .03 and got['segmentation_masks'].dtype == torch.int32
    if name != 'CutMix': torch.testing.assert_close(got['labels'], torch.as_tensor(want['labels']).float())
    assert set(got) == set(want)

def test_departures(fixed):
    "What Keras does otherwise, against its own text or against sense; each is said at the layer"
    x = pictures(h=10, w=20)
    theirs,mine = pair('RandomCrop', (12, 8))
    fixed([.2, .5, .9])
    largest = ours.CenterCrop(12, 8)(x)                                 # the largest part of the right proportions, as Keras's text says
    assert torch.equal(mine(x), largest) and not torch.allclose(torch.as_tensor(theirs(x.clone(), training=True)), largest)
    assert tuple(theirs(x.clone(), training=False).shape) == (3, 10, 20, 3) and tuple(mine.eval()(x).shape) == (3, 12, 8, 3)
    theirs,mine = pair('RandomCrop', (6, 5))
    first = torch.as_tensor(theirs(x.clone(), training=True))[0]
    assert torch.equal(mine(x)[0], first)                               # the first picture's place, which in Keras is the batch's
    assert not torch.equal(mine(x)[1], torch.as_tensor(theirs(x.clone(), training=True))[1])
    exact = ours.RandomCrop(10, 5)(x)
    assert torch.equal(exact[1], x[1, :, 8:13])                         # a side that fits exactly leaves the other one free
    # one number for a factor means what Keras's text says
    assert (ours.RandomContrast(.5).factor, ours.RandomSaturation(.9).factor, ours.RandomColorDegeneration(.7).factor) == ((.5, .5), (0, .9), (0, .7))
    assert (keras.layers.RandomContrast(.5).factor, keras.layers.RandomSaturation(.9).factor, keras.layers.RandomColorDegeneration(.7).factor) == ((0, .5), (-.9, .9), (-.7, .7))

def test_flips_in_both_directions():
    "None, one, the other, both; Keras: none or both"
    def seen(layer): return {tuple(o.flatten().tolist()) for o in torch.as_tensor(layer(torch.arange(4.).reshape(1, 2, 2, 1).expand(64, -1, -1, -1).clone(), training=True))}
    theirs,mine = pair('RandomFlip', seed=0)
    assert len(seen(mine)) == 4 and len(seen(theirs)) == 2

@pytest.mark.parametrize('make', [lambda: ours.MixUp(seed=5), lambda: ours.CutMix(seed=5), lambda: ours.RandomErasing(seed=5), lambda: ours.RandAugment(seed=5), lambda: ours.AugMix(seed=5), lambda: ours.RandomElasticTransform(seed=5), lambda: ours.RandomColorJitter(brightness_factor=.3, hue_factor=.2, seed=5), lambda: ours.RandomGaussianBlur(seed=5)])
def test_seed_repeats(make):
    a,b = make(),make()
    x = pictures()
    first = [a(x) for _ in range(4)]
    torch.manual_seed(99); random.seed(1)
    assert all(torch.equal(u, b(x)) for u in first) and any(not torch.equal(first[0], u) for u in first)
