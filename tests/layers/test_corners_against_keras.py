"""Corners of single layers against Keras's: unknown sizes in equations, windows that do not divide, enlarged pictures, ties in
sparsemax, scores and masks of attention, corrected batch normalisation.  Where Keras 3.15 is wrong, a definition is the reference."""
import itertools, math
import keras, numpy as np, pytest, torch
from against import compare, data, pair
import upslope.layers as ours
from upslope.core.errors import UpslopeError

def words(o): return str(o).replace(' ', '')[:110]

# ---- EinsumDense

EINSUM = [   # equation, output_shape, bias_axes, input
    ('ab,bc->ac', 5, None, (2, 4)), ('ab,bc->ac', (5,), 'c', (2, 4)), ('ab,bc->ac', [5], 'c', (2, 4)),
    ('abc,cd->abd', (None, 5), 'd', (2, 3, 4)), ('abc,cd->abd', (3, 5), 'bd', (2, 3, 4)), ('abc,cd->abd', (None, 5), 'bd', (2, 3, 4)),
    ('abc,cd->abd', (None, 5), 'b', (2, 3, 4)), ('abc,cde->abde', (None, 2, 3), 'de', (2, 3, 4)), ('abc,cde->abde', (None, 2, 3), 'd', (2, 3, 4)),
    ('abcd,cde->abe', (None, 6), 'e', (2, 3, 4, 5)), ('abcd,bde->ace', (None, 6), 'ce', (2, 3, 4, 5)), ('abc,bcd->ad', 6, 'd', (2, 3, 4)),
    ('abc,bd->adc', (5, None), 'd', (2, 3, 4)), ('abc,bd->adc', (5, 4), 'dc', (2, 3, 4)), ('abc,bd->acd', (None, 5), 'cd', (2, 3, 4)),
    ('abc,c->abc', (None, None), 'c', (2, 3, 4)), ('abc,c->abc', (3, 4), None, (2, 3, 4)), ('abc,bc->abc', (None, None), 'bc', (2, 3, 4)),
    ('...x,xy->...y', 5, 'y', (2, 4)), ('...x,xy->...y', 5, 'y', (2, 3, 4)), ('...x,xy->...y', 5, None, (2, 3, 6, 4)),
    ('...xy,yz->...xz', (None, 5), 'z', (2, 3, 4)), ('...xy,yz->...xz', (None, 5), 'xz', (2, 6, 3, 4)), ('...xy,xyz->...z', 5, 'z', (2, 6, 3, 4)),
    ('...x,xyz->...yz', (2, 3), 'yz', (2, 6, 4)), ('...x,xyz->...yz', (2, 3), 'z', (2, 4)), ('...bc,cd->...bd', (3, 5), 'd', (2, 3, 4)),
    ('ab...,bc->ac...', 5, 'c', (2, 3)), ('ab...,bc->ac...', 5, 'c', (2, 3, 4)), ('ab...,bc->ac...', (5,), 'c', (2, 3, 4, 6)),
    ('abc...,cd->abd...', (None, 5), 'd', (2, 3, 4, 6)), ('abc...,cd->abd...', (None, 5), 'bd', (2, 3, 4)), ('abc...,bd->adc...', (5, None), 'd', (2, 3, 4, 6)),
]
MEETS = [(e, tuple(None if i in gone else n for i, n in enumerate(e[3]))) for e in EINSUM for r in (0, 1, len(e[3])) for gone in itertools.combinations(range(len(e[3])), r)]

def layers(equation, output_shape, bias_axes): return pair('EinsumDense', (equation, output_shape), bias_axes=bias_axes)

def by_the_formula(layer, x):
    "The equation with the layer's weights, and its bias where `bias_axes` says"
    y = torch.einsum(layer.equation, x, layer.weight)
    if layer.bias is None: return y
    letters = layer.equation.split('->')[1].replace('...', '')
    behind = y.ndim - len(letters) if layer.equation.endswith('...') else 0
    first = letters.index(min(layer.bias_axes, key=letters.index))
    assert layer.bias.numel() == math.prod(y.shape[y.ndim - behind - len(letters) + letters.index(c)] for c in layer.bias_axes)
    assert layer.bias.ndim == len(letters) - first + behind
    return y + layer.bias

