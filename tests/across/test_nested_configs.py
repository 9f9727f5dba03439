"A layer in a layer, as other rooms meet it: in the spec of a composition, in a Learner, saved and read again"
import pytest, torch
from upslope.core.functions import lift
from upslope.core.specs import from_spec
from upslope.layers import (LSTM, BatchNormalization, Bidirectional, Dense, Flatten, GRUCell, LSTMCell, RNN, SpectralNormalization,
    TimeDistributed, load, save)

def wrappers():
    return dict(each=TimeDistributed(Dense(3)), both=Bidirectional(LSTM(3, return_sequences=True)), cells=RNN([LSTMCell(3), GRUCell(2)], return_sequences=True),
        bound=SpectralNormalization(Dense(3)), corrected=BatchNormalization(renorm=True, renorm_clipping=dict(rmax=2.)))

@pytest.mark.parametrize('name', wrappers())
def test_a_wrapper_in_a_composition_has_a_spec_that_is_read(name, tmp_path):
    f = wrappers()[name] >> lift(torch.relu) >> Flatten() >> Dense(2)
    x = torch.rand(3, 5, 4)
    f(x)
    again = from_spec(f.spec().toml())
    again(x)
    again.load_state_dict(f.state_dict())
    f.eval(), again.eval()
    torch.testing.assert_close(again(x), f(x))
    save(f, tmp_path/'f')
    torch.testing.assert_close(load(tmp_path/'f').eval()(x), f(x))

@pytest.mark.parametrize('name', ['each', 'cells', 'corrected'])
def test_a_wrapper_learns_in_a_learner(name):
    from upslope.data import loaders, sources
    from upslope.layers import Reshape, Sequential
    from upslope.train import Learner
    torch.manual_seed(0)
    model = Sequential([Reshape((8, 8)), wrappers()[name], Flatten(), Dense(10)])
    learn = Learner(loaders(sources.digits(), pipeline=['standardize']), model, 'cross_entropy', opt_func='adam')
    with learn.no_logging(), learn.no_bar(): learn.fit(2, 1e-2)
    assert learn.recorder.values[-1][1] < .8*2.302   # less than the entropy of ten digits
    config = model.get_config()
    assert Sequential.from_config(config).get_config() == config
