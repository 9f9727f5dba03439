"Properties of every perturbation, and the corruptions against the formulas of their paper"
import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from upslope.stress.perturbations import PERTURBATIONS, SMALL, Scale, perturbations

EVERY = [(kind, name) for kind, table in PERTURBATIONS.items() for name in table]
SHAPES = dict(image=(6, 10, 12, 3), sequence=(6, 15, 2), table=(6, 5))

def some(kind, seed=0): return 3 + 2*torch.rand(SHAPES[kind], generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('kind, name', EVERY)
@given(severity=st.floats(0, 30), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_shape_scale_seed_and_input_are_kept(kind, name, severity, seed):
    x = some(kind)
    before,scale,p = x.clone(),Scale.fit(x),perturbations(kind, SHAPES[kind][1:])[name]
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