def agrees(said, of_keras, real):
    "Sizes are those that come out; Keras's too, where it says one and is right"
    right = len(said) == len(real) and all(n in (None, r) for n, r in zip(said, real))
    return right and all(n == k for n, k, r in zip(said, of_keras, real) if k == r)

@pytest.mark.parametrize('equation,output_shape,bias_axes,shape', EINSUM, ids=words)
def test_einsum(equation, output_shape, bias_axes, shape):
    theirs,mine = layers(equation, output_shape, bias_axes)
    mine.build(shape)
    with torch.no_grad():
        for w in mine.parameters(): w.copy_(torch.rand(w.shape))
    x = torch.tensor(data(shape))
    torch.testing.assert_close(mine(x), by_the_formula(mine, x))
    assert tuple(mine.compute_output_shape(shape)) == tuple(mine(x).shape)
    try: theirs.build(shape)
    except Exception: return   # Keras takes the sizes of weights from `output_shape` alone, and stops at its None
    compare(*layers(equation, output_shape, bias_axes), shape, static_shape=False)

@pytest.mark.parametrize('built', [False, True])
@pytest.mark.parametrize('case,shape', MEETS, ids=words)
def test_einsum_with_unknown_sizes(case, shape, built):
    "The shape that is said for sizes that are not known"
    *made,full = case
    theirs,mine = layers(*made)
    real = tuple(layers(*made)[1](torch.tensor(data(full))).shape)
    if built: mine.build(full)
    said = tuple(mine.compute_output_shape(shape))
    try: of_keras = tuple(theirs.compute_output_shape(shape))
    except Exception: of_keras = (None,)*len(real)   # it refuses an unknown size that `output_shape` names
    assert agrees(said, of_keras, real), (said, of_keras, real)

@pytest.mark.parametrize('case,shape', MEETS, ids=words)
def test_einsum_is_built_for_unknown_sizes(case, shape):
    "The same numbers for what is known later; refused only if the size of a weight is unknown"
    *made,full = case
    equation,_,bias_axes = made
    theirs,mine = layers(*made)
    letters = equation.split(',')[0]
    at = len(full) - len(letters) + 3 if letters.startswith('...') else 0
    gone = {c for c, n in zip(letters.replace('...', ''), shape[at:]) if n is None}
    from_output = dict(zip(reversed(equation.split('->')[1].replace('...', '')), reversed(made[1] if isinstance(made[1], (tuple, list)) else [made[1]])))
    unknown = {c for c in gone if from_output.get(c) is None}
    needed = set(equation.split(',')[1].split('->')[0]) | set(bias_axes or '')
    if unknown & needed:
        with pytest.raises(UpslopeError): mine.build(shape)
        return
    mine.build(shape)
    x = torch.tensor(data(full))
    torch.testing.assert_close(mine(x), by_the_formula(mine, x))
    said = tuple(layers(*made)[1](ours.Input(batch_shape=shape)).shape)
    assert agrees(said, (None,)*len(said), tuple(mine(x).shape))

# ---- enlarged

@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic', 'lanczos3', 'lanczos5', 'BILINEAR'])
@pytest.mark.parametrize('size', [1, 2, 3, (2, 3), [3, 1]], ids=str)
@pytest.mark.parametrize('data_format', [None, 'channels_last', 'channels_first', 'Channels_First'])
@pytest.mark.parametrize('shape', [(2, 3, 4, 5), (1, 1, 1, 2), (2, 5, 2, 1), (0, 3, 4, 2)], ids=str)
def test_enlarged_picture(interpolation, size, data_format, shape):
    try:
        theirs = keras.layers.UpSampling2D(size, data_format, interpolation)
        theirs(torch.tensor(data(shape)))
    except Exception:
        with pytest.raises(UpslopeError): ours.UpSampling2D(size, data_format, interpolation)(torch.tensor(data(shape)))
        return
    mine = ours.UpSampling2D(size, data_format, interpolation)
    compare(theirs, mine, shape)

