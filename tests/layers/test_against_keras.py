"Every layer against Keras's, weights copied over: outputs, gradients, shapes."
import itertools, re
import numpy as np, pytest, torch
from against import compare, data, of, pair
import upslope.layers as ours

def case(name, shapes, *args, call=None, dtype='float32', check=None, **kwargs):
    words = re.sub(r' at 0x\w+', '', f'{name}-{args}-{kwargs}-{shapes}-{call}')   # the same in every process, as pytest-xdist asks
    return pytest.param(name, shapes, args, kwargs, call or {}, dtype, check or {}, id=words.replace(' ', '')[:120])

core = [
    *[case('Dense', s, 5, activation=a, use_bias=b) for s in [(3, 4), (2, 3, 4)] for a in (None, 'relu', 'softmax', 'gelu') for b in (True, False)],
    case('EinsumDense', (2, 3, 4), 'abc,cd->abd', (None, 5), bias_axes='d'), case('EinsumDense', (2, 3, 4), '...x,xy->...y', 5, activation='tanh'),
    case('EinsumDense', (2, 3, 4), 'abc,cde->abde', (None, 2, 3), bias_axes='e'), case('EinsumDense', (2, 3, 4), 'ab...,bc->ac...', 5, bias_axes='c'),
    case('EinsumDense', (2, 3, 4), 'abc,bd->adc', (5, 4), bias_axes='dc'), case('EinsumDense', (2, 3, 4, 5), 'abcd,cde->abe', (3, 6), bias_axes='be'),
    case('Embedding', (2, 3), 5, 4, dtype='int32'), case('Embedding', (2, 3), 5, 4, mask_zero=True, dtype='int64'),
    case('ReversibleEmbedding', (2, 3), 5, 4, dtype='int32'), case('ReversibleEmbedding', (2, 3, 4), 5, 4, call=dict(reverse=True), check=dict(static_shape=False)),
    case('ReversibleEmbedding', (2, 3, 4), 5, 4, tie_weights=False, logit_soft_cap=1.5, call=dict(reverse=True), check=dict(static_shape=False)),
    case('Identity', (2, 3)), case('Masking', (2, 3, 4)), case('Activation', (2, 3), 'relu'),
    case('ReLU', (4, 5)), case('ReLU', (4, 5), 1., .2, .5), case('ReLU', (4, 5), max_value=.5), case('ReLU', (4, 5), negative_slope=.3, threshold=.1),
    case('LeakyReLU', (4, 5)), case('ELU', (4, 5), .7), case('PReLU', (2, 3, 4)), case('PReLU', (2, 3, 4, 5), shared_axes=[1, 2]), case('PReLU', (2, 3, 4), alpha_initializer='ones', shared_axes=[1]),
    case('Softmax', (2, 3, 4)), case('Softmax', (2, 3, 4), 1), case('Softmax', (2, 3, 4), (1, 2)), case('Softmax', (2, 4), call=dict(mask=torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0]]).bool())),
    *[case('Activation', (3, 8), a) for a in 'relu sigmoid tanh softmax elu selu softplus softsign gelu silu swish hard_sigmoid hard_silu hard_swish hard_tanh relu6 leaky_relu log_softmax log_sigmoid mish celu tanh_shrink soft_shrink hard_shrink glu linear exponential squareplus sparse_plus sparse_sigmoid'.split()],
    case('TimeDistributed', (2, 3, 4), of(lambda L: L.Dense(5, 'tanh'))), case('TimeDistributed', (2, 3, 5, 5, 2), of(lambda L: L.Conv2D(4, 3))),
    case('Flatten', (2, 3, 4)), case('Flatten', (2, 3, 4, 5), 'channels_first'), case('Flatten', (3,)), case('Reshape', (2, 3, 4), (4, 3)), case('Reshape', (2, 3, 4), (-1, 2)), case('Permute', (2, 3, 4, 5), (2, 3, 1)), case('RepeatVector', (2, 3), 4),
    case('ZeroPadding1D', (2, 3, 4)), case('ZeroPadding1D', (2, 3, 4), (1, 2)), case('ZeroPadding2D', (2, 3, 4, 5)), case('ZeroPadding2D', (2, 3, 4, 5), (1, 2)), case('ZeroPadding2D', (2, 3, 4, 5), ((1, 0), (2, 3)), 'channels_first'), case('ZeroPadding3D', (2, 3, 4, 5, 2), ((1, 0), (2, 3), (0, 1))),
    case('Cropping1D', (2, 5, 4)), case('Cropping1D', (2, 5, 4), (1, 2)), case('Cropping2D', (2, 5, 6, 3), (1, 2)), case('Cropping2D', (2, 3, 5, 6), ((1, 0), (2, 1)), 'channels_first'), case('Cropping3D', (2, 5, 6, 7, 3)),
    case('UpSampling1D', (2, 3, 4), 3), case('UpSampling2D', (2, 3, 4, 5), (2, 3)), case('UpSampling2D', (2, 3, 4, 5), 2, 'channels_first'), case('UpSampling2D', (2, 3, 4, 5), (2, 3), interpolation='bilinear'), case('UpSampling3D', (2, 3, 4, 2, 2), (1, 2, 3)),
]
merging = [case(n, s) for n in 'Add Multiply Average Maximum Minimum'.split() for s in ([(2, 3, 4), (2, 3, 4)], [(2, 3, 4), (2, 3, 4), (2, 1, 4)], [(2, 3, 4), (2, 4)])] + [
    case('Subtract', [(2, 3), (2, 3)]), case('Concatenate', [(2, 3, 4), (2, 3, 5)]), case('Concatenate', [(2, 3, 4), (2, 5, 4)], 1),
    *[case('Dot', s, a, normalize=n) for s, a in [([(2, 3), (2, 3)], 1), ([(2, 3, 4), (2, 5, 4)], 2), ([(2, 3, 4), (2, 3, 5)], 1), ([(2, 3, 4), (2, 5, 3)], (1, 2)), ([(2, 3, 4), (2, 4)], (2, 1)), ([(2, 4), (2, 3, 4)], (1, 2)), ([(2, 3, 4), (2, 5, 4)], -1), ([(2, 3, 4, 5), (2, 5, 6)], (3, 1))] for n in (False, True)]]

