"A valid call of each public layer: its arguments and its input, both made anew each time"
import inspect
import torch
import upslope.layers as ours
from upslope.layers import initializers, losses

def floats(*shape): return lambda: torch.rand(shape, generator=torch.Generator().manual_seed(0))
def wholes(n, *shape): return lambda: torch.randint(n, shape, generator=torch.Generator().manual_seed(0))
def several(*made): return lambda: [make() for make in made]

ROW,STEPS,PICTURE,VOLUME = floats(2, 4),floats(2, 6, 4),floats(2, 8, 8, 3),floats(2, 4, 4, 4, 2)
BY_RANK = {1: STEPS, 2: PICTURE, 3: VOLUME}
FILM = {1: floats(2, 3, 6, 2), 2: floats(2, 3, 5, 5, 2), 3: floats(2, 2, 3, 3, 3, 1)}

def with_rank(name, arguments, ranks=(1, 2, 3), inputs=BY_RANK, after=''):
    "The same call in one, two and three dimensions"
    return {f'{name}{rank}D{after}': (arguments, inputs[rank]) for rank in ranks}

CALLS = dict(
    Activation=(dict(activation='relu'), ROW),
    ActivityRegularization=(dict(l1=.1, l2=.1), ROW),
    Add=({}, several(ROW, ROW)),
    AdditiveAttention=(dict(use_scale=True, dropout=.1, seed=1), several(STEPS, STEPS)),
    AlphaDropout=(dict(rate=.5, noise_shape=(None, 1), seed=1), ROW),
    Attention=(dict(use_scale=True, score_mode='dot', dropout=.1, seed=1), several(STEPS, STEPS)),
    AugMix=(dict(value_range=(0, 1), num_chains=2, chain_depth=2, factor=.3, alpha=1., all_ops=True,
        interpolation='bilinear', seed=1), PICTURE),
    AutoContrast=(dict(value_range=(0, 1)), PICTURE),
    Average=({}, several(ROW, ROW)),
    BatchNormalization=(dict(axis=-1, momentum=.9, epsilon=1e-3, center=True, scale=True), ROW),
    Bidirectional=(lambda: dict(layer=ours.LSTM(2), merge_mode='concat', weights=None, backward_layer=None), STEPS),
    CategoryEncoding=(dict(num_tokens=5, output_mode='multi_hot', sparse=False), wholes(5, 2, 4)),
    CenterCrop=(dict(height=4, width=4), PICTURE),
    Concatenate=(dict(axis=-1), several(ROW, ROW)),
    CutMix=(dict(factor=1., seed=1), PICTURE),
    Dense=(dict(units=3, activation='relu', use_bias=True), ROW),
    Discretization=(dict(bin_boundaries=[.2, .5], output_mode='int', epsilon=.01, sparse=False), ROW),
    Dot=(dict(axes=1, normalize=False), several(ROW, ROW)),
    Dropout=(dict(rate=.5, noise_shape=(None, 1), seed=1), ROW),
    ELU=(dict(alpha=1.), ROW),
    EinsumDense=(dict(equation='ab,bc->ac', output_shape=5, activation='relu', bias_axes='c'), ROW),
    Embedding=(dict(input_dim=5, output_dim=3, mask_zero=False), wholes(5, 2, 4)),
    Equalization=(dict(value_range=(0, 1), bins=16), PICTURE),
    Flatten=(dict(data_format=None), PICTURE),
    GRU=(dict(units=3, return_sequences=True), STEPS),
    GaussianDropout=(dict(rate=.5, seed=1), ROW),
    GaussianNoise=(dict(stddev=.5, seed=1), ROW),
    GroupNormalization=(dict(groups=2, axis=-1, epsilon=1e-3), STEPS),
    GroupQueryAttention=(dict(head_dim=2, num_query_heads=2, num_key_value_heads=1, dropout=.1), (STEPS, STEPS)),
    Identity=({}, ROW),
    LSTM=(dict(units=3, return_sequences=True, go_backwards=False, dropout=.1), STEPS),
    Lambda=(lambda: dict(function=torch.sin, output_shape=None, mask=None, arguments=None), ROW),
    LayerNormalization=(dict(axis=-1, epsilon=1e-3, center=True, scale=True), ROW),
    LeakyReLU=(dict(negative_slope=.1), ROW),
    Masking=(dict(mask_value=0.), STEPS),
    Maximum=({}, several(ROW, ROW)),
    MaxNumBoundingBoxes=(dict(max_number=3, fill_value=-1), lambda: dict(bounding_boxes=dict(boxes=torch.rand(2, 2,
        4), labels=torch.ones(2, 2)))),
    MelSpectrogram=(dict(fft_length=32, sequence_stride=8, sequence_length=16, window='hann', sampling_rate=100,
        num_mel_bins=4, min_freq=1., max_freq=40., power_to_db=True, top_db=80., mag_exp=2., min_power=1e-10,
        ref_power=1.), floats(2, 64)),
    Minimum=({}, several(ROW, ROW)),
    MixUp=(dict(alpha=.2, seed=1), PICTURE),
    MultiHeadAttention=(dict(num_heads=2, key_dim=2, value_dim=2, dropout=.1, output_shape=3, attention_axes=1,
        sliding_window=2), (STEPS, STEPS)),
    Multiply=({}, several(ROW, ROW)),
    Normalization=(dict(axis=-1, mean=1., variance=2., invert=False), ROW),
    PReLU=(dict(shared_axes=[1]), STEPS),
    Permute=(dict(dims=(2, 1)), STEPS),
    RMSNormalization=(dict(axis=-1, epsilon=1e-6), ROW),
    RNN=(lambda: dict(cell=ours.LSTMCell(2), return_sequences=True), STEPS),
    RandAugment=(dict(value_range=(0, 1), num_ops=2, factor=.5, interpolation='bilinear', seed=1), PICTURE),
    RandomBrightness=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomColorDegeneration=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomColorJitter=(dict(value_range=(0, 1), brightness_factor=.1, contrast_factor=.1, saturation_factor=.1,
        hue_factor=.1, seed=1), PICTURE),
    RandomContrast=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomCrop=(dict(height=4, width=4, seed=1), PICTURE),
    RandomElasticTransform=(dict(factor=1., scale=1., interpolation='bilinear', fill_mode='reflect', fill_value=0.,
        value_range=(0, 1), seed=1), PICTURE),
    RandomErasing=(dict(factor=1., scale=(.1, .3), fill_value=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomFlip=(dict(mode='horizontal', seed=1), PICTURE),
    RandomGaussianBlur=(dict(factor=1., kernel_size=3, sigma=1., value_range=(0, 1), seed=1), PICTURE),
    RandomGrayscale=(dict(factor=.5, seed=1), PICTURE),
    RandomHue=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomInvert=(dict(factor=1., value_range=(0, 1), seed=1), PICTURE),
    RandomPerspective=(dict(factor=1., scale=.5, interpolation='bilinear', fill_value=0., seed=1), PICTURE),
    RandomPosterization=(dict(factor=4, value_range=(0, 1), seed=1), PICTURE),
    RandomRotation=(dict(factor=.2, fill_mode='reflect', interpolation='bilinear', seed=1, fill_value=0.), PICTURE),
    RandomSaturation=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomSharpness=(dict(factor=.5, value_range=(0, 1), seed=1), PICTURE),
    RandomShear=(dict(x_factor=.2, y_factor=.2, interpolation='bilinear', fill_mode='reflect', fill_value=0., seed=1),
        PICTURE),
    RandomTranslation=(dict(height_factor=.2, width_factor=.2, fill_mode='reflect', interpolation='bilinear', seed=1,
        fill_value=0.), PICTURE),
    RandomZoom=(dict(height_factor=.2, width_factor=.2, fill_mode='reflect', interpolation='bilinear', seed=1,
        fill_value=0.), PICTURE),
    ReLU=(dict(max_value=6., negative_slope=.1, threshold=.1), ROW),
    RepeatVector=(dict(n=3), ROW),
    Rescaling=(dict(scale=2., offset=1.), ROW),
    Reshape=(dict(target_shape=(2, 2)), ROW),
    Resizing=(dict(height=4, width=4, interpolation='bilinear', crop_to_aspect_ratio=False, pad_to_aspect_ratio=True,
        fill_mode='constant', fill_value=0., antialias=False), PICTURE),
    ReversibleEmbedding=(dict(input_dim=5, output_dim=3, tie_weights=True, reverse_dtype=None, logit_soft_cap=None),
        wholes(5, 2, 4)),
    STFTSpectrogram=(dict(mode='log', frame_length=16, frame_step=8, fft_length=16, window='hann', periodic=False,
        scaling='density', padding='valid', expand_dims=False), floats(2, 64, 1)),
    SimpleRNN=(dict(units=3, return_sequences=True), STEPS),
    Softmax=(dict(axis=-1), ROW),
    Solarization=(dict(addition_factor=.1, threshold_factor=.5, value_range=(0, 1), seed=1), PICTURE),
    SpectralNormalization=(lambda: dict(layer=ours.Dense(3), power_iterations=1), ROW),
    Subtract=({}, several(ROW, ROW)),
    TimeDistributed=(lambda: dict(layer=ours.Dense(3)), STEPS),
    UnitNormalization=(dict(axis=-1), ROW),
    Wrapper=(lambda: dict(layer=ours.Dense(3)), ROW),
    LSTMCell=(dict(units=4, dropout=.1, recurrent_dropout=.1, seed=1), (ROW, several(ROW, ROW))),
    GRUCell=(dict(units=4, reset_after=True), (ROW, ROW)),
    SimpleRNNCell=(dict(units=4), (ROW, ROW)),
    StackedRNNCells=(lambda: dict(cells=[ours.GRUCell(4)]), (ROW, several(ROW))),
    ContrastLimitedAdaptiveHistogramEqualization=(dict(value_range=(0, 1), clip_limit=4., tile_grid_size=(2, 2)),
        PICTURE),
    **with_rank('Conv', dict(filters=4, kernel_size=2, strides=1, padding='same', dilation_rate=1, groups=1,
        activation='relu')),
    **with_rank('Conv', dict(filters=2, kernel_size=2, strides=2, padding='same', output_padding=1, dilation_rate=1),
        after='Transpose'),
    **with_rank('DepthwiseConv', dict(kernel_size=2, strides=1, padding='valid', depth_multiplier=2), (1, 2)),
    **with_rank('SeparableConv', dict(filters=2, kernel_size=2, strides=1, padding='valid', depth_multiplier=2), (1,
        2)),
    **with_rank('ConvLSTM', dict(filters=2, kernel_size=2, padding='same', return_sequences=True), inputs=FILM),
    **with_rank('MaxPooling', dict(pool_size=2, strides=2, padding='same')),
    **with_rank('AveragePooling', dict(pool_size=2, strides=2, padding='same')),
    **with_rank('GlobalMaxPooling', dict(keepdims=True)),
    **with_rank('GlobalAveragePooling', dict(keepdims=True)),
    **with_rank('AdaptiveMaxPooling', dict(output_size=2)),
    **with_rank('AdaptiveAveragePooling', dict(output_size=2)),
    **with_rank('Cropping', dict(cropping=1)),
    **with_rank('ZeroPadding', dict(padding=1)),
    **with_rank('UpSampling', dict(size=2)),
    **with_rank('SpatialDropout', dict(rate=.5, seed=1)),
)
# Without a call of their own, or with states and files that have tests of their own
ELSEWHERE = {'Input', 'InputLayer', 'Layer', 'Model', 'Sequential'}
ELSEWHERE |= {'HashedCrossing', 'Hashing', 'IntegerLookup', 'StringLookup', 'TextVectorization'}
COMMON = dict(name='fuzzed', dtype='float32', trainable=True)   # what every layer takes
PARTS = dict(
    kernel_initializer='glorot_uniform',
    bias_initializer='zeros',
    recurrent_initializer='orthogonal',
    depthwise_initializer='zeros',
    pointwise_initializer='zeros',
    embeddings_initializer='uniform',
    alpha_initializer='zeros',
    beta_initializer='zeros',
    gamma_initializer='ones',
    moving_mean_initializer='zeros',
    moving_variance_initializer='ones',
)

def arguments_of(name):
    "Arguments of a valid call, by name: the table's, the defaults of the others, those that all layers have"
    table = CALLS[name][0]
    table = dict(table() if callable(table) else table)
    named = inspect.signature(getattr(ours, name).__init__).parameters
    defaults = {k: p.default for k, p in named.items() if p.default is not p.empty}
    return {**defaults, **{k: v for k, v in PARTS.items() if k in defaults}, **table, **COMMON}

def places_of(name):
    "The arguments of a layer that may be spoiled, its own more often than those that all layers have"
    arguments = arguments_of(name)
    own = [k for k in arguments if k not in COMMON]
    return [*own*4, *COMMON]

def inputs_of(name):
    "The inputs of a valid call of a layer, as a list"
    made = CALLS[name][1]
    return [make() for make in (made if isinstance(made, tuple) else (made,))]

# -- what layers are made with: initialisers, regularisers, constraints, losses
def defaults_of(cls):
    "The arguments of a class that have a default, by name"
    return {k: p.default for k, p in inspect.signature(cls.__init__).parameters.items() if p.default is not p.empty}
TABLES = initializers.initializers, initializers.regularizers, initializers.constraints
RULES = {rule.__name__: rule for table in TABLES for rule in table.values()}
LOSSES = {c.__name__: c for c in losses.losses.values() if isinstance(c, type)}