@pytest.mark.parametrize('dtype', ['int32', 'int64', 'uint8', 'float64', 'bool'])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear', 'bicubic'])
def test_enlarged_picture_of_other_numbers(interpolation, dtype):
    theirs,mine = pair('UpSampling2D', (2,), interpolation=interpolation)
    x = np.random.default_rng(0).integers(0, 2, (2, 3, 4, 2)).astype(dtype)
    want,got = theirs(x),mine(x)
    np.testing.assert_allclose(got.numpy().astype('float64'), want.numpy().astype('float64'), atol=1e-5)
    assert got.dtype == want.dtype

@pytest.mark.parametrize('rank,size', [(1, 1), (1, 3), (3, 2), (3, (1, 2, 3)), (3, [2, 1, 1])], ids=str)
@pytest.mark.parametrize('data_format', [None, 'channels_first'])
def test_enlarged_steps_and_volumes(rank, size, data_format):
    kwargs = {} if rank == 1 or data_format is None else dict(data_format=data_format)
    theirs,mine = pair(f'UpSampling{rank}D', (size,), **kwargs)
    compare(theirs, mine, {1: (2, 4, 3), 3: (2, 3, 2, 4, 2)}[rank])

# ---- pooled

def windows():
    for kind, rank in itertools.product(('Max', 'Average'), (1, 2, 3)):
        for size, strides, padding, first in itertools.product((2, 3, 'mixed', 'all'), (None, 1, 3, 5, 'mixed'), ('valid', 'same'), (False, True)):
            if rank == 3 and (first or strides == 5): continue
            yield kind,rank,size,strides,padding,first

def sizes_of(rank): return {1: (9,), 2: (8, 7), 3: (5, 6, 4)}[rank]
def one_or_each(value, rank, full):
    if value == 'mixed': return (3, 1, 2)[:rank]
    return full if value == 'all' else value