def grid(name, rank, filters=True, transpose=False, more=()):
    sizes = {1: (9,), 2: (8, 7), 3: (5, 6, 4)}[rank]
    for padding, strides, dilation, first in itertools.product(('valid', 'same'), (1, 2), (1, 2), (False, True)):
        if strides > 1 and dilation > 1: continue
        if rank == 3 and (dilation > 1 or first): continue
        shape = (2, 4, *sizes) if first else (2, *sizes, 4)
        yield case(name, shape, *((6,) if filters else ()), (3, 2, 2)[:rank], strides=strides, padding=padding, dilation_rate=dilation, data_format='channels_first' if first else 'channels_last', activation='relu' if strides == 1 else None, **dict(more))
convolution = [*grid('Conv1D', 1), *grid('Conv2D', 2), *grid('Conv3D', 3), *grid('Conv2D', 2, more=dict(groups=2).items()), *grid('Conv1DTranspose', 1), *grid('Conv2DTranspose', 2), *grid('Conv3DTranspose', 3),
    *grid('DepthwiseConv1D', 1, False, more=dict(depth_multiplier=2).items()), *grid('DepthwiseConv2D', 2, False, more=dict(depth_multiplier=2).items()), *grid('SeparableConv1D', 1), *grid('SeparableConv2D', 2, more=dict(depth_multiplier=2).items()),
    case('Conv1D', (2, 9, 4), 6, 3, padding='causal'), case('Conv1D', (2, 9, 4), 6, 3, padding='causal', dilation_rate=2), case('Conv1D', (2, 9, 4), 6, 3, padding='causal', strides=2), case('Conv2D', (2, 8, 8, 4), 6, 3, use_bias=False),
    *[case(f'Conv{r}DTranspose', s, 3, k, strides=st, padding=p, output_padding=o) for r, s in ((1, (2, 5, 4)), (2, (2, 5, 4, 3))) for k in (2, 3, 4, 5) for st in (2, 3) for p in ('valid', 'same') for o in (None, 0, 1)]]

pooling = [case(f'{n}Pooling{r}D', s, size, strides, padding) for n in ('Max', 'Average') for r, s in ((1, (2, 9, 3)), (2, (2, 8, 7, 3)), (3, (2, 5, 6, 4, 3))) for size in (2, 3) for strides in (None, 1, 2) for padding in ('valid', 'same')
             if not (n == 'Average' and padding == 'same')] + [   # Keras 3.15's average is wrong there; see the test below
    *[case(f'Global{n}Pooling{r}D', s, keepdims=k, data_format=f) for n in ('Max', 'Average') for r, s in ((1, (2, 5, 3)), (2, (2, 5, 4, 3)), (3, (2, 3, 4, 5, 3))) for k in (False, True) for f in ('channels_last', 'channels_first')],
    *[case(f'Adaptive{n}Pooling{r}D', s, o) for n in ('Max', 'Average') for r, s, o in ((1, (2, 7, 3), 3), (2, (2, 7, 6, 3), (3, 2)), (3, (2, 5, 4, 6, 3), 2))],
    case('MaxPooling2D', (2, 3, 8, 7), 2, data_format='channels_first'), case('GlobalAveragePooling1D', (2, 3, 4), call=dict(mask=torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()))]

