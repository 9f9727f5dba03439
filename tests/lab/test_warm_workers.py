"The workers that tests start begin in a process that has loaded everything: they are as fresh ones are"
import os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from torch import nn
from upslope.lab import Recipe, Store, Study

warm = pytest.mark.skipif('UPSLOPE_WARM' not in os.environ, reason='no process can be held here: it needs Linux')

def dense(width=8): return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.LazyLinear(10))

def table(path):
    study = Study('s', Recipe('digits', dense, epochs=2, lr=1e-2), dict(width=[4]), seeds=2, baselines=None, store=path)
    study.run(workers=1, show=False)
    return study.runs().drop(columns='seconds'), study.history()

@warm
def test_a_fresh_worker_and_a_warm_one_give_the_same_numbers(tmp_path, monkeypatch):
    runs, history = table(tmp_path/'warm.db')
    monkeypatch.delenv('UPSLOPE_WARM')
    fresh_runs, fresh_history = table(tmp_path/'fresh.db')
    assert set(runs.status) == {'done'} and runs.equals(fresh_runs) and history.equals(fresh_history)

def worker(path, **options):
    "A worker as a study starts it"
    command = [sys.executable, '-m', 'upslope.lab.planner', str(path), 's']
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(.02)

def waiting_with(mark):
    "Processes that hold the pipe `mark` open, without this one"
    held = []
    for process in Path('/proc').glob('[0-9]*'):
        try: held += [process for file in (process/'fd').iterdir() if os.readlink(file) == mark]
        except OSError: pass
    return {process.name for process in held} - {str(os.getpid())}

@warm
@pytest.mark.parametrize('end', [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_is_dead_at_once(tmp_path, end):
    "Both the process that was started and the one that works in its place, which writes into the same pipe"
    with Store(tmp_path/'s.db') as store:
        store.declare('s', [], [], {})
        with store.owned('s'):   # so that it waits for work
            process = worker(tmp_path/'s.db', start_new_session=True)
            output = os.readlink(f'/proc/self/fd/{process.stdout.fileno()}')
            until(lambda: len(waiting_with(output)) == 2)
            process.send_signal(end)
            assert process.wait(60) == -end
            until(lambda: not waiting_with(output))

@warm
def test_it_ends_as_its_place_ends(tmp_path):
    "An exit code, and the words of an error"
    (tmp_path/'s.db').write_text('no store')
    process = worker(tmp_path/'s.db')
    words = process.stdout.read()   # its standard input stays open: a worker leaves when that ends
    assert process.wait(60) == 1 and b'StoreError' in words and b'Traceback' in words
