"Models that Keras saved, read without Keras."
import numpy as np, pytest, torch
import keras
import upslope.layers as ours

L = keras.layers

def sequential(): return keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(4, 3, activation='relu', padding='same', kernel_regularizer='l2'), L.BatchNormalization(), L.MaxPooling2D(), L.SeparableConv2D(3, 3), L.DepthwiseConv2D(2), L.Conv2DTranspose(2, 3, strides=2), L.LayerNormalization(), L.Flatten(), L.Dropout(.2), L.Dense(5, 'softmax')])
def recurrent():
    x = L.Input((6,), dtype='int32', name='words')
    e = L.Embedding(9, 8, mask_zero=True)(x)
    h = L.Bidirectional(L.GRU(4, return_sequences=True))(e)
    h = L.LSTM(5, return_sequences=True, name='reader')(h)
    h = L.RNN([L.GRUCell(3), L.SimpleRNNCell(4)])(h)
    return keras.Model(x, L.Dense(2)(h), name='text')
def attention():
    x = L.Input((5, 8))
    a = L.MultiHeadAttention(2, 4)(x, x)
    y = L.LayerNormalization()(x + a)
    z = L.TimeDistributed(L.Dense(8, 'gelu'))(y)
    g = L.GroupQueryAttention(4, 4, 2)(z, z)
    return keras.Model(x, L.GlobalAveragePooling1D()(L.Add()([y, g])*2.0))
def shared():
    a,b = L.Input((3,), name='left'),L.Input((3,), name='right')
    inner = keras.Sequential([L.Input((3,)), L.Dense(4, 'tanh', name='foo'), L.BatchNormalization()], name='inner')
    twin = L.Dense(4, name='twin')
    u,v = twin(inner(a)),twin(inner(b))
    return keras.Model(dict(left=a, right=b), dict(both=L.Concatenate()([u, v]), product=L.Multiply()([u, v]), last=L.EinsumDense('ab,bc->ac', 2, bias_axes='c')(u - v)))
def various():
    x = L.Input((4, 6))
    return keras.Model(x, [L.PReLU()(x), L.GroupNormalization(2)(x), L.UpSampling1D(2)(x), L.Reshape((6, 4))(x), L.Permute((2, 1))(x), L.Conv1D(3, 2, padding='causal')(x), L.Activation('silu')(x)])

def corrected(): return keras.Sequential([L.Input((4, 6)), L.BatchNormalization(renorm=True, renorm_clipping=dict(rmax=2.)), L.LayerNormalization(rms_scaling=True), L.SpectralNormalization(L.Dense(3, kernel_initializer=keras.initializers.Identity())), L.RandomSaturation(.5), L.Flatten()])
def nested():
    x = L.Input((3, 4, 5))
    cells = L.StackedRNNCells([L.LSTMCell(3), L.GRUCell(2, kernel_regularizer=keras.regularizers.L2())])
    return keras.Model(x, L.TimeDistributed(L.Bidirectional(L.RNN(cells)))(x))
def padded(dropout=0.):
    x = L.Input((4,), dtype='int32')
    e = L.Embedding(5, 6, mask_zero=True)(x)   # of the five numbers of the test, 0 is padding
    return keras.Model(x, L.Dense(2)(L.Flatten()(L.MultiHeadAttention(2, 3, dropout=dropout)(e, e))))
def padded_and_dropped(): return padded(.3)

@pytest.mark.filterwarnings('ignore:You passed|.*cannot use the mask')
@pytest.mark.parametrize('make', [sequential, recurrent, attention, shared, various, corrected, nested, padded, padded_and_dropped])
def test_same_outputs(make, tmp_path):
    theirs = make()
    rng = np.random.default_rng(0)
    theirs.set_weights([w + .1*np.abs(rng.normal(size=w.shape)).astype(w.dtype) for w in theirs.get_weights()])
    theirs.save(tmp_path/'m.keras')
    mine = ours.load_keras(tmp_path/'m.keras').eval()
    def of(o): return torch.as_tensor(rng.integers(0, 5, (2, *o.shape[1:])).astype('int32') if o.dtype == 'int32' else rng.normal(size=(2, *o.shape[1:])).astype('float32'))
    given = theirs.inputs[0] if isinstance(theirs, keras.Sequential) else theirs.input
    x = {k: of(o) for k, o in given.items()} if isinstance(given, dict) else of(given)
    want,got = theirs(x, training=False),mine(x)
    flat = lambda o: [v for k in sorted(o) for v in [o[k]]] if isinstance(o, dict) else list(o) if isinstance(o, (list, tuple)) else [o]
    for a, b in zip(flat(want), flat(got)): torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-4)
    for a, b in zip(mine.get_weights(), theirs.get_weights()): np.testing.assert_array_equal(a, b)   # the same order
    assert len(mine.get_weights()) == len(theirs.get_weights())
    mine.save(tmp_path/'m.safetensors')
    for a, b in zip(flat(ours.load(tmp_path/'m.safetensors').eval()(x)), flat(got)): torch.testing.assert_close(a, b)

def test_lambda_is_refused(tmp_path):
    keras.Sequential([L.Input((3,)), L.Lambda(lambda x: x + 1)]).save(tmp_path/'m.keras')
    with pytest.raises(ValueError, match='no code is run'): ours.load_keras(tmp_path/'m.keras')
