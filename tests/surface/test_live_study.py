"What the view of a study does beside the common case: it follows a second run, lives through a store that cannot be read for a while, and says when it cannot go on"
import threading, time
import pandas as pd, pytest
from upslope.core.errors import StoreError
from upslope.lab import Store
from upslope.surface import LiveStudy, live_study

@pytest.fixture
def live(tmp_path, monkeypatch):
    "A view of nine finished runs; a second `run` ends when the test says so"
    monkeypatch.setattr(live_study, 'front_end', lambda: 'live')
    store = Store(tmp_path/'store.db')
    store.add_runs('seen', pd.DataFrame(dict(config=[*'aaabbbccc'], seed=[0, 1, 2]*3, valid_accuracy=[.5, .6, .7, .7, .8, .9, .1, .2, .3])))
    live = LiveStudy('seen', store, every=.01)
    live.may_end = threading.Event()
    monkeypatch.setattr(type(live.study), 'run', lambda self, **_: live.may_end.wait(900))
    yield live
    live.may_end.set()
    live._watching = False

def until(holds):
    end = time.time() + 300
    while not holds():
        assert time.time() < end
        time.sleep(.01)

def test_the_view_follows_a_study_that_is_run_again(live):
    live._ipython_display_()
    until(lambda: not live._watching)   # all runs have ended, and nothing runs
    assert 'b</td>' in live._view.value and live._stop.disabled
    live.run()
    until(lambda: not live._stop.disabled)
    live.study.store.db.execute("UPDATE run SET status='failed' WHERE id=1")
    until(lambda: '1 failed' in live._view.value)
    live.may_end.set()
    until(lambda: not live._watching)
    assert live._stop.disabled

def test_the_end_is_shown_at_once_however_seldom_the_view_looks(live):
    live.every = 3600
    live.run()
    live._ipython_display_()
    until(lambda: not live._stop.disabled)
    live.may_end.set()
    until(lambda: live._stop.disabled)

def test_a_number_that_is_not_finite_is_left_out(live):
    live.study.store.db.execute('UPDATE result SET value=9e999 WHERE run=(SELECT id FROM run WHERE seed=0 ORDER BY id LIMIT 1)')
    assert live.state.scores['a'].n == 2 and live.state.best == 'b'

def test_a_store_that_cannot_be_read_for_a_while_ends_nothing_and_a_damaged_one_is_told(live, monkeypatch):
    errors = []
    state = LiveStudy.state.fget
    def failing(self):
        if errors: raise errors[0]
        return state(self)
    monkeypatch.setattr(LiveStudy, 'state', property(failing))
    live.run()
    live._ipython_display_()
    for reason in ('locked', 'damaged'):
        error = StoreError('It cannot be read.', got=reason)
        error.reason = reason
        errors[:] = [error]
        if reason == 'locked':
            time.sleep(.1)
            assert live._watching and 'cannot be read' not in live._view.value
        else: until(lambda: 'It cannot be read.' in live._view.value and not live._watching)
