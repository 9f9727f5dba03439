"What a model costs to build and to show grows with its number of layers, not with its square: function calls are counted, not seconds."
import sys
import pytest
from upslope.layers import Add, Dense, Input, Model, ReLU, Sequential
from upslope.layers.summary import Summary

def calls(f):
    "How many functions run in it, and what it gives"
    n = 0
    def count(frame, event, arg):
        nonlocal n
        n += event in ('call', 'c_call')
    sys.setprofile(count)
    try: made = f()
    finally: sys.setprofile(None)
    return n,made

def chain(n): return Sequential([Input((4,)), *(Dense(4) for _ in range(n))])
def added_one_by_one(n):
    model = Sequential([Input((4,))])
    for _ in range(n): model.add(ReLU())
    model.build()
    return model
def residual(n):
    x = y = Input((4,))
    for _ in range(n//2): y = y + Dense(4)(y)
    return Model(x, y)
def many_ends(n):
    inputs = [Input((4,)) for _ in range(n//4)]
    return Model(inputs, [Dense(2)(x) for x in inputs])
def wide(n):
    x = Input((4,))
    return Model(x, Add()([Dense(4)(x) for _ in range(n)]))
def shared(n):
    x = y = Input((4,))
    layer = Dense(4)
    for _ in range(n): y = layer(y)
    return Model(x, y)
def nested(n):
    x = Input((4,))
    inner = Model(x, Dense(4)(x))
    y = x = Input((4,))
    for _ in range(n//2): y = inner(y)
    return Model(x, y)

@pytest.mark.parametrize('build', [chain, added_one_by_one, residual, many_ends, wide, shared, nested])
def test_twice_the_layers_twice_the_work(build):
    build(8)
    few,model = calls(lambda: build(100))
    many,larger = calls(lambda: build(400))
    assert many < 4.4*few, f'{few} calls for 100 layers, {many} for 400'
    few,_ = calls(lambda: Summary(model).text())
    many,_ = calls(lambda: Summary(larger).text())
    assert many < 4.4*few + 2000, f'the summary: {few} calls for 100 layers, {many} for 400'
    few,_ = calls(lambda: model.output)
    many,_ = calls(lambda: larger.output)
    assert many < 4.4*few + 2000