def averages_of_real_cells(x, size, strides):
    "The mean of what is under each window that is no padding, in float64; channels last"
    y = x.double().numpy()
    for axis, (k, s) in enumerate(zip(size, strides), 1):
        n = y.shape[axis]
        cells = -(-n//s)
        left = max(0, (cells - 1)*s + k - n)//2
        pieces = [np.take(y, range(max(0, i*s - left), min(n, i*s - left + k)), axis).mean(axis) for i in range(cells)]
        y = np.stack(pieces, axis)
    return torch.tensor(y).float()

@pytest.mark.parametrize('kind,rank,size,strides,padding,first', windows(), ids=str)
def test_pooled(kind, rank, size, strides, padding, first):
    full = sizes_of(rank)
    shape = (2, 3, *full) if first else (2, *full, 3)
    size,strides = one_or_each(size, rank, full),one_or_each(strides, rank, full)
    arguments = dict(pool_size=size, strides=strides, padding=padding, data_format='channels_first' if first else None)
    if kind == 'Average' and padding == 'same':   # Keras's torch backend divides by padding too
        x = torch.tensor(data(shape))
        each = lambda v: v if isinstance(v, tuple) else (v,)*rank
        want = averages_of_real_cells(x.movedim(1, -1) if first else x, each(size), each(size if strides is None else strides))
        got = getattr(ours, f'{kind}Pooling{rank}D')(**arguments)(x)
        torch.testing.assert_close(got.movedim(1, -1) if first else got, want)
        return
    theirs,mine = pair(f'{kind}Pooling{rank}D', **arguments)
    compare(theirs, mine, shape)

@pytest.mark.parametrize('kind,rank,size,strides,padding,first', [w for w in windows() if w[1] < 3], ids=str)
def test_pooled_shape_with_unknown_sizes(kind, rank, size, strides, padding, first):
    full = sizes_of(rank)
    size,strides = one_or_each(size, rank, full),one_or_each(strides, rank, full)
    theirs,mine = pair(f'{kind}Pooling{rank}D', pool_size=size, strides=strides, padding=padding, data_format='channels_first' if first else None)
    for gone in itertools.product((False, True), repeat=rank + 1):
        known = [None if g else n for g, n in zip(gone[1:], full)]
        shape = (None if gone[0] else 2, 3, *known) if first else (None if gone[0] else 2, *known, 3)
        assert tuple(mine.compute_output_shape(shape)) == tuple(theirs.compute_output_shape(shape))

@pytest.mark.parametrize('dtype', ['int32', 'int64', 'uint8', 'float64', 'float16', 'bool'])
@pytest.mark.parametrize('padding', ['valid', 'same'])
@pytest.mark.parametrize('rank', [1, 2, 3])
def test_largest_of_other_numbers(rank, padding, dtype):
    x = np.random.default_rng(0).integers(-3, 9, (2, *sizes_of(rank), 2)).clip(0 if dtype in ('uint8', 'bool') else -3, 9).astype(dtype)
    theirs,mine = pair(f'MaxPooling{rank}D', (2, 3), padding=padding)
    try: want = theirs(x)
    except Exception:
        wide = getattr(keras.layers, f'MaxPooling{rank}D')(2, 3, padding=padding)(x.astype('float64'))
        try: got = mine(x)
        except UpslopeError: return   # refused in words, or the right numbers
        np.testing.assert_array_equal(got.numpy().astype('float64'), wide.numpy())
        return
    got = mine(x)
    np.testing.assert_array_equal(got.numpy().astype('float64'), want.numpy().astype('float64'))
    assert got.dtype == want.dtype

@pytest.mark.parametrize('padding', ['valid', 'same'])
def test_largest_of_numbers_below_all(padding):
    "Padding is never the largest, and no number is"
    x = torch.full((1, 5, 5, 1), -math.inf)
    x[0, 2, 2] = -1e30
    y = ours.MaxPooling2D(3, 2, padding)(x)
    assert (y == -1e30).any() and set(y.flatten().tolist()) <= {-math.inf, float(torch.tensor(-1e30))}
    assert ours.MaxPooling2D(3, 2, padding)(torch.full((1, 5, 5, 1), math.nan)).isnan().all()

# ---- sparsemax

def projected(z):
    "The point of the simplex nearest to a vector, by bisection in float64"
    z = z.double()
    low,high = z.min() - 1,z.max()
    for _ in range(80):
        middle = (low + high)/2
        if (z - middle).clamp(min=0).sum() > 1: low = middle
        else: high = middle
    return (z - high).clamp(min=0)

def along(f, x, axis): return torch.stack([f(row) for row in x.movedim(axis, -1).reshape(-1, x.shape[axis])]).reshape(x.movedim(axis, -1).shape).movedim(-1, axis)

ROWS = dict(
    plain=torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0)),
    ties=torch.randint(0, 3, (5, 4, 6), generator=torch.Generator().manual_seed(0)).float(),
    equal=torch.zeros(2, 3, 4), large=1e4*torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(1)),
    larger=torch.tensor([[[1e8, 1e8, -1e8], [3e7, 1., 2.]]]), single=torch.randn(2, 3, 1), masked=torch.tensor([[[1., 2, -1e9, 1.5], [0, -1e9, -1e9, -1e9]]]),
    infinite=torch.tensor([[[1., 2, -math.inf, 1.5], [0, -math.inf, -math.inf, -math.inf]]]))

@pytest.mark.parametrize('axis', [-1, 0, 1, 2])
@pytest.mark.parametrize('name', ROWS)
def test_sparsemax_is_the_nearest_point(name, axis):
    x = ROWS[name]
    if name == 'infinite' and axis != -1: pytest.skip('a row of nothing but -inf')
    got = ours.activations.sparsemax(x, axis)
    finite = x.clamp(min=-1e9)
    torch.testing.assert_close(got, along(projected, finite, axis).float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.sum(axis), torch.ones_like(got.sum(axis)), atol=1e-4, rtol=0)

@pytest.mark.parametrize('axis', [-1, 0])
def test_the_gradient_of_sparsemax(axis):
    "Where something is left, the gradient without its mean; elsewhere 0"
    x = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ours.activations.sparsemax(x, axis), x)
    p = ours.activations.sparsemax(x, axis)
    g = torch.randn_like(p)
    support = (p > 0).double()
    want = support*(g - (g*support).sum(axis, keepdim=True)/support.sum(axis, keepdim=True))
    torch.testing.assert_close(torch.autograd.grad(p, x, g)[0], want)

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_sparsemax_of_other_numbers(dtype):
    x = torch.randn(4, 300, generator=torch.Generator().manual_seed(3)).to(dtype)
    p = ours.activations.sparsemax(x)
    assert p.dtype == dtype
    torch.testing.assert_close(p.float(), along(projected, x.float(), -1).float(), atol=2e-2, rtol=2e-2)

