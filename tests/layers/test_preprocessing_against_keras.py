"Preprocessing against Keras's, wherever nothing is drawn or the range to draw from is one number. Keras equalises a whole batch together, hence one image there."
import numpy as np, pytest, torch
from against import compare, data, pair

def images(shape=(2, 12, 10, 3), seed=0): return np.random.default_rng(seed).integers(0, 256, shape).astype('float32')

@pytest.mark.parametrize('name,args,kwargs', [
    ('Rescaling', (1/255, -.5), {}),
    *[('Resizing', size, dict(interpolation=i, crop_to_aspect_ratio=c)) for size in ((7, 9), (20, 15), (12, 10)) for i in ('bilinear', 'nearest', 'bicubic') for c in (False, True)], ('Resizing', (8, 16), dict(pad_to_aspect_ratio=True)), ('Resizing', (6, 5), dict(antialias=True)),
    ('CenterCrop', (6, 5), {}), ('CenterCrop', (20, 5), {}), ('AutoContrast', (), {}), ('AutoContrast', (), dict(value_range=(0, 300))), ('Equalization', (), {}),
    ('RandomBrightness', ((.2, .2),), {}), ('RandomSaturation', ((.8, .8),), dict(value_range=(0, 1))), ('RandomColorDegeneration', ((.3, .3),), {}), ('RandomSharpness', ((.8, .8),), {}), ('RandomPosterization', ((3, 3),), {}), ('RandomInvert', ((1., 1.),), {}), ('RandomGrayscale', (1.,), {}),
    ('Solarization', (0., 0.), {}),
    *[('RandomRotation', ((f, f),), dict(fill_mode=m)) for f in (.1, .25, -.3) for m in ('constant', 'nearest', 'reflect', 'wrap')],
    *[('RandomTranslation', ((f, f), (g, g)), dict(fill_mode=m)) for f, g in ((.1, 0.), (-.2, .3)) for m in ('constant', 'nearest', 'reflect', 'wrap')],
    *[('RandomZoom', ((f, f),), dict(fill_mode=m)) for f in (-.3, .4) for m in ('constant', 'nearest', 'reflect', 'wrap')]], ids=str)
def test_images(name, args, kwargs):
    theirs,mine = pair(name, args, **kwargs)
    x = torch.tensor(images((1, 12, 10, 3) if name == 'Equalization' else (2, 12, 10, 3)))/(255 if kwargs.get('value_range') == (0, 1) else 1)
    want,got = torch.as_tensor(theirs(x.clone(), training=True) if 'Random' in name or name == 'Solarization' else theirs(x.clone())),mine(x)   # Keras changes its input in place
    assert tuple(got.shape) == tuple(want.shape) == tuple(mine.compute_output_shape(x.shape))
    torch.testing.assert_close(got, want.to(got.dtype), atol=.02, rtol=1e-3)
    if 'Random' in name: torch.testing.assert_close(mine(x, training=False), x)

@pytest.mark.parametrize('axis', [-1, None, (1, 2), 1])
def test_normalization(axis):
    x = data((20, 3, 4))
    theirs,mine = pair('Normalization', axis=axis)
    theirs.adapt(x); mine.adapt(x)
    torch.testing.assert_close(mine(torch.tensor(x)), torch.as_tensor(theirs(x)), atol=1e-5, rtol=1e-5)
    for a, b in zip(mine.get_weights(), theirs.get_weights()): np.testing.assert_allclose(a, b, atol=1e-5)

@pytest.mark.parametrize('mode', ['int', 'one_hot', 'multi_hot', 'count'])
def test_discretization(mode):
    theirs,mine = pair('Discretization', bin_boundaries=[-1., 0., .5], output_mode=mode)
    x = data((6, 4))
    torch.testing.assert_close(mine(torch.tensor(x)).float(), torch.as_tensor(theirs(x)).float())

@pytest.mark.parametrize('mode', ['one_hot', 'multi_hot', 'count'])
@pytest.mark.parametrize('shape', [(5,), (5, 1), (5, 3)])
def test_category_encoding(mode, shape):
    theirs,mine = pair('CategoryEncoding', num_tokens=6, output_mode=mode)
    x = data(shape, 'int64')
    got = mine(torch.tensor(x))
    torch.testing.assert_close(got, torch.as_tensor(theirs(x)).float())

def test_farmhash():
    "Values from the C++ code, for each of its branches"
    from upslope.layers.lookup import fingerprint
    for n, value in [(1, 12289600257749001502), (3, 231364225810447885), (7, 10733528302181507710), (12, 3891809971486399827), (20, 16779646747433830874), (33, 10483480753272476640), (50, 12119810371071762544), (100, 3793065838716207133)]:
        assert fingerprint(b'ab'*n) == value

@pytest.mark.parametrize('mode', ['log', 'magnitude', 'psd', 'real', 'imag', 'stft'])
@pytest.mark.parametrize('kwargs', [{}, dict(expand_dims=True, padding='same', window='hamming', scaling='spectrum'), dict(fft_length=64, frame_step=5, periodic=True)], ids=str)
def test_spectrogram(mode, kwargs): compare(*pair('STFTSpectrogram', (mode, 32), **kwargs), (2, 200, 2), tolerance=1e-4, gradients=False, weights=False)

@pytest.mark.parametrize('kwargs', [{}, dict(power_to_db=False, mag_exp=1.), dict(sequence_length=100, min_freq=100., max_freq=3000.)], ids=str)
def test_mel_spectrogram(kwargs):
    theirs,mine = pair('MelSpectrogram', (128, 40), sampling_rate=8000, num_mel_bins=12, **kwargs)
    x = torch.tensor(data((2, 600)))
    torch.testing.assert_close(mine(x), torch.as_tensor(theirs(x)), atol=1e-3, rtol=1e-3)
