"Studies of models of every form are given away: read where nothing is known of them, trusted, and run on"
import os, subprocess, sys
import pytest
from upslope.lab import Store, Study
from upslope.lab.trust import TrustError
from upslope.surface import LiveStudy, explore_study

SCRIPT = '''
from torch import nn
from upslope.data import sources
from upslope.lab import Halving, Recipe, Store, Study
from upslope.layers import Dense, Dropout, Flatten, Input, LSTM, Model, Reshape, Sequential

WIDTH = 12
def head(width): return Dense(10)

class Own(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body,self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU()),nn.Linear(width, 10)
    def forward(self, x): return self.head(self.body(x))

def module(width=WIDTH): return Own(width)
def chain(width=WIDTH): return Sequential([Flatten(), Dense(width, 'relu'), Dropout(.1), head(width)])
def graph(width=WIDTH):
    x = Input((8, 8))
    h = Dense(width, 'relu')(Flatten()(x))
    return Model(x, Dense(10)(h + Dense(width)(h)))
def typed(width=WIDTH): return Flatten() >> Dense(width, 'relu') >> Dense(10)
def lazy(width=WIDTH): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))
def rows(width=WIDTH): return Sequential([Reshape((8, 8)), LSTM(width), Dense(10)])
def digits(split): return sources.load('digits', split=split)
def wider(recipe): return [recipe['width'], 2*recipe['width']]
def centroid():
    from sklearn.naive_bayes import GaussianNB
    return GaussianNB()

if __name__ == '__main__':
    store = Store('theirs.db')
    for model in (module, chain, graph, typed, lazy, rows):
        Study(model.__name__, Recipe('digits', model, epochs=1, lr=1e-2, pipeline=['standardize']), dict(width=[4]), seeds=1, baselines=[centroid], store=store).run(workers=1, show=False)
    Study('data', Recipe(digits, chain, epochs=1), dict(width=wider), seeds=1, baselines=None, store=store).run(workers=1, show=False)
    Study('halved', Recipe('digits', chain, epochs=2), dict(width=[4, 8]), seeds=1, baselines=None, store=store).run(workers=1, show=False, halving=Halving(1, 2))
'''
FORMS = 'module', 'chain', 'graph', 'typed', 'lazy', 'rows', 'data', 'halved'

@pytest.fixture(scope='module')
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('theirs')
    (folder/'make.py').write_text(SCRIPT)
    done = subprocess.run([sys.executable, 'make.py'], cwd=folder, env={**os.environ, 'XDG_STATE_HOME': str(folder/'state')}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder/'theirs.db'

@pytest.mark.parametrize('form', FORMS)
def test_a_study_is_read_in_every_room_before_anybody_trusts_it(theirs, form, tmp_path):
    study = Study.open(form, theirs)
    assert study.untrusted() and not study.recipe.may_run
    assert (study.runs().status.isin(['done', 'stopped'])).all()
    assert 'Source</h3>' in study.report(tmp_path/'report.html').read_text()
    assert str(study.table()) and study.answers() and study.diary() is not None and repr(study)
    view = LiveStudy(study)
    assert view.open(int(study.runs().run.iloc[0]))._repr_html_()
    explore_study(study)
    with pytest.raises(TrustError, match='came from elsewhere'): study.run(show=False)
    with pytest.raises(TrustError, match='came from elsewhere'): Study('mine', study.recipe, store=tmp_path/'mine.db')

def test_a_merge_then_trust_then_more_seeds_and_the_same_numbers(theirs, tmp_path):
    home = Store(tmp_path/'home.db')
    merged = home.merge(theirs)
    assert merged == len([1 for s in home.studies for _ in home.runs(s).run]) and merged.sources == merged.recipes > 10
    for form in FORMS[:-1]:
        there = Study.open(form, home)
        with pytest.raises(TrustError): there.run(show=False)
        study = Study.open(form, home, trust=True)
        before = study.runs().valid_loss.tolist()
        with home.transaction() as db: db.execute("UPDATE run SET status='queued' WHERE id=(SELECT max(run.id) FROM run JOIN config ON run.recipe=config.recipe AND run.study=config.study WHERE run.study=? AND kind='model')", (form,))
        study.run(workers=1, show=False)   # one run once more, here
        assert study.runs().valid_loss.tolist() == before and set(study.runs().status) == {'done'}
    again = Study('again', Study.open('chain', home).recipe.but(lr=3e-2), dict(width=[4]), seeds=1, baselines=None, store=home).run(workers=1, show=False)
    assert (again.runs().status == 'done').all()   # a recipe that was read, and is trusted, serves for a study of one's own