# ---- attention

ATTENTION_MASK = torch.tensor([[[1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1]], [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]]).bool()
EMPTY = ATTENTION_MASK.clone(); EMPTY[0, 1] = False   # a step that may look nowhere
QUERY_MASK,VALUE_MASK,KEY_MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool(),torch.tensor([[1, 1, 0], [1, 1, 1]]).bool(),torch.tensor([[1, 1, 1], [0, 1, 1]]).bool()
MASKS = dict(plain={}, attention=dict(attention_mask=ATTENTION_MASK), causal=dict(use_causal_mask=True), value=dict(value_mask=VALUE_MASK), key=dict(key_mask=KEY_MASK),
    causal_and_attention=dict(use_causal_mask=True, attention_mask=torch.tensor([[[1, 0, 1]]*4, [[1, 1, 0]]*4]).bool()), value_and_key=dict(value_mask=VALUE_MASK, key_mask=KEY_MASK),
    causal_and_value=dict(use_causal_mask=True, value_mask=torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()), nowhere=dict(attention_mask=EMPTY), heads=dict(attention_mask=ATTENTION_MASK.unsqueeze(1)),
    numbers=dict(attention_mask=ATTENTION_MASK.int()), for_all=dict(attention_mask=ATTENTION_MASK[:1]))
KINDS = dict(many=('MultiHeadAttention', (2, 3), {}), value_dim=('MultiHeadAttention', (2, 3), dict(value_dim=5)), output=('MultiHeadAttention', (2, 3), dict(output_shape=7)),
    outputs=('MultiHeadAttention', (2, 3), dict(output_shape=(2, 3))), no_bias=('MultiHeadAttention', (2, 3), dict(use_bias=False, value_dim=1)), gate=('MultiHeadAttention', (2, 3), dict(use_gate=True, value_dim=4)),
    window=('MultiHeadAttention', (2, 3), dict(sliding_window=2)), one=('MultiHeadAttention', (1, 1), {}), dropped=('MultiHeadAttention', (2, 3), dict(dropout=.3)),
    grouped=('GroupQueryAttention', (3, 4, 2), {}), grouped_one=('GroupQueryAttention', (3, 3, 1), {}), grouped_dropped=('GroupQueryAttention', (3, 4, 2), dict(dropout=.3)), grouped_gate=('GroupQueryAttention', (3, 4, 2), dict(use_gate=True)))

def with_weights(theirs, mine, xs):
    theirs(*xs), mine(*xs)
    rng = np.random.default_rng(1)
    values = [w + .1*rng.normal(size=w.shape).astype('float32') for w in theirs.get_weights()]
    theirs.set_weights(values); mine.set_weights(values)

def as_tuple(o): return o if isinstance(o, tuple) else (o,)

@pytest.mark.parametrize('scores', [False, True])
@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('kind', KINDS)
def test_attention_in_inference(kind, mask, scores):
    name,args,kwargs = KINDS[kind]
    theirs,mine = pair(name, args, **kwargs)
    xs = [torch.tensor(data(s, seed=i)) for i, s in enumerate([(2, 4, 8), (2, 3, 8)])]
    with_weights(theirs, mine, xs)
    call = dict(MASKS[mask], return_attention_scores=scores, training=False)
    try: want = as_tuple(theirs(*xs, **call))
    except Exception as e: pytest.skip(f'Keras: {e!r:.150}')
    got = as_tuple(mine(*xs, **call))
    for a, b in zip(got, want, strict=True): torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('mask', [m for m in MASKS if m not in ('heads', 'nowhere')])
