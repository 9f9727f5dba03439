"""What a layer is, written as a configuration: read again here, Keras's read here, and ours read by Keras; the layer that comes
out has the same weights and gives the same numbers.  Nested layers too: cells in stacks in layers in wrappers in models."""
import json
from types import SimpleNamespace
import keras, numpy as np, pytest, torch
from against import data, is_nest, tensors
import upslope.layers as ours
import valid_calls
from upslope.core.errors import UpslopeError
from upslope.layers import initializers, saving

KERAS = SimpleNamespace(layers=keras.layers, initializers=keras.initializers, regularizers=keras.regularizers,
    constraints=keras.constraints, Sequential=keras.Sequential, Model=keras.Model, Input=keras.Input)
OURS = SimpleNamespace(layers=ours, initializers=initializers, regularizers=initializers, constraints=initializers,
    Sequential=ours.Sequential, Model=ours.Model, Input=ours.Input)

# ---- a layer of one's own, in each library

@keras.saving.register_keras_serializable('upslope_tests')
class KerasScaled(keras.layers.Layer):
    "`factor * x`"
    def __init__(self, factor=2., **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
    def call(self, x): return self.factor*x
    def get_config(self): return {**super().get_config(), 'factor': self.factor}
    def compute_output_shape(self, input_shape): return input_shape

@ours.register(name='KerasScaled')
class Scaled(ours.Layer):
    "`factor * x`"
    def __init__(self, factor=2., **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
    def call(self, x): return self.factor*x
    def compute_output_shape(self, input_shape): return input_shape

def scaled(lib, *args): return (KerasScaled if lib is KERAS else Scaled)(*args)

# ---- cases: a name, how the layer is made with a library, the shape of its input

STEPS,PICTURE,FILM,ROW = (2, 5, 4),(2, 6, 6, 3),(2, 3, 6, 6, 2),(3, 4)

def rules(lib):
    "Initialisers, regularisers and constraints as objects"
    return dict(kernel_initializer=lib.initializers.VarianceScaling(2., 'fan_out', 'uniform', seed=3),
        bias_initializer=lib.initializers.Constant(.5), kernel_regularizer=lib.regularizers.L1L2(.1, .2),
        bias_regularizer=lib.regularizers.L2(.3), kernel_constraint=lib.constraints.MaxNorm(1.5, axis=0),
        bias_constraint=lib.constraints.NonNeg())

def recurrent_rules(lib):
    return rules(lib) | dict(recurrent_initializer=lib.initializers.Orthogonal(gain=.7),
        recurrent_regularizer=lib.regularizers.L1(.01), recurrent_constraint=lib.constraints.UnitNorm(axis=1))

def stack(lib, *units):
    L = lib.layers
    kinds = [L.LSTMCell, L.GRUCell, L.SimpleRNNCell]
    return L.StackedRNNCells([kind(n) for kind, n in zip(kinds, units)])

WRAPPED = dict(
    rnn_of_a_cell=(lambda lib: lib.layers.RNN(lib.layers.LSTMCell(3), return_sequences=True), STEPS),
    rnn_of_a_list=(lambda lib: lib.layers.RNN([lib.layers.LSTMCell(3), lib.layers.GRUCell(2)]), STEPS),
    rnn_of_a_stack=(lambda lib: lib.layers.RNN(stack(lib, 3, 2, 4), return_state=True), STEPS),
    rnn_with_all_settings=(lambda lib: lib.layers.RNN(lib.layers.GRUCell(3, reset_after=False), return_sequences=True,
        go_backwards=True, zero_output_for_mask=True, name='all'), STEPS),
    rnn_with_rules=(lambda lib: lib.layers.RNN(lib.layers.SimpleRNNCell(3, 'relu', **recurrent_rules(lib))), STEPS),
    lstm_with_rules=(lambda lib: lib.layers.LSTM(3, 'relu', 'hard_sigmoid', unit_forget_bias=False,
        return_sequences=True, **recurrent_rules(lib)), STEPS),
    gru_with_settings=(lambda lib: lib.layers.GRU(3, reset_after=False, return_state=True, dropout=.2,
        recurrent_dropout=.1, seed=3), STEPS),
    lstm_that_pads_with_zeros=(lambda lib: lib.layers.LSTM(3, zero_output_for_mask=True, return_sequences=True), STEPS),
    bidirectional=(lambda lib: lib.layers.Bidirectional(lib.layers.LSTM(3, return_sequences=True)), STEPS),
    bidirectional_sum=(lambda lib: lib.layers.Bidirectional(lib.layers.GRU(3), merge_mode='sum', name='both'), STEPS),
    bidirectional_apart=(lambda lib: lib.layers.Bidirectional(lib.layers.SimpleRNN(3), merge_mode=None), STEPS),
    bidirectional_with_its_own_way_back=(lambda lib: lib.layers.Bidirectional(
        lib.layers.LSTM(3, return_sequences=True, name='there'),
        backward_layer=lib.layers.GRU(2, return_sequences=True, go_backwards=True, name='back')), STEPS),
    bidirectional_of_a_cell=(lambda lib: lib.layers.Bidirectional(lib.layers.RNN(lib.layers.GRUCell(3),
        return_sequences=True)), STEPS),
    bidirectional_of_a_stack=(lambda lib: lib.layers.Bidirectional(lib.layers.RNN(stack(lib, 3, 2))), STEPS),
    bidirectional_states=(lambda lib: lib.layers.Bidirectional(lib.layers.LSTM(3, return_state=True)), STEPS),
    bidirectional_film=(lambda lib: lib.layers.Bidirectional(lib.layers.ConvLSTM2D(2, 3, padding='same')), FILM),
    each_step_dense=(lambda lib: lib.layers.TimeDistributed(lib.layers.Dense(3, 'relu', **rules(lib))), STEPS),
    each_step_picture=(lambda lib: lib.layers.TimeDistributed(lib.layers.Conv2D(2, 3, padding='same')), FILM),
    each_step_of_each_step=(lambda lib: lib.layers.TimeDistributed(lib.layers.TimeDistributed(lib.layers.Dense(3))),
        (2, 3, 4, 5)),
    each_step_recurrent=(lambda lib: lib.layers.TimeDistributed(lib.layers.LSTM(3)), (2, 3, 4, 5)),
    each_step_bidirectional=(lambda lib: lib.layers.TimeDistributed(lib.layers.Bidirectional(lib.layers.GRU(3))),
        (2, 3, 4, 5)),
    each_step_of_ones_own=(lambda lib: lib.layers.TimeDistributed(scaled(lib, 3.)), STEPS),
    each_step_a_model=(lambda lib: lib.layers.TimeDistributed(lib.Sequential([lib.Input((4,)),
        lib.layers.Dense(3), lib.layers.Dense(2)], name='inside')), STEPS),
    spectral_dense=(lambda lib: lib.layers.SpectralNormalization(lib.layers.Dense(3, **rules(lib)), 2), ROW),
    spectral_picture=(lambda lib: lib.layers.SpectralNormalization(lib.layers.Conv2D(3, 2), name='bound'), PICTURE),
    each_step_spectral=(lambda lib: lib.layers.TimeDistributed(lib.layers.SpectralNormalization(
        lib.layers.Dense(3))), STEPS),
)
PLAIN = dict(
    of_ones_own=(lambda lib: scaled(lib, 3.), ROW),
    dense_with_rules=(lambda lib: lib.layers.Dense(3, 'gelu', **rules(lib)), ROW),
    dense_by_words=(lambda lib: lib.layers.Dense(3, 'tanh', kernel_initializer='he_normal', kernel_regularizer='l2',
        kernel_constraint='non_neg', activity_regularizer='l1'), ROW),
    dense_frozen=(lambda lib: lib.layers.Dense(3, trainable=False, name='frozen'), ROW),
    dense_without_bias=(lambda lib: lib.layers.Dense(3, use_bias=False), ROW),
    dense_mixed=(lambda lib: lib.layers.Dense(3, dtype='mixed_bfloat16'), ROW),
    dense_double=(lambda lib: lib.layers.Dense(3, dtype='float64'), ROW),
    convolution_with_rules=(lambda lib: lib.layers.Conv2D(4, (3, 2), (2, 1), 'same', activation='relu', **rules(lib)),
        PICTURE),
    convolution_dilated=(lambda lib: lib.layers.Conv2D(3, 2, dilation_rate=(1, 2), groups=3), PICTURE),
    transposed=(lambda lib: lib.layers.Conv2DTranspose(2, 3, 2, 'same', output_padding=1), PICTURE),
    depthwise=(lambda lib: lib.layers.DepthwiseConv2D(3, depth_multiplier=2,
        depthwise_initializer=lib.initializers.HeUniform(), depthwise_regularizer=lib.regularizers.L2()), PICTURE),
    separable=(lambda lib: lib.layers.SeparableConv2D(2, 3, depth_multiplier=2,
        pointwise_constraint=lib.constraints.MinMaxNorm(.1, .9), depthwise_regularizer='l1'), PICTURE),
    film=(lambda lib: lib.layers.ConvLSTM2D(2, (3, 2), padding='same', return_sequences=True), FILM),
    einsum=(lambda lib: lib.layers.EinsumDense('abc,cde->abde', (None, 2, 3), bias_axes='de', activation='relu',
        **rules(lib)), STEPS),
    einsum_left=(lambda lib: lib.layers.EinsumDense('...x,xy->...y', 3), STEPS),
    prelu=(lambda lib: lib.layers.PReLU(lib.initializers.Constant(.2), lib.regularizers.L2(), None, [1]), STEPS),
    activation=(lambda lib: lib.layers.Activation('softplus'), ROW),
    batch=(lambda lib: lib.layers.BatchNormalization(1, .9, 1e-2, gamma_regularizer=lib.regularizers.L1(),
        moving_variance_initializer=lib.initializers.Constant(2.)), ROW),
    batch_renormalized=(lambda lib: lib.layers.BatchNormalization(renorm=True,
        renorm_clipping=dict(rmax=3., rmin=.3, dmax=5.), renorm_momentum=.8), ROW),
    layer=(lambda lib: lib.layers.LayerNormalization((1, 2), center=False), STEPS),
    layer_by_variance=(lambda lib: lib.layers.LayerNormalization(rms_scaling=True), STEPS),
    groups=(lambda lib: lib.layers.GroupNormalization(-1, gamma_constraint=lib.constraints.NonNeg()), STEPS),
    root=(lambda lib: lib.layers.RMSNormalization((1, 2), epsilon=1e-3), STEPS),
    activity=(lambda lib: lib.layers.ActivityRegularization(.1, .2), ROW),
    dropped=(lambda lib: lib.layers.Dropout(.3, (None, 1, 4), seed=2), STEPS),
    enlarged=(lambda lib: lib.layers.UpSampling2D((2, 3), interpolation='bilinear'), PICTURE),
    largest=(lambda lib: lib.layers.MaxPooling2D((3, 2), (2, 3), 'same'), PICTURE),
    largest_without_strides=(lambda lib: lib.layers.MaxPooling2D(3), PICTURE),
    mean=(lambda lib: lib.layers.AveragePooling1D(2, 1), STEPS),
    global_mean=(lambda lib: lib.layers.GlobalAveragePooling2D(keepdims=True), PICTURE),
    reshaped=(lambda lib: lib.layers.Reshape((-1, 2)), STEPS),
    permuted=(lambda lib: lib.layers.Permute((2, 1)), STEPS),
    padded=(lambda lib: lib.layers.ZeroPadding2D(((1, 0), (2, 3))), PICTURE),
    cropped=(lambda lib: lib.layers.Cropping2D(((1, 0), (2, 1))), PICTURE),
    flat=(lambda lib: lib.layers.Flatten(), PICTURE),
    scaled=(lambda lib: lib.layers.Rescaling(.5, 1.), ROW),
    scaled_by_channel=(lambda lib: lib.layers.Rescaling([.5, 2., 1., .1], [1., 0., 2., 3.]), ROW),
    normalized=(lambda lib: lib.layers.Normalization(mean=[1., 2., 3., 4.], variance=[1., 2., 3., 4.]), ROW),
)
MODELS = dict(
    sequential=(lambda lib: lib.Sequential([lib.Input((5, 4)), lib.layers.Bidirectional(lib.layers.RNN(
        stack(lib, 3, 2), return_sequences=True)), lib.layers.TimeDistributed(lib.layers.Dense(3)),
        lib.layers.Flatten(), lib.layers.SpectralNormalization(lib.layers.Dense(2))], name='chain'), STEPS),
    sequential_in_sequential=(lambda lib: lib.Sequential([lib.Input((4,)), lib.Sequential([lib.Input((4,)),
        scaled(lib, 3.), lib.layers.Dense(3)], name='inside'), lib.layers.Dense(2)], name='outside'), ROW),
)

def graph(lib):
    L = lib.layers
    x = lib.Input((5, 4))
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    h = L.MultiHeadAttention(2, 2, name='attention')(h, h)
    y = L.Add()([L.TimeDistributed(L.Dense(3))(h), L.RNN(L.GRUCell(3), return_sequences=True)(h)])
    return lib.Model(x, y, name='graph')
MODELS['graph'] = (graph, STEPS)

CASES = WRAPPED | PLAIN | MODELS

# ---- tests

def made(name, lib): return CASES[name][0](lib)
def inputs(name):
    shape = CASES[name][1]
    return [torch.tensor(data(s, seed=i)) for i, s in enumerate(shape if is_nest(shape) else [shape])]

def called(layer, xs):
    "Its output for the inputs, as a list of tensors"
    with torch.no_grad(): y = layer(xs[0] if len(xs) == 1 else xs, training=False)
    return [o.float() for o in tensors(y)]

def same(a, b, xs, tolerance=1e-5):
    "Two layers give the same numbers, once they have the same weights"
    called(a, xs), called(b, xs)
    rng = np.random.default_rng(1)
    values = [w + .1*np.abs(rng.normal(size=w.shape)).astype(w.dtype) if w.dtype.kind == 'f' else w for w in a.get_weights()]
    a.set_weights(values); b.set_weights(values)
    for y, z in zip(called(a, xs), called(b, xs), strict=True): torch.testing.assert_close(z, y, atol=tolerance, rtol=tolerance)

def through_json(config): return json.loads(json.dumps(config))

@pytest.mark.parametrize('name', CASES)
def test_ours_is_read_here(name):
    layer = made(name, OURS)
    config = layer.get_config()
    again = type(layer).from_config(through_json(config))
    assert again.get_config() == config
    same(layer, again, inputs(name))
    assert again.get_config() == config == layer.get_config()   # also of a layer that has its weights

@pytest.mark.parametrize('name', CASES)
def test_of_keras_is_read_here(name):
    theirs = made(name, KERAS)
    cls = type(made(name, OURS))
    config = theirs.get_config()
    for given in (config, through_json(config)): same(theirs, cls.from_config(given), inputs(name), 1e-2 if 'mixed' in name else 1e-5)

@pytest.mark.parametrize('name', CASES)
def test_whole_description_of_keras_is_read_here(name):
    theirs = made(name, KERAS)
    description = through_json(keras.saving.serialize_keras_object(theirs))
    same(theirs, saving.made_of_keras(description), inputs(name), 1e-2 if 'mixed' in name else 1e-5)

# a model of ours is written as its graph, and a class of one's own is not Keras's
READ_BY_KERAS = [n for n in CASES if n not in MODELS and n not in ('each_step_a_model', 'of_ones_own', 'each_step_of_ones_own')]

@pytest.mark.parametrize('name', READ_BY_KERAS)
def test_ours_is_read_by_keras(name):
    mine = made(name, OURS)
    theirs = type(made(name, KERAS)).from_config(through_json(mine.get_config()))
    same(theirs, mine, inputs(name), 1e-2 if 'mixed' in name else 1e-5)

def through_ours(theirs, cls):
    "Keras's layer again, from our configuration of what its own configuration makes here"
    return type(theirs).from_config(through_json(cls.from_config(through_json(theirs.get_config())).get_config()))

def without_none(layer): return {k: v for k, v in through_json(layer.get_config()).items() if v is not None}

@pytest.mark.parametrize('name', READ_BY_KERAS)
def test_of_keras_goes_through_ours(name):
    theirs = made(name, KERAS)
    again = through_ours(theirs, type(made(name, OURS)))
    assert without_none(again) == without_none(theirs)

# ---- what a configuration may not do

def nested(name, config): return dict(class_name=name, config=config, module='os', registered_name=None)

@pytest.mark.parametrize('name', ['os', 'system', 'Popen', 'os:system', 'keras.layers.Dense', 'Layer.__subclasses__', ''])
def test_a_class_is_known_or_refused(name):
    with pytest.raises(UpslopeError, match='names a class that is not known'): ours.TimeDistributed.from_config(dict(layer=nested(name, {})))
    with pytest.raises(UpslopeError, match='names a class that is not known'): ours.RNN.from_config(dict(cell=[nested(name, {})]))

def test_a_module_is_not_looked_at():
    layer = ours.TimeDistributed.from_config(dict(layer=nested('Dense', dict(units=3))))
    assert type(layer.layer) is ours.Dense

def test_a_lambda_is_refused():
    lambda_ = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x + 1))['config']
    with pytest.raises(UpslopeError, match='no code is run'): ours.Lambda.from_config(lambda_)

