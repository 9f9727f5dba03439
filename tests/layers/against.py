"One layer of Keras and one of ours, side by side."
import numpy as np, torch
import keras
import upslope.layers as ours

def data(shape, dtype='float32', seed=0):
    rng = np.random.default_rng(seed)
    if dtype.startswith('int'): return rng.integers(0, 5, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)

def is_nest(shapes): return bool(shapes) and isinstance(shapes[0], (tuple, list))

def pair(name, args=(), **kwargs):
    "The same layer from both; constructor arguments that are layers are given as functions of the library"
    def made(library): return {k: v(library) if callable(v) and getattr(v, 'made', False) else v for k, v in kwargs.items()}
    def positional(library): return [v(library) if callable(v) and getattr(v, 'made', False) else v for v in args]
    return getattr(keras.layers, name)(*positional(keras.layers), **made(keras.layers)), getattr(ours, name)(*positional(ours), **made(ours))

def of(f):
    f.made = True
    return f

def tensors(x):
    if isinstance(x, dict): return [o for v in x.values() for o in tensors(v)]
    if isinstance(x, (list, tuple)): return [o for v in x for o in tensors(v)]
    return [torch.as_tensor(x)]

def compare(theirs, mine, shapes, dtype='float32', call=None, tolerance=1e-5, gradients=True, static_shape=True, seed=0, weights=True):
    "Outputs, gradients of inputs and weights, and output shapes are equal"
    call = call or {}
    xs = [data(s, dtype, seed + i) for i, s in enumerate(shapes if is_nest(shapes) else [shapes])]
    def run(layer):
        given = [torch.tensor(x).requires_grad_(gradients and x.dtype.kind == 'f') for x in xs]
        return given, layer(given if is_nest(shapes) else given[0], **call)
    run(theirs), run(mine)   # build
    if weights:
        rng = np.random.default_rng(1)
        values = [w + .1*np.abs(rng.normal(size=w.shape)).astype(w.dtype) if w.dtype.kind == 'f' else w for w in theirs.get_weights()]
        theirs.set_weights(values); mine.set_weights(values)
        for a, b in zip(mine.get_weights(), values): np.testing.assert_array_equal(a, b)
        assert len(mine.get_weights()) == len(values) and mine.count_params() == theirs.count_params()
    gx,want = run(theirs)
    hx,got = run(mine)
    want,got = tensors(want),tensors(got)
    assert len(want) == len(got)
    for w, g in zip(want, got):
        assert tuple(w.shape) == tuple(g.shape), (tuple(w.shape), tuple(g.shape))
        np.testing.assert_allclose(g.detach().numpy().astype('float64'), w.detach().cpu().numpy().astype('float64'), atol=tolerance, rtol=tolerance)
    if static_shape:
        shape = [tuple(s) for s in shapes] if is_nest(shapes) else tuple(shapes)
        said = mine.compute_output_shape(shape)
        flat = [said] if not said or said[0] is None or isinstance(said[0], int) else list(said)
        assert [tuple(s) for s in flat] == [tuple(g.shape) for g in got], (flat, [tuple(g.shape) for g in got])
    if gradients and any(w.requires_grad for w in want):
        sum((w*torch.linspace(.5, 1.5, w.numel()).reshape(w.shape)).sum() for w in want if w.requires_grad).backward()
        sum((w*torch.linspace(.5, 1.5, w.numel()).reshape(w.shape)).sum() for w in got if w.requires_grad).backward()
        for a, b in zip(gx, hx):
            if a.grad is not None: np.testing.assert_allclose(b.grad.numpy(), a.grad.numpy(), atol=10*tolerance, rtol=10*tolerance)
        if weights:
            table = [(m, k) for m, k in mine._weight_table() if isinstance(m, ours.Layer) and m._weight_names.get(k)]
            theirs_trained = theirs.trainable_weights
            if mine.trainable: assert len(table) == len(theirs_trained)
            for (m, k), v in zip(table, theirs_trained):
                mine_grad,their_grad = getattr(m, k).grad,v.value.grad
                if their_grad is None: continue
                np.testing.assert_allclose(m.to_keras(k, mine_grad).numpy(), their_grad.cpu().numpy(), atol=20*tolerance, rtol=20*tolerance)
    return got