def test_scores_do_not_change_the_output(mask):
    mine = ours.MultiHeadAttention(2, 3)
    xs = [torch.tensor(data(s, seed=i)) for i, s in enumerate([(2, 4, 8), (2, 3, 8)])]
    mine.build(*[x.shape for x in xs])
    torch.testing.assert_close(mine(*xs, return_attention_scores=True, **MASKS[mask])[0], mine(*xs, **MASKS[mask]), atol=1e-6, rtol=1e-5)

@pytest.mark.parametrize('axes', [None, 1, (1,), 2, (2,), (1, 2), (2, 1), (-2,), (-3, -2), (-3,)], ids=str)
@pytest.mark.parametrize('mask', ['none', 'full', 'causal'])
@pytest.mark.parametrize('value_dim', [None, 5])
def test_attention_axes(axes, mask, value_dim):
    theirs,mine = pair('MultiHeadAttention', (2, 3), attention_axes=axes, value_dim=value_dim)
    xs = [torch.tensor(data((2, 3, 4, 8), seed=i)) for i in range(2)]
    for scores in (False, True):
        try:
            with_weights(theirs, mine, xs)
            plain = as_tuple(theirs(*xs, return_attention_scores=scores))
            sizes = tuple(plain[1].shape) if scores else None
            call = {}
            if mask == 'full' and sizes: call = dict(attention_mask=torch.tensor(data((2, *sizes[-2*len(mine._axes):])) > -.5) if len(mine._axes) == 2 else torch.tensor(data(sizes[:-3] + sizes[-2:]) > -.5))
            if mask == 'causal': call = dict(use_causal_mask=True)
            want = as_tuple(theirs(*xs, return_attention_scores=scores, **call))
        except UpslopeError: raise
        except Exception as e: pytest.skip(f'Keras: {e!r:.150}')
        got = as_tuple(mine(*xs, return_attention_scores=scores, **call))
        for a, b in zip(got, want, strict=True): torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        x = ours.Input((3, 4, 8))
        assert [tuple(o.shape[1:]) for o in as_tuple(mine(x, x, return_attention_scores=scores))] == [tuple(o.shape[1:]) for o in got]

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('scores', [False, True])
def test_shapes_of_symbols(kind, scores):
    "They are those that come out; Keras says the queries' length twice for scores"
    name,args,kwargs = KINDS[kind]
    for q, v in (((4, 8), (3, 8)), ((None, 8), (None, 8)), ((4, 8), (None, 8))):
        theirs,mine = pair(name, args, **kwargs)
        said = [tuple(o.shape) for o in as_tuple(mine(ours.Input(q), ours.Input(v), return_attention_scores=scores))]
        real = [tuple(o.shape) for o in as_tuple(mine(torch.zeros(2, 4, 8), torch.zeros(2, 3, 8), return_attention_scores=scores))]
        assert all(agrees(s, (None,)*len(s), r) for s, r in zip(said, real, strict=True))
        assert all(n is not None for n in said[0][-1:]) and (None in q or None in v or all(n is not None for s in said for n in s[1:]))
        if not scores: assert said[0] == tuple(theirs(keras.Input(q), keras.Input(v)).shape)

