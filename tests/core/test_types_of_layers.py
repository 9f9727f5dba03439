"What layers state is what they do: the solved type, the shape that Keras's protocol computes, and the tensor that comes out"
import pytest, torch
from torch import nn
from upslope.core.functions import compose
from upslope.core.signatures import Axes, Pair, size
from upslope.core.tracing import signature_of
from upslope.core.unification import Unifier, tensors
from upslope.layers import *

IMAGE, STEPS, ROWS, VOLUME = (2, 9, 8, 4), (2, 11, 6), (2, 6), (2, 5, 6, 7, 4)
CASES = [
    (Dense(5), ROWS), (Dense(5), IMAGE), (Identity(), IMAGE), (Activation('tanh'), ROWS), (Activation('glu'), ROWS), (ReLU(), IMAGE), (LeakyReLU(), ROWS), (PReLU(), STEPS), (ELU(), ROWS), (Softmax(), ROWS),
    (EinsumDense('abc,cd->abd', (None, 7)), STEPS), (EinsumDense('...x,xy->...y', 7), STEPS), (Embedding(9, 5), (2, 3)), (Masking(), STEPS), (Lambda(lambda x: x[:, ::2]), STEPS), (TimeDistributed(Dense(3)), IMAGE),
    (Conv1D(5, 3), STEPS), (Conv1D(5, 3, strides=2, padding='causal'), STEPS), (Conv2D(5, (3, 2), strides=(2, 1)), IMAGE), (Conv2D(5, 3, padding='same', strides=2), IMAGE), (Conv2D(4, 3, dilation_rate=2, groups=2), IMAGE),
    (Conv3D(3, 2), VOLUME), (Conv2D(5, 3, data_format='channels_first'), (2, 4, 9, 8)), (DepthwiseConv2D(3, depth_multiplier=2), IMAGE), (DepthwiseConv1D(3), STEPS), (SeparableConv2D(5, 3), IMAGE), (SeparableConv1D(5, 3), STEPS),
    (Conv1DTranspose(5, 3, strides=2), STEPS), (Conv2DTranspose(5, 3, strides=2, padding='same'), IMAGE), (Conv2DTranspose(5, 4, strides=3, output_padding=1), IMAGE), (Conv3DTranspose(2, 2), VOLUME), (Conv2DTranspose(5, 3, dilation_rate=2), IMAGE),
    (MaxPooling2D(), IMAGE), (MaxPooling2D(3, strides=2, padding='same'), IMAGE), (AveragePooling1D(3), STEPS), (MaxPooling3D(2), VOLUME), (AveragePooling2D(2, data_format='channels_first'), (2, 4, 9, 8)),
    (GlobalAveragePooling2D(), IMAGE), (GlobalMaxPooling1D(keepdims=True), STEPS), (GlobalMaxPooling3D(), VOLUME), (GlobalAveragePooling2D(data_format='channels_first', keepdims=True), IMAGE), (AdaptiveAveragePooling2D(3), IMAGE), (AdaptiveMaxPooling1D(2), STEPS),
    (Flatten(), IMAGE), (Reshape((3, 2)), ROWS), (Reshape((-1, 2)), ROWS), (Reshape((4, 72)), IMAGE), (Permute((2, 1)), STEPS), (Permute((3, 1, 2)), IMAGE), (RepeatVector(3), ROWS), (ZeroPadding2D((1, 2)), IMAGE), (ZeroPadding1D((1, 2)), STEPS),
    (Cropping1D(2), STEPS), (Cropping2D(((1, 2), (0, 3))), IMAGE), (Cropping3D(1), VOLUME), (UpSampling1D(3), STEPS), (UpSampling2D((2, 3)), IMAGE), (UpSampling2D(2, data_format='channels_first'), IMAGE), (UpSampling3D(2), VOLUME),
    (Add(), (STEPS, STEPS)), (Average(), (ROWS, ROWS)), (Multiply(), (ROWS, ROWS)), (Subtract(), (ROWS, ROWS)), (Maximum(), (ROWS, ROWS)), (Minimum(), (ROWS, ROWS)), (Concatenate(), (ROWS, (2, 3))), (Concatenate(1), (STEPS, (2, 4, 6))), (Dot(1), (ROWS, ROWS)),
    (BatchNormalization(), IMAGE), (LayerNormalization(), STEPS), (GroupNormalization(2), IMAGE), (RMSNormalization(), ROWS), (UnitNormalization(), ROWS), (SpectralNormalization(Dense(3)), ROWS), (Dropout(.5), IMAGE), (SpatialDropout1D(.5), STEPS),
    (AlphaDropout(.5), ROWS), (GaussianDropout(.5), ROWS), (GaussianNoise(.1), ROWS), (ActivityRegularization(.1), ROWS), (SimpleRNN(5), STEPS), (LSTM(5, return_sequences=True), STEPS), (GRU(5, return_state=True), STEPS), (LSTM(5, return_state=True), STEPS),
    (Bidirectional(LSTM(5)), STEPS), (Bidirectional(GRU(5, return_sequences=True), merge_mode='sum'), STEPS), (ConvLSTM1D(3, 2), (2, 4, 6, 3)), (MultiHeadAttention(2, 3), (STEPS, (2, 4, 5))), (MultiHeadAttention(2, 3, output_shape=7), (STEPS, STEPS)),
    (GroupQueryAttention(3, 4, 2), (STEPS, STEPS)), (Attention(), (STEPS, (2, 4, 6))), (Rescaling(.5), IMAGE), (CategoryEncoding(9, 'multi_hot'), (2, 3)), (CenterCrop(4, 5), (2, 9, 8, 3)), (Resizing(4, 5), (2, 9, 8, 3)), (RandomFlip(), (2, 9, 8, 3)),
    (Sequential([Conv2D(3, 3), Flatten(), Dense(4)]), IMAGE), (STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8), (2, 32, 1)),
]