normalization = [
    *[case('BatchNormalization', s, axis=a, call=dict(training=t)) for s, a in (((6, 4), -1), ((3, 4, 5), -1), ((3, 4, 5, 2), -1), ((3, 4, 5, 2), 1)) for t in (True, False)], case('BatchNormalization', (6, 4), scale=False, center=False, momentum=.8, epsilon=.01, call=dict(training=True)),
    case('BatchNormalization', (2, 3, 4), call=dict(training=True, mask=torch.tensor([[1, 1, 0], [1, 0, 0]]).bool())),
    *[case('LayerNormalization', (2, 3, 4, 5), axis=a) for a in (-1, (2, 3), (-2, -1))], case('LayerNormalization', (2, 5), scale=False), case('LayerNormalization', (2, 5), center=False, epsilon=.1),
    *[case('GroupNormalization', (2, 3, 5, 6), g, a) for g, a in ((2, -1), (3, -1), (-1, -1), (1, -1), (6, 3))], case('GroupNormalization', (2, 6, 4), 3, 1), case('GroupNormalization', (2, 6), 2),
    case('RMSNormalization', (2, 3, 4)), case('RMSNormalization', (2, 3, 4), axis=(1, 2)), case('UnitNormalization', (2, 3, 4)), case('UnitNormalization', (2, 3, 4), (1, 2)),
    case('SpectralNormalization', (2, 4), of(lambda L: L.Dense(3)), power_iterations=2, call=dict(training=True), check=dict(gradients=False)),
    case('SpectralNormalization', (2, 6, 6, 2), of(lambda L: L.Conv2D(3, 3)), power_iterations=3, call=dict(training=True), check=dict(gradients=False)),
    *[case(n, (2, 3, 4), .3, call=dict(training=False)) for n in ('Dropout', 'AlphaDropout', 'GaussianDropout', 'GaussianNoise', 'SpatialDropout1D')], case('SpatialDropout2D', (2, 3, 4, 5), .3), case('SpatialDropout3D', (2, 3, 4, 5, 2), .3, call=dict(training=False)), case('ActivityRegularization', (2, 3), .1, .2)]

@pytest.mark.parametrize('name,shapes,args,kwargs,call,dtype,check', core + merging + convolution + pooling + normalization)
def test_layer(name, shapes, args, kwargs, call, dtype, check):
    theirs,mine = pair(name, args, **kwargs)
    if 'training' not in call: mine.eval()
    compare(theirs, mine, shapes, dtype, call, **check)

def test_average_pooling_counts_real_cells_only():
    "Keras 3.15 divides by padded cells when padding is uneven; here the mean of the real cells is the reference"
    x = torch.rand(2, 8, 7, 3)
    got = ours.AveragePooling2D(3, 2, 'same')(x)
    for i in range(4):
        for j in range(4):
            top,left = 2*i - 0,2*j - 1
            window = x[:, max(0, top):top + 3, max(0, left):left + 3]
            torch.testing.assert_close(got[:, i, j], window.mean((1, 2)))

@pytest.mark.parametrize('axis', [1, (1, 3), (2, 1)])
def test_normalisation_over_leading_axes(axis):
    "Keras 3.15's torch backend is wrong for axes that are not last; the formula is the reference"
    x = torch.randn(2, 3, 4, 5)
    layer = ours.LayerNormalization(axis=axis)
    layer.build(x.shape)
    with torch.no_grad(): layer.gamma.copy_(torch.rand(layer.gamma.shape)), layer.beta.copy_(torch.rand(layer.beta.shape))
    axes = [axis] if isinstance(axis, int) else sorted(axis)   # gamma has Keras's layout
    moved = x.movedim(axes, list(range(-len(axes), 0)))
    want = torch.nn.functional.layer_norm(moved, layer.gamma.shape, layer.gamma, layer.beta, 1e-3).movedim(list(range(-len(axes), 0)), axes)
    torch.testing.assert_close(layer(x), want)

@pytest.mark.parametrize('shape', [(6, 4), (3, 4, 5), (3, 4, 5, 2)])
def test_moving_statistics(shape):
    theirs,mine = pair('BatchNormalization', momentum=.7)
    for seed in range(4):
        x = torch.tensor(data(shape, seed=seed))
        a,b = theirs(x, training=True),mine(x, training=True)
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
    for a, b in zip(mine.get_weights(), theirs.get_weights()): np.testing.assert_allclose(a, b, atol=1e-5)
    torch.testing.assert_close(mine(x, training=False), theirs(x, training=False), atol=1e-5, rtol=1e-5)

def test_sparsemax():
    "Keras 3.15's sparsemax is wrong for more than one row (a row of it sums to 0); the definition is the reference"
    x = torch.randn(50, 8)
    p = ours.activation('sparsemax')(x)
    torch.testing.assert_close(p.sum(-1), torch.ones(50))
    shift = (x - p).where(p > 0, torch.tensor(float('nan')))   # the same shift wherever something is left ...
    assert (shift.nan_to_num(-9).amax(-1) - shift.nan_to_num(9).amin(-1)).abs().max() < 1e-5
    assert (x.where(p == 0, torch.tensor(-99.)).amax(-1) <= shift.nan_to_num(9).amin(-1) + 1e-5).all()   # ... and nothing above it is dropped