def test_a_path_in_a_nested_layer_is_not_opened(tmp_path):
    (tmp_path/'words').write_text('a\n')
    inside = nested('StringLookup', dict(vocabulary=str(tmp_path/'words')))
    with pytest.raises(UpslopeError, match='opens no file'): ours.TimeDistributed.from_config(dict(layer=inside))

@pytest.mark.parametrize('more', [dict(quantization_config=dict(mode='int8')), dict(lora_rank=4), dict(unheard_of=True)])
def test_what_is_not_known_here_is_refused_and_not_dropped(more):
    config = keras.layers.Dense(3).get_config() | more
    with pytest.raises(UpslopeError, match=next(iter(more))): ours.Dense.from_config(config)
    with pytest.raises(UpslopeError, match=next(iter(more))): saving.made_of_keras(dict(class_name='Dense', config=config))

# ---- every public layer, as valid_calls makes it

CALLED = [n for n in valid_calls.CALLS if n not in ('Lambda',)]

def public(name):
    arguments = valid_calls.CALLS[name][0]
    return getattr(ours, name)(**(arguments() if callable(arguments) else arguments))

@pytest.mark.parametrize('name', CALLED)
def test_every_layer_is_read_here(name):
    layer = public(name)
    config = layer.get_config()
    again = type(layer).from_config(through_json(config))
    assert again.get_config() == config
    layer.eval(), again.eval()
    xs = valid_calls.inputs_of(name)
    torch.manual_seed(0); a = layer(*xs)
    torch.manual_seed(0); again(*xs)
    again.load_state_dict(layer.state_dict())
    torch.manual_seed(0); layer(*xs)
    torch.manual_seed(0); b = again(*xs)
    torch.manual_seed(0)
    for y, z in zip(tensors(a), tensors(b), strict=True): assert y.shape == z.shape

SIMPLE = [n for n in CALLED if hasattr(keras.layers, n) and not callable(valid_calls.CALLS[n][0])]

def of_keras(name):
    try: return getattr(keras.layers, name)(**valid_calls.CALLS[name][0])
    except Exception as e: pytest.skip(f'Keras: {e!r:.200}')

@pytest.mark.parametrize('name', SIMPLE)
def test_every_layer_of_keras_goes_through_ours(name):
    theirs = of_keras(name)
    if name != 'RandomShear':   # of which Keras refuses to read what it writes
        again = through_ours(theirs, getattr(ours, name))
        assert without_none(again) == without_none(theirs)
    description = through_json(keras.saving.serialize_keras_object(theirs))
    assert type(saving.made_of_keras(description)) is getattr(ours, name)

@pytest.mark.parametrize('name', SIMPLE)
def test_every_layer_is_read_by_keras(name):
    of_keras(name)
    theirs = getattr(keras.layers, name).from_config(through_json(public(name).get_config()))
    assert theirs.name == public(name).name
