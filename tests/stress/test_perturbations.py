"Properties of every perturbation, and the corruptions against the formulas of their paper"
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from upslope.stress import PERTURBATIONS, perturbations
from upslope.stress.perturbations import SMALL, Scale

EVERY = [(kind, name) for kind, table in PERTURBATIONS.items() for name in table]
SHAPES = dict(image=(6, 10, 12, 3), sequence=(6, 15, 2), table=(6, 5), tokens=(6, 15))

def some(kind, seed=0):
    if kind == 'tokens': return torch.randint(0, 20, SHAPES[kind], generator=torch.Generator().manual_seed(seed))
    return 3 + 2*torch.rand(SHAPES[kind], generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('kind, name', EVERY)
@given(severity=st.floats(0, 30), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_shape_scale_seed_and_input_are_kept(kind, name, severity, seed):
    x = some(kind)
    before,scale,p = x.clone(),Scale.fit(x, kind),perturbations(kind, SHAPES[kind][1:])[name]
    one,two = p(x, severity, scale, seed),p(x, severity, scale, seed)
    assert torch.equal(x, before) and torch.equal(one, two) and one.shape == x.shape and one.isfinite().all()
    if severity == 0: assert torch.equal(one, x)
    if kind == 'image': assert x.min() - 1e-5 <= one.min() and one.max() <= x.max() + 1e-5

@pytest.mark.parametrize('kind, name', EVERY)
def test_the_constant_rises_or_falls_without_a_jump_and_ends(kind, name):
    p = perturbations(kind, (224, 224, 3))[name]
    c = np.array([p.constant(s) for s in np.linspace(0, 25, 501)])
    assert c[0] == p.zero and [p.constant(i+1) for i in range(5)] == pytest.approx(p.levels)
    steps = np.diff(c)
    assert (steps >= -1e-12).all() or (steps <= 1e-12).all()
    if p.end is not None: assert p.constant(p.most) == pytest.approx(p.end) and p.constant(p.most + 3) == pytest.approx(p.end)

def test_small_pictures_have_the_levels_of_cifar_10_c_and_large_ones_those_of_imagenet_c():
    small,large = perturbations('image', (32, 32, 3)),perturbations('image', (224, 224, 3))
    assert small['gaussian_noise'].levels == (.04, .06, .08, .09, .10) and large['gaussian_noise'].levels == (.08, .12, .18, .26, .38)
    assert small['jpeg'].levels == (80, 65, 58, 50, 40) and large['contrast'].levels == (.4, .3, .2, .1, .05)
    assert set(SMALL) < set(small) and small['shift'].levels == large['shift'].levels

def test_brightness_adds_to_the_value_of_hsv():
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
    x = torch.rand(2, 6, 6, 3, generator=torch.Generator().manual_seed(0))
    hsv = rgb_to_hsv(x.numpy()); hsv[..., 2] = np.clip(hsv[..., 2] + .2, 0, 1)
    ours = perturbations('image', (224, 224))['brightness'].change(x, .2, None, None)
    np.testing.assert_allclose(ours.numpy(), hsv_to_rgb(hsv), atol=1e-5)

def test_gaussian_blur_is_scipy_s():
    from scipy.ndimage import gaussian_filter
    x = torch.rand(1, 224, 224, 1, generator=torch.Generator().manual_seed(0))
    ours = perturbations('image', (224, 224))['gaussian_blur'].change(x, 3., None, None)[0, :, :, 0]
    np.testing.assert_allclose(ours.numpy(), gaussian_filter(x[0, :, :, 0].numpy(), 3., mode='nearest', truncate=4.), atol=2e-4)

def test_pixelate_is_pillow_s_for_whole_ratios():
    from PIL import Image
    x = torch.randint(0, 256, (1, 40, 40, 1), generator=torch.Generator().manual_seed(0)).float()
    ours = perturbations('image', (224, 224))['pixelate'].change(x, .5, None, None)[0, :, :, 0]
    theirs = Image.fromarray(x[0, :, :, 0].numpy().astype('uint8')).resize((20, 20), Image.BOX).resize((40, 40), Image.BOX)
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), atol=1.01)   # Pillow rounds to whole grey levels, once for each axis

def test_defocus_blur_spreads_a_point_over_a_disk_and_speckle_noise_grows_with_brightness():
    x = torch.zeros(1, 65, 65, 1); x[0, 32, 32] = 1
    spread = perturbations('image', (224, 224))['defocus_blur'].change(x, 224*9/65, None, None)[0, :, :, 0]   # a radius of 9 pixels here
    d = torch.arange(65.) - 32
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert float((spread.sum(0)*d**2).sum()) == pytest.approx(9**2/4 + 1/6, rel=.02)   # a disk's variance along an axis, and the sharing among pixels
    levels = torch.tensor([.2, .4]).view(1, 2, 1, 1).expand(1, 2, 100_000, 1)
    noisy = perturbations('image', (224, 224))['speckle_noise'].change(levels, .1, torch.Generator().manual_seed(0), None)
    assert (noisy - levels).std(2).flatten().tolist() == pytest.approx([.02, .04], rel=.02)

# --- the corruptions of `weather`: checked offline against the `imagecorruptions` package too, which needs an older NumPy and scikit-image
def at(name, level, x, seed=0): return PERTURBATIONS['image'][name].change(x, level, torch.Generator().manual_seed(seed), None)

def test_motion_blur_along_a_row_is_scipy_s_correlation_with_half_a_gaussian():
    from scipy.ndimage import correlate1d
    from upslope.stress.weather import _streaks
    x = torch.rand(2, 224, 60, 3, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 4, 1)[:, :, :224]
    w = np.exp(-.5*(np.arange(13)/3)**2)
    theirs = correlate1d(x.double().numpy(), w/w.sum(), axis=2, mode='nearest', origin=-6)   # each pixel sees those to its right
    np.testing.assert_allclose(_streaks(x, 10, 3, torch.zeros(2)).numpy(), theirs, atol=1e-5)