@pytest.mark.parametrize('kind', ['dropped', 'grouped_dropped'])
@pytest.mark.parametrize('scores', [False, True])
def test_attention_drops_in_training(kind, scores):
    "On average nothing changes; the scores that are returned are those before any was dropped"
    name,args,kwargs = KINDS[kind]
    mine = getattr(ours, name)(*args, **kwargs)
    xs = [torch.tensor(data(s, seed=i)) for i, s in enumerate([(2, 4, 8), (2, 3, 8)])]
    mine.build(*[x.shape for x in xs])
    many = [torch.cat([x[:1]]*4000) for x in xs]
    torch.manual_seed(0)
    still,moved = [as_tuple(mine(*many, return_attention_scores=scores, training=t)) for t in (False, True)]
    assert not torch.equal(moved[0][0], moved[0][1])
    torch.testing.assert_close(moved[0].mean(0), still[0][0], atol=.05, rtol=.05)
    if scores:
        torch.testing.assert_close(moved[1], still[1])
        theirs = getattr(keras.layers, name)(*args, **kwargs)
        theirs(*xs)
        theirs.set_weights(mine.get_weights())
        torch.testing.assert_close(theirs(*xs, return_attention_scores=True, training=True)[1][0], still[1][0], atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('axis', [-1, 1, (1, 2), [2]], ids=str)
@pytest.mark.parametrize('mask', [torch.tensor([[[0, 0, 0], [1, 0, 1]]]*2).bool(), torch.tensor([[[0, 0, 0], [0, 0, 0]]]*2).bool(), torch.tensor([[[.2, .9, .5], [1., 0., .7]]]*2)], ids=range(3))
def test_softmax_where_nothing_is_kept(axis, mask):
    theirs,mine = pair('Softmax', axis=axis)
    compare(theirs, mine, (2, 2, 3), call=dict(mask=mask))

# ---- normalisation

CLIPPING = [None, {}, dict(rmax=1.5), dict(rmin=.8, rmax=1.2, dmax=.3), dict(dmax=0.), dict(rmin=1., rmax=1.)]

@pytest.mark.parametrize('clipping', CLIPPING, ids=str)
@pytest.mark.parametrize('shape,axis', [((6, 4), -1), ((3, 5, 4), -1), ((3, 4, 5), 1), ((2, 3, 4, 5), 2)], ids=str)
@pytest.mark.parametrize('center,scale', [(True, True), (False, False)])
def test_corrected_batch_normalisation(clipping, shape, axis, center, scale):
    theirs,mine = pair('BatchNormalization', axis=axis, renorm=True, renorm_clipping=clipping, renorm_momentum=.7, momentum=.8, center=center, scale=scale)
    compare(theirs, mine, shape, call=dict(training=True), static_shape=True)
    for seed in range(5):
        x = torch.tensor(2*data(shape, seed=seed) + 1)
        torch.testing.assert_close(mine(x, training=True), theirs(x, training=True), atol=1e-4, rtol=1e-4)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True): np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine(x, training=False), theirs(x, training=False), atol=1e-4, rtol=1e-4)

def test_corrected_and_masked():
    theirs,mine = pair('BatchNormalization', renorm=True)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    compare(theirs, mine, (2, 3, 4), call=dict(training=True, mask=mask))

@pytest.mark.parametrize('variance', [2., 0.])
def test_corrected_from_other_beginnings(variance):
    def made(library, initializers): return library.BatchNormalization(renorm=True, moving_variance_initializer=initializers.Constant(variance), moving_mean_initializer=initializers.Constant(.5))
    theirs,mine = made(keras.layers, keras.initializers),made(ours, ours.initializers)
    compare(theirs, mine, (6, 4), call=dict(training=True), weights=False)
    for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True): np.testing.assert_allclose(a, b, atol=1e-6)

@pytest.mark.parametrize('clipping', [dict(rmax=.5, rmin=1.), dict(dmax=-1.), dict(largest=3.)], ids=str)
def test_bounds_that_are_none(clipping):
    with pytest.raises(ValueError): keras.layers.BatchNormalization(renorm=True, renorm_clipping=clipping)
    with pytest.raises(UpslopeError): ours.BatchNormalization(renorm=True, renorm_clipping=clipping)

def test_frozen_and_corrected():
    theirs,mine = pair('BatchNormalization', renorm=True, trainable=False)
    compare(theirs, mine, (6, 4), call=dict(training=True))

@pytest.mark.filterwarnings('ignore:You passed')
@pytest.mark.parametrize('axis', [-1, (-1,), (2, 3), (-2, -1), (3, 2), 1, (1, 2), (1, 3)], ids=str)
@pytest.mark.parametrize('kwargs', [dict(), dict(center=False), dict(scale=False), dict(epsilon=.1)], ids=str)
def test_layer_normalisation_by_variance(axis, kwargs):
    theirs,mine = pair('LayerNormalization', axis=axis, rms_scaling=True, **kwargs)
    compare(theirs, mine, (2, 3, 4, 5))

@pytest.mark.parametrize('axis', [-1, (2, 3), (3, 2), (-1, -2), (3,), (1, 2, 3)], ids=str)
def test_layer_normalisation(axis):
    theirs,mine = pair('LayerNormalization', axis=axis)
    compare(theirs, mine, (2, 3, 4, 5))
