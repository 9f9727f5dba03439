"Recurrent layers against Keras's: every kernel, loop, mask and direction."
import pytest, torch
from against import compare, data, of, pair
import upslope.layers as ours

mask_end = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
mask_gap = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 1, 1], [1, 1, 0, 0, 1]]).bool()
settings = [dict(), dict(return_sequences=True), dict(return_sequences=True, return_state=True), dict(go_backwards=True, return_sequences=True), dict(use_bias=False), dict(activation='relu'), dict(return_state=True, unroll=True)]

@pytest.mark.parametrize('mask', [None, mask_end, mask_gap], ids=['whole', 'end', 'gap'])
@pytest.mark.parametrize('name', ['SimpleRNN', 'LSTM', 'GRU'])
@pytest.mark.parametrize('setting', settings, ids=str)
def test_layer(name, setting, mask):
    theirs,mine = pair(name, (4,), **setting)
    compare(theirs, mine, (3, 5, 3), call=dict(training=False) | (dict(mask=mask) if mask is not None else {}))

@pytest.mark.parametrize('setting', [dict(recurrent_activation='hard_sigmoid'), dict(reset_after=False), dict(reset_after=False, use_bias=False)], ids=str)
def test_gru(setting): compare(*pair('GRU', (4,), return_sequences=True, **setting), (3, 5, 3))

def test_lstm_without_forget_bias(): compare(*pair('LSTM', (4,), unit_forget_bias=False), (3, 5, 3))

@pytest.mark.parametrize('name', ['SimpleRNNCell', 'LSTMCell', 'GRUCell'])
def test_rnn_of_cell(name):
    compare(*pair('RNN', (of(lambda L: getattr(L, name)(4)),), return_sequences=True), (3, 5, 3))
    compare(*pair('RNN', (of(lambda L: [L.GRUCell(4), getattr(L, name)(6)]),)), (3, 5, 3))

@pytest.mark.parametrize('merge', ['concat', 'sum', 'mul', 'ave', None])
@pytest.mark.parametrize('name', ['LSTM', 'GRU', 'SimpleRNN'])
@pytest.mark.parametrize('mask', [None, mask_end, mask_gap], ids=['whole', 'end', 'gap'])
@pytest.mark.parametrize('setting', [dict(), dict(return_sequences=True)], ids=str)
def test_bidirectional(merge, name, mask, setting):
    theirs,mine = pair('Bidirectional', (of(lambda L: getattr(L, name)(4, **setting)),), merge_mode=merge)
    compare(theirs, mine, (3, 5, 3), call=dict(mask=mask) if mask is not None else {})

def test_bidirectional_states():
    theirs,mine = pair('Bidirectional', (of(lambda L: L.LSTM(4, return_sequences=True, return_state=True)),))
    compare(theirs, mine, (3, 5, 3))
    states = [torch.tensor(data((3, 4), seed=i)) for i in range(4)]
    compare(theirs, mine, (3, 5, 3), call=dict(initial_state=states))

@pytest.mark.parametrize('name,n', [('LSTM', 2), ('GRU', 1), ('SimpleRNN', 1)])
def test_initial_state(name, n):
    states = [torch.tensor(data((3, 4), seed=i)) for i in range(n)]
    compare(*pair(name, (4,), return_state=True), (3, 5, 3), call=dict(initial_state=states))

@pytest.mark.parametrize('name', ['LSTM', 'GRU'])
def test_stateful(name):
    theirs,mine = pair(name, (4,), stateful=True)
    x = torch.tensor(data((2, 6, 3)))
    theirs(x[:, :3]), mine(x[:, :3])
    mine.set_weights(theirs.get_weights()); theirs.reset_state(); mine.reset_state()
    for part in (x[:, :2], x[:, 2:3], x[:, 3:]): torch.testing.assert_close(mine(part), theirs(part), atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('rank,shape', [(1, (2, 3, 6, 2)), (2, (2, 3, 6, 5, 2)), (3, (1, 2, 4, 5, 4, 2))])
@pytest.mark.parametrize('setting', [dict(), dict(padding='same', return_sequences=True, return_state=True), dict(strides=2, padding='same'), dict(dilation_rate=2, return_sequences=True), dict(use_bias=False, go_backwards=True)], ids=str)
def test_conv_lstm(rank, shape, setting): compare(*pair(f'ConvLSTM{rank}D', (3, 2), **setting), shape)

def test_conv_lstm_channels_first(): compare(*pair('ConvLSTM2D', (3, (2, 3)), data_format='channels_first', padding='same'), (2, 3, 2, 6, 5))

def test_dropout_is_one_mask_for_the_sequence():
    layer = ours.SimpleRNN(4, activation='linear', recurrent_initializer='zeros', dropout=.5, return_sequences=True)
    y = layer(torch.ones(2, 5, 8))
    assert (y == y[:, :1]).all() and not torch.equal(y, layer(torch.ones(2, 5, 8)))

@pytest.mark.parametrize('training', [True, False])
def test_vmap_over_weights(training):
    layer = ours.Sequential([ours.Input((5, 3)), ours.LSTM(4), ours.Dense(2)]).train(training)
    x = torch.tensor(data((3, 5, 3)))
    many = {k: torch.stack([v.detach(), 2*v.detach()]) for k, v in layer.named_parameters()}
    buffers = dict(layer.named_buffers())
    both = torch.func.vmap(lambda p: torch.func.functional_call(layer, p | buffers, (x,)))(many)
    torch.testing.assert_close(both[0], layer(x).detach(), atol=1e-5, rtol=1e-5)