def test_the_tables_are_those_of_the_authors_scripts():
    from upslope.stress.weather import _TABLES, _at
    small, large = torch.zeros(1, 32, 32, 3), torch.zeros(1, 224, 224, 3)
    assert _at('motion_blur', small, 4) == [8, 2] and _at('motion_blur', large, 5) == [20, 15]
    assert _at('snow', small, 5) == pytest.approx([.3, .3, 1.25, .65, 14, 12, .8]) and _at('snow', large, 1) == pytest.approx([.1, .3, 3, .5, 10, 4, .8])
    assert _at('fog', small, 3) == [.75, 2.5] and _at('frost', large, 2) == pytest.approx([.8, .6]) and _at('glass_blur', small, 5) == pytest.approx([.4, 1, 2])
    assert _at('elastic', small, 3) == pytest.approx([.08, .06, .06]) and _at('zoom_blur', large, 2) == pytest.approx([1.15, 16])
    assert {n for n, p in PERTURBATIONS['image'].items() if p.unit == 'level'} == set(_TABLES)

def test_elastic_distortion_moves_three_points_where_they_were_sent():
    x = torch.zeros(200, 63, 63, 1); x[:, 30:33, 30:33] = 1                     # the middle of the three points' square; at level 1 the map is affine
    out = at('elastic', 1., x)[..., 0]
    grid = torch.arange(63.) - 31
    where = torch.stack([(out.sum(a)*grid).sum(1)/out.sum((1, 2)) for a in (1, 2)])
    spread = .08*63*(2/12)**.5                             # the mean of two corners, each uniform within 8 % of the side
    assert where.mean(1).abs().max() < 4*spread/200**.5 and where.std(1).tolist() == pytest.approx([spread]*2, rel=.15)

def test_zoom_blur_is_the_mean_of_scipy_s_magnified_pictures():
    from scipy.ndimage import map_coordinates
    x = torch.rand(1, 32, 32, 1, generator=torch.Generator().manual_seed(0))
    ours = at('zoom_blur', 2., x)[0, 8:24, 8:24, 0]
    i, j = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5, indexing='ij')
    zoomed = [map_coordinates(x[0, :, :, 0].numpy(), [i/f + 15.5, j/f + 15.5], order=1) for f in np.linspace(1, 1.1, 11)]
    np.testing.assert_allclose(ours.numpy(), ((x[0, :, :, 0].numpy() + sum(zoomed))/12)[8:24, 8:24], atol=1e-5)

def test_snow_falls_downwards_and_fog_is_lighter_than_the_night():
    night = torch.zeros(64, 32, 32, 1)
    snow, fog = at('snow', 4., night), at('fog', 4., night + torch.linspace(0, 1, 32)[:, None])
    assert snow.diff(dim=1).abs().mean() < .8*snow.diff(dim=2).abs().mean()   # streaks run from above to below
    assert fog[:, :, 0].mean() > .05 and fog.max() <= 1 + 1e-5

def test_spatter_and_saturation_have_the_authors_tables_and_mud_is_scikit_image_s():
    from scipy.ndimage import gaussian_filter
    from upslope.stress.weather import _at
    small, large = torch.zeros(1, 32, 32, 3), torch.zeros(1, 224, 224, 3)
    assert _at('spatter', small, 3) == pytest.approx([.65, .3, 1, .69, .5]) and _at('spatter', large, 5) == pytest.approx([.67, .4, 1, .65, 1.5])
    assert _at('saturate', small, 5) == pytest.approx([2.5, .2]) and _at('saturate', large, 4) == pytest.approx([5, .1])
    out = at('spatter', 5., torch.ones(1, 224, 224, 3))[0].numpy()
    noise = .67 + .4*torch.randn(1, 224, 224, 1, generator=torch.Generator().manual_seed(0))[0, :, :, 0]
    m = gaussian_filter((gaussian_filter(noise.double().numpy(), 1., mode='nearest', truncate=4) > .65).astype(float), 1.5, mode='nearest', truncate=4)
    m[m < .8] = 0
    np.testing.assert_allclose(out, 1 - m[..., None]*(1 - np.array([63, 42, 20])/255), atol=2e-4)
    assert 'saturate' not in perturbations('image', (28, 28, 1)) and 'saturate' in perturbations('image', (28, 28, 3))

def test_saturation_is_matplotlib_s_hsv_and_spatter_passes_from_water_to_mud_without_a_jump():
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
    x = torch.rand(2, 80, 80, 3, generator=torch.Generator().manual_seed(0)); x[0, 0] = .5
    for level, (factor, more) in enumerate([(.3, 0), (.1, 0), (2, 0), (5, .1), (20, .2)], 1):
        hsv = rgb_to_hsv(x.numpy()); hsv[..., 1] = np.clip(hsv[..., 1]*factor + more, 0, 1)
        np.testing.assert_allclose(at('saturate', float(level), x), hsv_to_rgb(hsv), atol=1e-5)
    for level in (3., 4.): assert (at('spatter', level - 1e-4, x) - at('spatter', level + 1e-4, x)).abs().mean() < 1e-3
    assert (at('spatter', 3.5, x) - (at('spatter', 3., x) + at('spatter', 4., x))/2).abs().max() < 1e-5
    one = at('spatter', 2., x[..., :1]*0); assert .6*.8 < one.max() <= .6*.9 and one.min() == 0    # grey water on pictures of one channel
