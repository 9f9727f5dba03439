"Models in the forms in which people write them, and the data that each takes"
from dataclasses import dataclass
from functools import cache
import torch
from sklearn.datasets import load_digits
from torch import nn
from upslope.data import sources
from upslope.core import dup, repeat, residual
from upslope.layers import (LSTM, BatchNormalization, Conv2D, Dense, Dropout, Embedding, Flatten, GlobalAveragePooling1D, GlobalAveragePooling2D,
                            GRU, Input, LayerNormalization, Model, MultiHeadAttention, Reshape, Sequential)

WIDTH,CLASSES = 12,10

# -- data -------------------------------------------------------------------------------------------------------------
@cache
def digits():
    "Pictures (n, 8, 8) between 0 and 1, and their classes"
    source = load_digits()
    return torch.tensor(source.images, dtype=torch.float32)/16, torch.tensor(source.target)

def pictures(rows):
    x,y = digits()
    return (x[rows],),y[rows]
def halves(rows):
    "The upper and the lower half of a picture, as two inputs"
    x,y = digits()
    return (x[rows,:4], x[rows,4:]),y[rows]
def tokens(rows):
    "The darkness of the middle rows' pixels as words; white paper is 0, which is padding"
    x,y = digits()
    return ((16*x[rows,2:5]).long().flatten(1),),y[rows]

PARTS = TRAIN,VALID,TEST = slice(0, 96),slice(96, 136),slice(136, 176)
def of_pictures(split): return data_set('pictures', pictures)
def of_tokens(split): return data_set('tokens', tokens)
def data_set(name, rows):
    "The same rows as a data set of the library's"
    parts = [sources.Part(x[0], y) for x,y in map(rows, PARTS)]
    return sources.Dataset(name, 'classification', *parts, classes=tuple(map(str, range(CLASSES))))

# -- forms ------------------------------------------------------------------------------------------------------------
def sequential_with_input(width=WIDTH): return Sequential([Input((8, 8)), Flatten(), Dense(width, 'relu'), Dense(CLASSES)])
def sequential(width=WIDTH): return Sequential([Flatten(), Dense(width, 'relu'), Dense(CLASSES)])
def graph(width=WIDTH):
    x = Input((8, 8))
    h = Dense(width, 'relu')(Flatten()(x))
    return Model(x, Dense(CLASSES)(h + Dense(width)(h)))
def graph_of_two(width=WIDTH):
    upper,lower = Input((4, 8)),Input((4, 8))
    h = Dense(width, 'relu')(Flatten()(upper)) + Dense(width, 'relu')(Flatten()(lower))
    return Model([upper, lower], Dense(CLASSES)(h))
def typed(width=WIDTH): return Flatten() >> Dense(width, 'relu') >> Dense(CLASSES)
def typed_on(width=WIDTH): return typed(width).on('b', 8, 8)
def typed_residual(width=WIDTH): return Flatten() >> Dense(width) >> repeat(residual(Dense(width, 'relu') >> Dense(width)), 2) >> Dense(CLASSES)

class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body,self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU()),nn.Linear(width, CLASSES)
    def forward(self, x): return self.head(self.body(x))
class OwnOfTwo(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body,self.head = Dense(width, 'relu'),Dense(CLASSES)
    def forward(self, upper, lower): return self.head(self.body(upper.flatten(1)) + self.body(lower.flatten(1)))
class Holding(nn.Module):
    "Weights of its own beside layers that wait for the first batch"
    def __init__(self, width):
        super().__init__()
        self.first,self.middle,self.head = nn.Linear(64, width),Dense(width, 'relu'),Dense(CLASSES)
        self.scale = nn.Parameter(torch.ones(width))
    def forward(self, x): return self.head(self.scale*self.middle(self.first(x.flatten(1)).relu()))
class KerasStyle(Model):
    def __init__(self, width):
        super().__init__()
        self.body,self.head = Dense(width, 'relu'),Dense(CLASSES)
    def forward(self, x): return self.head(self.body(x.flatten(1)))
def own(width=WIDTH): return Own(width)
def own_of_two(width=WIDTH): return OwnOfTwo(width)
def holding(width=WIDTH): return Holding(width)
def keras_style(width=WIDTH): return KerasStyle(width)
def torch_sequential(width=WIDTH): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, CLASSES))
def lazy(width=WIDTH): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(CLASSES))
def torch_around_layer(width=WIDTH): return nn.Sequential(GRU(width), nn.Linear(width, width), nn.ReLU(), Dense(CLASSES))
def layer_around_torch(width=WIDTH): return Sequential([nn.Flatten(), nn.Linear(64, width), nn.ReLU(), Dense(CLASSES)])
def batchnorm(width=WIDTH): return Sequential([Reshape((8, 8, 1)), Conv2D(width, 3, use_bias=False), BatchNormalization(), GlobalAveragePooling2D(), Dense(CLASSES)])
def torch_batchnorm(width=WIDTH): return nn.Sequential(nn.Flatten(), nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, CLASSES))
def dropout(width=WIDTH): return Sequential([Flatten(), Dense(width, 'relu'), Dropout(.2), Dense(CLASSES)])
def torch_dropout(width=WIDTH): return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Dropout(.2), nn.Linear(width, CLASSES))
def recurrent(width=WIDTH): return Sequential([LSTM(width), Dense(CLASSES)])
def masked(width=WIDTH): return Sequential([Embedding(17, width, mask_zero=True), LSTM(width), Dense(CLASSES)])
def masked_typed(width=WIDTH):
    attention = residual(dup >> MultiHeadAttention(2, width//2))
    block = attention >> LayerNormalization() >> residual(Dense(width, 'relu') >> Dense(width))
    return Embedding(17, width, mask_zero=True) >> repeat(block, 2) >> GlobalAveragePooling1D() >> Dense(CLASSES)
def masked_mixed(width=WIDTH): return Sequential([Embedding(17, width, mask_zero=True), Dense(width) >> Dense(width), GlobalAveragePooling1D(), Dense(CLASSES)])

@dataclass(frozen=True)
class Form:
    "A way to write a model"
    make: object           # gives a new model, of the width it is given
    data: object = pictures
    waits: bool = False    # do weights come with the first batch?
    @property
    def name(self): return self.make.__name__

FORMS = {form.name: form for form in [
    Form(sequential_with_input), Form(sequential, waits=True), Form(graph), Form(graph_of_two, halves), Form(typed, waits=True), Form(typed_on), Form(typed_residual, waits=True),
    Form(own), Form(own_of_two, halves, waits=True), Form(holding, waits=True), Form(keras_style, waits=True), Form(torch_sequential), Form(lazy, waits=True), Form(torch_around_layer, waits=True),
    Form(layer_around_torch, waits=True), Form(batchnorm, waits=True), Form(torch_batchnorm), Form(dropout, waits=True), Form(torch_dropout),
    Form(recurrent, waits=True), Form(masked, tokens, waits=True), Form(masked_typed, tokens, waits=True), Form(masked_mixed, tokens, waits=True)]}
