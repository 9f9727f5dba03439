"Attention layers against Keras's."
import numpy as np, pytest, torch
from against import compare, data, pair

def both(name, args, shapes, call=None, build=2, **kwargs):
    "Layers that are called with several tensors as arguments, not as a list"
    theirs,mine = pair(name, args, **kwargs)
    xs = [torch.tensor(data(s, seed=i)) for i, s in enumerate(shapes)]
    theirs(*xs), mine(*xs)
    rng = np.random.default_rng(1)
    values = [w + .1*rng.normal(size=w.shape).astype('float32') for w in theirs.get_weights()]
    theirs.set_weights(values); mine.set_weights(values)
    a_in,b_in = [[x.clone().requires_grad_() for x in xs] for _ in range(2)]
    a,b = theirs(*a_in, **(call or {})),mine(*b_in, **(call or {}))
    a,b = [o if isinstance(o, tuple) else (o,) for o in (a, b)]
    for u, v in zip(a, b): torch.testing.assert_close(v, u, atol=1e-5, rtol=1e-4)
    sum((o*torch.linspace(0, 1, o.numel()).reshape(o.shape)).sum() for o in a).backward()
    sum((o*torch.linspace(0, 1, o.numel()).reshape(o.shape)).sum() for o in b).backward()
    for u, v in zip(a_in, b_in): torch.testing.assert_close(v.grad, u.grad, atol=1e-4, rtol=1e-4)
    for w, (m, k) in zip(theirs.trainable_weights, mine._weight_table()): torch.testing.assert_close(getattr(m, k).grad, w.value.grad, atol=1e-4, rtol=1e-3)
    assert tuple(mine.compute_output_shape(*shapes)) == tuple(b[0].shape)

attention_mask = torch.tensor([[[1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1]], [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]]).bool()   # no row in which nothing may be seen, also with a window of 2
value_mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()

@pytest.mark.parametrize('kwargs', [dict(), dict(value_dim=5), dict(use_bias=False), dict(output_shape=7), dict(use_gate=True), dict(sliding_window=2)], ids=str)
@pytest.mark.parametrize('call', [dict(), dict(return_attention_scores=True), dict(use_causal_mask=True), dict(attention_mask=attention_mask), dict(value_mask=value_mask), dict(attention_mask=attention_mask, return_attention_scores=True)], ids=lambda c: '-'.join(c) or 'plain')
def test_multi_head(kwargs, call): both('MultiHeadAttention', (2, 3), [(2, 4, 8), (2, 3, 8)], call, **kwargs)

def test_multi_head_with_key(): both('MultiHeadAttention', (2, 3), [(2, 4, 8), (2, 3, 6), (2, 3, 5)])
@pytest.mark.parametrize('axes', [(1,), (2,), (1, 2), None])
@pytest.mark.parametrize('scores', [False, True])
def test_multi_head_axes(axes, scores): both('MultiHeadAttention', (2, 3), [(2, 4, 5, 8), (2, 4, 5, 8)], dict(return_attention_scores=scores), attention_axes=axes)

@pytest.mark.parametrize('kwargs', [dict(), dict(use_bias=False), dict(use_gate=True), dict(sliding_window=2)], ids=str)
@pytest.mark.parametrize('call', [dict(), dict(return_attention_scores=True), dict(use_causal_mask=True), dict(attention_mask=attention_mask)], ids=lambda c: '-'.join(c) or 'plain')
@pytest.mark.parametrize('heads', [(4, 2), (3, 1), (2, 2)])
def test_group_query(kwargs, call, heads): both('GroupQueryAttention', (3, *heads), [(2, 4, 8), (2, 3, 8)], call, **kwargs)

@pytest.mark.parametrize('name,kwargs', [('Attention', {}), ('Attention', dict(use_scale=True)), ('Attention', dict(score_mode='concat')), ('Attention', dict(score_mode='concat', use_scale=True)), ('AdditiveAttention', {}), ('AdditiveAttention', dict(use_scale=False))], ids=str)
@pytest.mark.parametrize('shapes', [[(2, 4, 6), (2, 3, 6)], [(2, 4, 6), (2, 3, 5), (2, 3, 6)]], ids=len)
@pytest.mark.parametrize('call', [dict(), dict(return_attention_scores=True), dict(use_causal_mask=True), dict(mask=[None, value_mask]), dict(mask=[torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool(), value_mask])], ids=range(5))
def test_attention(name, kwargs, shapes, call):
    theirs,mine = pair(name, **kwargs)
    compare(theirs, mine, shapes, call=call, static_shape='return_attention_scores' not in call)