def structure(shape): return Pair(map(structure, shape)) if isinstance(shape[0], tuple) else Axes(map(size, shape))
def tensor(shape, layer):
    if isinstance(shape[0], tuple): return tuple(tensor(s, layer) for s in shape)
    return torch.zeros(shape, dtype=torch.int64) if isinstance(layer, (Embedding, CategoryEncoding)) else torch.rand(shape)
def given(layer, takes):
    u = Unifier()
    s = u.fresh(signature_of(layer))
    u.unify(takes, s.takes)
    u.settle()
    return u(s.gives)
def sizes(o): return [tuple(s.number for s in t.items) for t in tensors(o)]
def flat(y): return [tuple(y.shape)] if isinstance(y, torch.Tensor) else [s for o in y for s in flat(o)]

@pytest.mark.parametrize('layer,shape', CASES, ids=[f'{type(l).__name__}-{i}' for i, (l, _) in enumerate(CASES)])
def test_the_type_is_what_comes_out(layer, shape):
    before = sizes(given(layer, structure(shape)))
    x = tensor(shape, layer)
    y = layer(*x) if isinstance(x, tuple) and layer.scheme().spread else layer(list(x)) if isinstance(x, tuple) else layer(x)
    assert before == flat(y)
    assert sizes(given(layer, structure(shape))) == flat(y)      # the same when it is built
    f = compose(layer)
    assert flat(f(x)) == flat(y)                                  # and in a composition

@pytest.mark.parametrize('layer,shape', [c for c in CASES if not isinstance(c[1][0], tuple) and not isinstance(c[0], (STFTSpectrogram, Lambda))], ids=lambda o: type(o).__name__ if isinstance(o, nn.Module) else '')
def test_letters_stand_for_numbers(layer, shape):
    "With letters for the batch and the first axis, and numbers put in afterwards, the same sizes come out"
    with_letters = compose(layer).on('B', *shape[1:])
    u = Unifier()
    s = u.fresh(with_letters.scheme())
    found = [tuple(shape[0] if o.number is None and o.var is not None and o.var.name == 'B' else o.number for o in t.items) for t in tensors(u(s.gives))]
    assert found == sizes(given(layer, structure(shape)))

def test_a_type_is_stated_by_most():
    "Layers whose type needs no question"
    stated = [l for l, _ in CASES if not l.scheme().rules]
    assert len(stated) >= 75, len(stated)

def test_built_layers_know_their_input():
    d = Dense(3)
    d(torch.zeros(2, 5))
    assert str(d.signature) == '... 5 -> ... 3'
    c = Conv2D(3, 2)
    c(torch.zeros(2, 5, 5, 7))
    assert str(c.signature) == 'b h w 7 -> b h-1 w-1 3'
    n = BatchNormalization()
    n(torch.zeros(2, 6))
    assert str(n.signature) == 'b 6 -> b 6'

def test_on_allocates_nothing():
    model = (Conv2D(512, 3) >> Flatten() >> Dense(4096) >> Dense(10_000_000)).on('B', 2000, 2000, 3)   # the weights would have some 10^16 numbers
    assert str(model.signature) == 'B 2000 2000 3 -> B 10000000'
    assert not model.dense.built and not model._modules['dense']._parameters

def test_a_model_has_a_type():
    x = Input((8,))
    model = Model(x, Dense(3)(Dense(5)(x)))
    assert str((model >> Dense(2)).signature) == 'b 8 -> ... 2' or str((model >> Dense(2)).on('B', 8).signature) == 'B 8 -> B 2'
    assert str((Sequential([Dense(4), Dense(3)]) >> Dense(2)).signature) == '... n -> ... 2'
    y = (Flatten() >> Dense(4) >> Dense(2))(Input((3, 5)))     # a composition in a graph: its layers are the graph's
    assert tuple(y.shape) == (None, 2)
